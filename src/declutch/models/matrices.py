"""Find the weight matrices of a causal language model, whatever its architecture.

A weight matrix is a 2-D weight inside a decoder block, seen as ``[out, in]``: the way
``nn.Linear`` stores it. Some models store it otherwise (GPT-2's ``Conv1D`` is ``[in, out]``; a
mixture of experts stacks its experts in one 3-D parameter). :class:`WeightMatrix` hides that. No
model names are listed anywhere: decoder blocks are found by structure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from declutch.errors import MatrixNotFound, ModelError, SettingsError
from declutch.models.identity import MatrixInfo
from declutch.models.matrix_kinds import Kind, module_kinds, not_a_matrix, stacked_transposed
from declutch.models.targets import target_filter

_QUANTISED = re.compile(
    r"[48]bit|int[48]|quant|gptq|awq|wqlinear|hqq|fp8|eetq|aqlm|bitlinear", re.IGNORECASE
)
_NOT_IN_TARGET = "not in this target"
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True, slots=True)
class WeightMatrix:
    """One weight matrix of a model, by name.

    Attributes:
        name: the module's name, with ``[e]`` for expert ``e`` of a stacked weight.
        parameter: full name of the parameter that stores it.
        shape: ``(out, in)``.
        layer: index of its decoder block.
        kind: ``mlp``, ``attention``, ``router`` or ``other`` (state-space mixers and the like).
        transposed: the parameter stores ``[in, out]``.
        expert: index into the first axis of a 3-D parameter, or None.
        linear: its module is a plain linear map, so that its gradient is ``δᵀx``.
    """

    name: str
    parameter: str
    shape: tuple[int, int]
    layer: int
    kind: Kind
    transposed: bool = False
    expert: int | None = None
    linear: bool = True

    @property
    def numel(self) -> int:
        """Number of neurons (entries)."""
        return self.shape[0] * self.shape[1]

    @property
    def module(self) -> str:
        """Name of the module that owns the parameter."""
        return self.parameter.rpartition(".")[0]

    def view(self, parameter: Tensor) -> Tensor:
        """The ``[out, in]`` view of a tensor laid out as the parameter; shares its memory."""
        matrix = parameter if self.expert is None else parameter[self.expert]
        return matrix.T if self.transposed else matrix

    def storage_index(self, indices: Tensor) -> Tensor:
        """Flat positions in the parameter's own layout, of flat positions in the view."""
        if self.transposed:
            out, inner = self.shape
            indices = (indices % inner) * out + indices // inner
        return indices + (self.expert or 0) * self.numel


@dataclass(frozen=True, slots=True)
class Skipped:
    """A parameter that a target does not cover, and why."""

    parameter: str
    shape: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class Coverage:
    """What a target covers in a model, and what it does not."""

    target: str
    matrices: tuple[WeightMatrix, ...]
    skipped: tuple[Skipped, ...]
    layers: int

    @cached_property
    def numel(self) -> int:
        """Neurons covered."""
        return sum(matrix.numel for matrix in self.matrices)

    def info(self) -> dict[str, MatrixInfo]:
        """What is recorded of each matrix."""
        return {
            matrix.name: MatrixInfo(shape=matrix.shape, layer=matrix.layer, kind=matrix.kind)
            for matrix in self.matrices
        }


