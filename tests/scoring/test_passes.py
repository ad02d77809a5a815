"""What one pass leaves to the next, and models that use their weights in unusual ways."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from declutch.data.encoding import EncodedExample
from declutch.errors import ModelError
from declutch.models.matrices import find_matrices
from declutch.scoring.methods.importance import Importance
from tests.conftest import _COMMON
from tests.scoring.test_capture import check, mlp_of
from tests.scoring.test_importance import make_examples, ours

Build = Callable[..., PreTrainedModel]
_EXPERTS = {"num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    # Stacked experts, a router, and weights that the state-space mixer uses by itself.
    "jamba": {
        **_COMMON, **_EXPERTS, "num_experts": 4, "num_hidden_layers": 4, "attn_layer_period": 2,
        "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1,
        "use_mamba_kernels": False,
    },
    "mamba": {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    # Two stacks of blocks, each called several times a pass, some calls without gradients.
    "hrm_text": {**_COMMON, "num_key_value_heads": 4, "head_dim": 8},
    # A part of the blocks is called in a loop.
    "dory": {**_COMMON, "head_dim": 8, "num_hidden_layers": 4},
    "longcat_flash": {
        **_COMMON, "num_key_value_heads": 4, "num_layers": 2, "num_hidden_layers": 4,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 24, "n_routed_experts": 4, "zero_expert_num": 2, "moe_topk": 2,
        "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
        "v_head_dim": 8, "head_dim": 8,
    },
}  # fmt: skip


def family(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **FAMILIES[name])
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim > 1 and "A_log" not in key:
                parameter.normal_(0, 0.15)
    model.eval()
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_families_whose_weights_are_used_in_unusual_ways(name: str) -> None:
    check(family(name), "all")


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_gradients_that_a_model_brings_change_nothing(name: str) -> None:
    model = family(name)
    fresh = ours(model, make_examples(), "all")
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    again = ours(model, make_examples(), "all")
    for matrix, scores in fresh.items():
        assert torch.equal(scores, again[matrix])
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert bool((parameter.grad == 1).all())


def test_a_run_that_fails_leaves_nothing_behind(
    tiny_model: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("mixtral")
    model.train()
    mlp_of(model, 0).eval()
    modes = [module.training for module in model.modules()]
    expected = ours(model, make_examples(), "all")

    def broken(*_: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(Importance, "add_gradient", broken)
        with pytest.raises(RuntimeError, match="no"):
            ours(model, make_examples(), "all")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    for parameter in model.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
    for matrix, scores in ours(model, make_examples(), "all").items():
        assert torch.equal(scores, expected[matrix])


# --- experts in a list ----------------------------------------------------------------------


class Experts(nn.Module):
    """A mixture as models with code of their own write it: a list of linear experts."""

    def __init__(self, size: int, inner: int, experts: int = 6) -> None:
        super().__init__()
        self.gate = nn.Linear(size, experts, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(size, inner), nn.SiLU(), nn.Linear(inner, size))
            for _ in range(experts)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        flat = hidden.reshape(-1, hidden.shape[-1])
        share, chosen = self.gate(flat).softmax(-1).max(-1)
        result = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                result = result.index_add(0, rows, expert(flat[rows]) * share[rows, None])
        return result.view(hidden.shape)


def with_experts(model: PreTrainedModel) -> PreTrainedModel:
    torch.manual_seed(1)
    for layer in range(2):
        experts = Experts(32, 24)
        for parameter in experts.parameters():
            nn.init.normal_(parameter, 0, 0.3)
        model.model.layers[layer].mlp = experts
    model.eval()
    return model


def test_experts_that_the_last_example_misses_come_once(
    tiny_model: Build, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "declutch"):
        check(with_experts(tiny_model("llama")), "all", batch_tokens=200)
    assert "mixed" in caplog.text
    assert "outside" not in caplog.text


def test_experts_come_once_when_memory_runs_out(
    tiny_model: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = with_experts(tiny_model("llama"))
    expected = ours(model, make_examples(), "all")
    add, left = Importance.add, [4, 9]

    def full(self: Importance, *rest: Any) -> None:
        left[:] = [count - 1 for count in left]
        if 0 in left and len(rest[3].lengths) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        add(self, *rest)

    monkeypatch.setattr(Importance, "add", full)
    for matrix, scores in ours(model, make_examples(), "all", batch_tokens=200).items():
        torch.testing.assert_close(scores, expected[matrix])


# --- blocks called more than once -----------------------------------------------------------


class Again(nn.ModuleList):
    """A list of blocks that its model runs through in an order of its own."""

    order: tuple[int, ...] = ()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [nn.ModuleList.__getitem__(self, number) for number in self.order]
        return nn.ModuleList.__getitem__(self, index)


@pytest.mark.parametrize("order", [(0, 1, 0, 1), (1, 0), (1, 1, 0, 1), (1,)])
@pytest.mark.parametrize("target", ["all", r".*layers\.1\..*proj"])
def test_blocks_in_any_order_and_number(
    order: tuple[int, ...], target: str, tiny_model: Build
) -> None:
    model = tiny_model("llama")
    model.model.layers = Again(model.model.layers)
    model.model.layers.order = order
    check(model, target)


# --- weights used outside their modules -----------------------------------------------------


def used_outside(model: PreTrainedModel, when: Callable[[Tensor], bool]) -> PreTrainedModel:
    """Layer 1's up projection is called by its module, and sometimes used beside that too."""
    mlp: Any = mlp_of(model, 1)

    def forward(hidden: Tensor) -> Tensor:
        up = mlp.up_proj(hidden)
        if when(hidden):
            up = up + 0.5 * functional.linear(hidden.tanh(), mlp.up_proj.weight)
        result: Tensor = mlp.down_proj(functional.silu(mlp.gate_proj(hidden)) * up)
        return result

    mlp.forward = forward
    return model


