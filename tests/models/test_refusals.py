"""Weights that can be neither scored nor changed are refused, with a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from declutch.errors import ModelError
from declutch.models.matrices import find_matrices, refuse_unusable
from tests.conftest import ARCHITECTURES, build_model
from tests.models.test_own_modules import Model
from tests.models.widths import in_dtype


def test_meta_weights_are_refused() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model("llama", **ARCHITECTURES["llama"])
        )
    with pytest.raises(ModelError, match=r"meta device.*Load the model with its weights"):
        find_matrices(model)


def test_offloaded_weights_are_refused() -> None:
    from accelerate import cpu_offload

    model = cpu_offload(build_model("llama"), execution_device=torch.device("cpu"))
    with pytest.raises(ModelError, match=r"offloaded.*Load the model on devices that hold it"):
        find_matrices(model)


def integer_parameter() -> nn.Linear:
    linear = nn.Linear(8, 8, bias=False)
    linear.weight = nn.Parameter(torch.zeros(8, 8, dtype=torch.int8), requires_grad=False)
    return linear


def integer_buffer() -> nn.Module:
    module = nn.Module()
    module.register_buffer("weight", torch.zeros(8, 8, dtype=torch.int8))
    return module


def packed_buffer() -> nn.Module:
    module = nn.Module()
    module.register_buffer("qweight", torch.zeros(8, 8, dtype=torch.int32))
    return module


def eight_bit_float() -> nn.Module:
    linear = nn.Linear(8, 8, bias=False)
    linear.weight = nn.Parameter(torch.zeros(8, 8, dtype=torch.float8_e4m3fn), requires_grad=False)
    return linear


def bitsandbytes_like() -> nn.Module:
    """Its weights are half precision until they are moved to a GPU."""
    module: nn.Module = type("Linear8bitLt", (nn.Linear,), {})(8, 8)
    return module


def bit_linear() -> nn.Module:
    module: nn.Module = type("AutoBitLinear", (nn.Linear,), {})(8, 8)
    return module


class Params4bit(nn.Parameter):
    pass


def four_bit_parameter() -> nn.Module:
    linear = nn.Linear(8, 8, bias=False)
    linear.weight = Params4bit(torch.zeros(8, 8))
    return linear


@pytest.mark.parametrize(
    "quantised",
    [
        integer_parameter, integer_buffer, packed_buffer, eight_bit_float, bitsandbytes_like,
        bit_linear, four_bit_parameter,
    ],
)  # fmt: skip
def test_quantised_weights_are_refused(quantised: Any) -> None:
    model = Model(nn.Linear(8, 8), nn.Linear(8, 8))
    refuse_unusable(model)
    model.layers[1].mlp = quantised()
    with pytest.raises(ModelError, match=r"layers\.1\.mlp.* is quantised \(.*unquantised"):
        refuse_unusable(model)


@pytest.mark.parametrize("attribute", ["lora_A", "base_layer"])
def test_adapters_are_refused(attribute: str) -> None:
    adapted = nn.Linear(8, 8)
    setattr(adapted, attribute, nn.Linear(8, 2))
    model = Model(nn.Linear(8, 8), adapted)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp carries a LoRA.*merge_and_unload"):
        find_matrices(model)


def test_half_precision_is_not_refused() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        assert find_matrices(in_dtype(build_model("llama"), dtype)).matrices


@dataclass(frozen=True)
class PromptTuningConfig:
    """As PEFT keeps it: the kind is an enumeration of texts."""

    peft_type: str = "PROMPT_TUNING"


@pytest.mark.parametrize("configs", [{"default": PromptTuningConfig()}, PromptTuningConfig()])
def test_prompts_and_prefixes_are_refused(configs: Any) -> None:
    """PEFT leaves the modules as they are, and keeps what it adds beside them."""
    model: Any = build_model("llama")
    model.peft_config = configs
    with pytest.raises(ModelError, match=r"The model carries a PEFT adapter \(PROMPT_TUNING\)"):
        find_matrices(model)
    with pytest.raises(ModelError, match=r"model carries a PEFT.*can't be merged"):
        find_matrices(wrapped(model))
    del model.peft_config  # as PEFT does where it unloads or merges
    assert find_matrices(model).matrices


def wrapped(model: nn.Module) -> nn.Module:
    outer = nn.Module()
    outer.model = model
    return outer