def decoder_blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The decoder blocks of a causal language model, in order, with their names.

    Raises:
        ModelError: no list of blocks was found.
    """
    config = getattr(model, "config", None)
    getter = getattr(config, "get_text_config", None)
    text_config = getter() if getter else config
    depth = getattr(text_config, "num_hidden_layers", None)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and any(p.ndim >= 2 for p in module.parameters())
    ]
    names = {name for name, _ in lists}
    outer = [
        (name, module)
        for name, module in lists
        if not any(name.startswith(f"{other}.") for other in names)
    ]
    # A multi-modal model has other stacks; the text stack is the one of the configured depth.
    fitting = [entry for entry in outer if len(entry[1]) == depth] or outer
    if not fitting:
        raise ModelError(
            f"No decoder blocks were found in {type(model).__name__}: it holds no nn.ModuleList "
            "with weights. declutch works on decoder-only causal language models."
        )
    language = [entry for entry in fitting if not re.search(r"vision|audio|visual", entry[0])]
    _, blocks = max(
        language or fitting, key=lambda entry: sum(p.numel() for p in entry[1].parameters())
    )
    # A model that goes round several stacks counts every call as a layer: none is of that depth.
    stacks = [
        (name, stack)
        for name, stack in language or fitting
        if stack is blocks or (len(blocks) != depth and type(stack[0]) is type(blocks[0]))
    ]
    return [
        (f"{name}.{index}", block) for name, stack in stacks for index, block in enumerate(stack)
    ]


def find_matrices(model: nn.Module, target: str = "mlp", *, empty: bool = False) -> Coverage:
    """Find the weight matrices that a target covers.

    Args:
        target: ``mlp``, ``attention``, ``all``, or a regular expression that must match a
            matrix's whole module name or its last part (``down_proj|up_proj``).
        empty: the model may be one of shapes alone (on the meta device).

    Raises:
        ModelError: weights are quantised, offloaded, adapted, or on the meta device.
        SettingsError: the expression is not valid, or covers nothing.
    """
    covered = target_filter(target)
    blocks = decoder_blocks(model)
    refuse_unusable(model, empty=empty)
    inside = tuple(f"{name}." for name, _ in blocks)
    # Tied weights have several names, and one of them may be inside.
    outside = {
        name: parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not name.startswith(inside)
    }
    tied = {id(parameter): name for name, parameter in outside.items()}
    matrices: list[WeightMatrix] = []
    skipped: list[Skipped] = []
    seen: dict[int, str] = {}
    for layer, (block_name, block) in enumerate(blocks):
        kinds = module_kinds(block)
        for module_name, module in block.named_modules(prefix=block_name):
            for key, parameter in module.named_parameters(recurse=False):
                name = f"{module_name}.{key}"
                shape = tuple(parameter.shape)
                if id(parameter) in tied:
                    skipped.append(Skipped(name, shape, f"tied to {tied[id(parameter)]}"))
                    continue
                if id(parameter) in seen:
                    skipped.append(Skipped(name, shape, f"the same as {seen[id(parameter)]}"))
                    continue
                seen[id(parameter)] = name
                kind = kinds[module_name.removeprefix(block_name).strip(".")]
                if reason := not_a_matrix(module, key, parameter, kind):
                    skipped.append(Skipped(name, shape, reason))
                else:
                    for matrix in _matrices_of(module, module_name, key, parameter, layer, kind):
                        if covered(matrix.name, matrix.kind):
                            matrices.append(matrix)
                        else:
                            skipped.append(
                                Skipped(matrix.name, matrix.shape, f"{kind}: {_NOT_IN_TARGET}")
                            )
    skipped += [
        Skipped(name, tuple(parameter.shape), "outside the decoder blocks")
        for name, parameter in outside.items()
    ]
    if not matrices:
        examples = ", ".join(
            [entry.parameter for entry in skipped if entry.reason.endswith(_NOT_IN_TARGET)][:4]
        )
        raise SettingsError(
            f"The target «{target}» covers no weight matrix of this model. Give mlp, attention, "
            f"all, or a regular expression over module names such as: {examples}."
        )
    return Coverage(target, tuple(matrices), tuple(skipped), len(blocks))


def resolve(
    model: nn.Module, names: Iterable[str], *, empty: bool = False
) -> dict[str, WeightMatrix]:
    """Find matrices by name, in any target.

    Args:
        empty: as of :func:`find_matrices`.

    Raises:
        MatrixNotFound: one is not in the model.
    """
    available = {
        matrix.name: matrix for matrix in find_matrices(model, "all", empty=empty).matrices
    }
    found = {}
    for name in names:
        if name not in available:
            raise MatrixNotFound(
                f"The model has no weight matrix «{name}»; it has {len(available)}, for example "
                f"{next(iter(available))}. Is this the model that was scored?"
            )
        found[name] = available[name]
    return found


def refuse_unusable(model: nn.Module, *, empty: bool = False) -> None:
    """Refuse weights that can be neither scored nor changed, with a remedy.

    Raises:
        ModelError: quantised, offloaded, meta or adapted (LoRA) weights.
    """
    for name, module in model.named_modules():
        hook = getattr(module, "_hf_hook", None)
        if any(
            getattr(one, "offload", False) for one in (hook, *getattr(hook, "hooks", ())) if one
        ):
            raise ModelError(
                f"The weights of {name or 'the model'} are offloaded to CPU memory or disk, where "
                "they get no gradient. Load the model on devices that hold it whole: fewer "
                "others on the GPU, --device-map auto over more GPUs, --device cpu, or a "
                "half-precision --dtype."
            )
        if hasattr(module, "lora_A") or hasattr(module, "base_layer"):
            raise ModelError(
                f"{name} carries a LoRA or other adapter. Merge it first (PEFT: "
                "model.merge_and_unload()), save the merged model, and give declutch that."
            )
    for name, module in model.named_modules():
        if kinds := getattr(module, "peft_config", None):
            raise ModelError(
                f"{name or 'The model'} carries a PEFT adapter ({_peft_types(kinds)}) that is not "
                "in its weight matrices: the prompts or prefixes that it adds are neither scored "
                "nor saved with a patch, and can't be merged. Give the model without it."
            )
    for name, parameter in model.named_parameters():
        if parameter.is_meta and not empty:
            raise ModelError(
                f"{name} is on the meta device: it has a shape and no values. Load the model with "
                "its weights (device_map='auto' moves what does not fit out of memory; use "
                "--device cpu, or a half-precision --dtype)."
            )
        if parameter.dtype not in _DTYPES or _QUANTISED.search(type(parameter).__name__):
            raise _quantised(name, parameter.dtype)
    for name, module in model.named_modules():
        label = type(module).__name__
        weight = getattr(module, "weight", None)
        integer = isinstance(weight, Tensor) and weight.dtype not in _DTYPES
        if integer or hasattr(module, "qweight"):
            raise _quantised(name, label)
        # PyTorch's own are none: the output of its attention is a NonDynamicallyQuantizableLinear.
        own = type(module).__module__.startswith("torch.nn.modules.")
        if "linear" in label.lower() and _QUANTISED.search(label) and not own:
            raise _quantised(name, label)


def _peft_types(configs: Any) -> str:
    listed = configs.values() if isinstance(configs, dict) else [configs]
    types = (getattr(one, "peft_type", type(one).__name__) for one in listed)
    return ", ".join(sorted({str(getattr(one, "value", one)) for one in types}))


def _quantised(name: str, how: torch.dtype | str) -> ModelError:
    return ModelError(
        f"{name} is quantised ({how}). Importance needs real-valued weights and their "
        "gradients: load the unquantised checkpoint (no load_in_4bit/8bit, no quantization_config; "
        "a GGUF file is dequantised on loading), patch it, and quantise the result."
    )


def _matrices_of(
    module: nn.Module, module_name: str, key: str, parameter: Tensor, layer: int, kind: Kind
) -> Iterator[WeightMatrix]:
    full = f"{module_name}.{key}"
    name = module_name if key == "weight" else full
    if parameter.ndim == 2:
        conv1d = type(module).__name__ == "Conv1D" and hasattr(module, "nf")
        out, inner = reversed(parameter.shape) if conv1d else parameter.shape
        linear = conv1d or type(module).forward is nn.Linear.forward
        yield WeightMatrix(name, full, (out, inner), layer, kind, conv1d, None, linear)
        return
    transposed = stacked_transposed(module)
    experts, rows, columns = parameter.shape
    shape = (columns, rows) if transposed else (rows, columns)
    for expert in range(experts):
        yield WeightMatrix(
            f"{name}[{expert}]", full, shape, layer, kind, transposed, expert, linear=False
        )


def total_parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(prod(parameter.shape) for parameter in model.parameters())