@pytest.mark.parametrize("batch_tokens", [20, 64, 400])
def test_a_weight_called_and_used_outside_counts_both(batch_tokens: int, tiny_model: Build) -> None:
    check(used_outside(tiny_model("llama"), lambda _: True), "all", batch_tokens)


@pytest.mark.parametrize("batch_tokens", [20, 64])
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_a_weight_used_outside_by_later_examples_only(
    batch_tokens: int, architecture: str, tiny_model: Build, caplog: pytest.LogCaptureFixture
) -> None:
    # The longest come first. With 64 tokens the last batch holds several examples.
    model = used_outside(tiny_model(architecture), lambda hidden: hidden.shape[1] < 12)
    with caplog.at_level(logging.INFO, "declutch"):
        check(model, "all", batch_tokens)
    assert caplog.text.count("used outside their modules") == 2  # once for each statistic


def test_a_weight_tied_to_one_that_is_used_otherwise(tiny_model: Build) -> None:
    model = tiny_model("llama", intermediate_size=32)
    mlp: Any = mlp_of(model, 1)

    class Backwards(nn.Module):
        def __init__(self, weight: nn.Parameter) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, hidden: Tensor) -> Tensor:
            return hidden @ self.weight

    mlp.up_proj = Backwards(mlp.gate_proj.weight)
    check(model)


def test_a_linear_module_with_a_forward_of_its_own(tiny_model: Build) -> None:
    model = tiny_model("llama")
    up: Any = mlp_of(model, 1).up_proj
    up.forward = lambda hidden: 2 * functional.linear(hidden, up.weight)
    check(model)


# --- inputs and outputs ---------------------------------------------------------------------


