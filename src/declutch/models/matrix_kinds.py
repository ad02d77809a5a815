"""What the modules and parameters inside a decoder block are, by their names and structure."""

from __future__ import annotations

import re
from typing import Literal

from torch import Tensor, nn

Kind = Literal["mlp", "attention", "router", "other"]

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_MLP = re.compile(r"mlp|feed_?forward|ffn|moe(block)?\b", re.IGNORECASE)
_STATE_SPACE = re.compile(r"mamba|mixer|ssm|rwkv|recurrent|conv", re.IGNORECASE)
_STATE_SPACE_CLASS = re.compile(r"Mamba|SSM|Mixer|Rwkv|RecurrentBlock|ShortConv")
# Of classes. DBRX has a block that is called a norm and holds attention.
_NORM = re.compile(r"^(?!.*Attention).*Norm(Gated|\dP)?$")
_HYPER_CONNECTION = re.compile(r"HyperConnection")
# Griffin's gates, square blocks on a diagonal, are multiplied from the right.
_INPUT_FIRST = re.compile(r"RgLru", re.IGNORECASE)


def module_kinds(block: nn.Module) -> dict[str, Kind]:
    """The kind of each module inside a decoder block, by its path there.

    The innermost name that says something decides: an attention layer may hold an MLP. Where no
    name says anything it is an MLP's, unless the block has one that goes by its name.
    """
    kinds = {path: _said(block, path) for path, _ in block.named_modules(remove_duplicate=False)}
    named = any(
        kinds[path] == "mlp" and any(p.ndim > 1 for p in module.parameters(recurse=False))
        for path, module in block.named_modules(remove_duplicate=False)
    )
    silent: Kind = "other" if named else "mlp"
    return {path: kind or silent for path, kind in kinds.items()}


def _said(block: nn.Module, path: str) -> Kind | None:
    """What the names on a path say, if anything."""
    kind: Kind | None = None
    module: nn.Module = block
    for part in path.split(".") if path else ():
        parent, module = module, getattr(module, part)
        name = type(module).__name__
        label = f"{part} {name}"
        if _NORM.search(name) or _HYPER_CONNECTION.search(name):
            return "other"  # beside attention and MLP, and named after them
        # A mixture of experts chooses its experts with a module beside them.
        if "router" in label.lower() or (part == "gate" and hasattr(parent, "experts")):
            return "router"
        if _ATTENTION.search(label):
            kind = "attention"
        elif _MLP.search(label):
            kind = "mlp"
        elif _STATE_SPACE.search(part) or _STATE_SPACE_CLASS.search(label):
            kind = "other"
    return kind


def not_a_matrix(module: nn.Module, key: str, parameter: Tensor, kind: Kind) -> str | None:
    """Why a parameter is not a weight matrix, or None."""
    if isinstance(module, nn.Embedding):
        return "an embedding"
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return "a convolution" if key == "weight" else "a bias"
    if "bias" in key:
        return "a bias"  # experts stack theirs in 2-D
    if parameter.ndim not in (2, 3):
        return f"{parameter.ndim}-D, not a matrix"
    if min(parameter.shape[-2:]) == 1:
        return "one row or column, not a matrix"
    if _NORM.search(type(module).__name__) or key.endswith("scale"):
        return "a scale, not a matrix"  # 2-D where each head has its own
    if kind == "other" and not re.search(r"weight|proj|fn$", key):
        return "a state, not a linear map"
    return None


def stacked_transposed(module: nn.Module) -> bool:
    """Whether a module's stacked matrices are stored as ``[expert, in, out]``."""
    declared = getattr(module, "is_transposed", None)
    if declared is not None:
        return bool(declared)
    if _INPUT_FIRST.search(type(module).__name__):
        return True
    hidden = getattr(module, "hidden_size", getattr(module, "hidden_dim", None))
    inner = getattr(module, "in_features", None)
    for key, parameter in module.named_parameters(recurse=False):
        if parameter.ndim != 3 or parameter.shape[1] == parameter.shape[2]:
            continue  # a square one tells nothing, and the others of a module are stored alike
        rows, columns = parameter.shape[1:]
        if hidden in (rows, columns):
            # The hidden size is the output of a down projection, the input of every other one.
            return bool((columns if "down" in key else rows) == hidden)
        if inner in (rows, columns):
            return bool(rows == inner)
    return False
