"""What each decoder block makes of a prompt: a vector a layer, at its last token or on average."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from declutch.errors import ModelError
from declutch.models.batches import length_batches
from declutch.models.forward import evaluation_mode, input_device, output_head
from declutch.models.matrices import decoder_blocks
from declutch.models.probes import must_be_alone
from declutch.models.prompts import prompts_end
from declutch.progress import track

if TYPE_CHECKING:
    from declutch.data.encoding import Encoder

Pooling = Literal["last", "mean"]
POOLINGS: Final[tuple[Pooling, ...]] = ("last", "mean")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Representations:
    """Of some prompts, at every layer.

    Attributes:
        layers: for each pooling ``[layers, prompts, hidden]`` in float64.
        lengths: tokens of each prompt.
    """

    layers: Mapping[Pooling, Floats]
    lengths: tuple[int, ...]


class _Enough(Exception):
    """Ends a forward pass once all blocks have answered: the head is not needed."""


def representations(
    model: nn.Module, encoder: Encoder, prompts: Sequence[str], *, max_tokens: int = 2048
) -> Representations:
    """Read the output of every decoder block for each prompt, by forward hooks, in batches.

    ``last`` is the output at the prompt's last token, from which a reply begins; ``mean`` the
    average over all of its tokens. Prompts are padded on the right without a mask, as in
    :mod:`declutch.models.forward`: in a causal model no token sees what comes after it.
    """
    encoded = [encoder.encode_prompt(prompt) for prompt in prompts]
    lengths = tuple(len(ids) for ids in encoded)
    blocks = [block for _, block in decoder_blocks(model)]
    found: dict[Pooling, list[list[Floats]]] = {
        pooling: [[np.empty(0)] * len(encoded) for _ in blocks] for pooling in POOLINGS
    }
    device = input_device(model)
    alone = must_be_alone(model, encoded)
    batches = length_batches(lengths, max_tokens, 1 if alone else None)
    for rows in track(batches, "Reading representations"):
        longest = max(lengths[row] for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : lengths[row]] = torch.tensor(encoded[row])
        with prompts_end(torch.tensor([lengths[row] for row in rows], device=device)):
            outputs = _outputs(model, blocks, ids.to(device))
        for layer, output in enumerate(outputs):
            for place, row in enumerate(rows):
                states = output[place, : lengths[row]].float()
                found["last"][layer][row] = states[-1].double().cpu().numpy()
                found["mean"][layer][row] = states.double().mean(0).cpu().numpy()
    stacked = {pooling: np.stack([np.stack(rows) for rows in found[pooling]]) for pooling in found}
    return Representations(stacked, lengths)


@torch.no_grad()
def _outputs(model: nn.Module, blocks: Sequence[nn.Module], ids: Tensor) -> list[Tensor]:
    """The output ``[B, T, H]`` of each block: of its last call, if there are several."""
    outputs: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            # Some blocks give their states first among other things.
            outputs[layer] = output if isinstance(output, Tensor) else output[0]

        return hook

    def enough(*_: object) -> None:
        raise _Enough

    with contextlib.ExitStack() as hooks:
        for layer, block in enumerate(blocks):
            hooks.enter_context(block.register_forward_hook(keep(layer)))
        if head := output_head(model):
            hooks.enter_context(head.register_forward_pre_hook(enough))
        with evaluation_mode(model), contextlib.suppress(_Enough):
            model(input_ids=ids, use_cache=False)
    if unused := set(range(len(blocks))) - set(outputs):
        raise ModelError(
            f"The model does not call its decoder block {min(unused)}, so there is no "
            "representation to compare at that layer. Leave the dependence measure out."
        )
    return [outputs[layer] for layer in range(len(blocks))]