def test_an_input_that_needs_no_gradient(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp: Any = mlp_of(model, 1)
    once = mlp.forward

    def forward(hidden: Tensor) -> Tensor:
        places = torch.arange(hidden.shape[1] * 32).view(1, -1, 32).sin().expand_as(hidden)
        result: Tensor = once(hidden) + once(places)
        return result

    mlp.forward = forward
    check(model)


def test_an_input_given_by_name(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp: Any = mlp_of(model, 0)
    mlp.forward = lambda hidden: mlp.down_proj(input=mlp.up_proj(input=hidden))
    check(model)


def test_outputs_changed_in_place(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp: Any = mlp_of(model, 0)

    def forward(hidden: Tensor) -> Tensor:
        up = mlp.up_proj(hidden)
        up[..., :7] *= 3
        gate = mlp.gate_proj(hidden).relu_()
        result: Tensor = mlp.down_proj(up * gate)
        return result.mul_(0.5)

    mlp.forward = forward
    check(model, "all")


def test_hooks_of_others_stay_outside_the_call(tiny_model: Build) -> None:
    model = tiny_model("llama")
    up: Any = mlp_of(model, 1).up_proj
    up.register_forward_hook(lambda _, args, output: 2 * output)
    up.register_forward_pre_hook(lambda _, args: (args[0].tanh(),))
    check(model)


def test_an_input_that_is_overwritten_is_refused(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp: Any = mlp_of(model, 0)

    def forward(hidden: Tensor) -> Tensor:
        hidden = hidden.clone()
        up = mlp.up_proj(hidden)
        hidden.mul_(2)
        result: Tensor = mlp.down_proj(up)
        return result

    mlp.forward = forward
    with pytest.raises(ModelError, match=r"overwrites the input of model\.layers\.0\.mlp\.up_proj"):
        ours(model, make_examples(), "mlp")


def test_as_many_examples_as_tokens_with_the_axes_exchanged(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp: Any = mlp_of(model, 0)
    once = mlp.forward
    mlp.forward = lambda hidden: once(hidden.transpose(0, 1).contiguous()).transpose(0, 1)
    generator = torch.Generator().manual_seed(3)
    examples = [
        EncodedExample(
            tuple(torch.randint(7, 300, (length,), generator=generator).tolist()),
            (False,) * (length - 2) + (True,) * 2,
        )
        for length in (6, 6, 6, 5, 5, 4)
    ]
    check(model, batch_tokens=36, examples=examples)


# --- parts of the graph that are made during the backward pass ------------------------------


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_parts_are_exact(reentrant: bool, tiny_model: Build) -> None:
    model = tiny_model("llama")
    expected = ours(model, make_examples(), "all")
    mlp: Any = mlp_of(model, 1)
    once = mlp.forward
    mlp.forward = lambda hidden: checkpoint(once, hidden, use_reentrant=reentrant)
    for matrix, scores in ours(model, make_examples(), "all").items():
        torch.testing.assert_close(scores, expected[matrix])


def test_a_gradient_that_comes_in_parts_is_refused(tiny_model: Build) -> None:
    model = tiny_model("llama")
    mlp: Any = mlp_of(model, 1)
    once = mlp.forward
    mlp.forward = lambda hidden: checkpoint(
        once, checkpoint(once, hidden, use_reentrant=True), use_reentrant=True
    )
    with pytest.raises(ModelError, match="came in several parts"):
        ours(model, make_examples(), "mlp")


@pytest.fixture(autouse=True)
def _no_noise() -> Iterator[None]:
    level = logging.getLogger("transformers").level
    logging.getLogger("transformers").setLevel(logging.ERROR)
    yield
    logging.getLogger("transformers").setLevel(level)


def test_every_family_has_a_matrix_that_would_be_missed() -> None:
    """The models above are what their names promise: several kinds of weights in one model."""
    jamba = find_matrices(family("jamba"), "all").matrices
    assert {matrix.linear for matrix in jamba} == {True, False}
    stacks = {one.name.split(".layers")[0] for one in find_matrices(family("hrm_text")).matrices}
    assert stacks == {"model.L_module", "model.H_module"}
