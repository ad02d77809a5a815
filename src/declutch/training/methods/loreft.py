"""``loreft``: what a model holds at a few tokens of its prompt, edited in a few directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal
from transformers import PreTrainedModel

from declutch.errors import FileFormatError, ModelError, SettingsError
from declutch.files import write_json
from declutch.models.matrices import decoder_blocks
from declutch.models.prompts import prompt_lengths
from declutch.records import Record, read_record
from declutch.training.method import TRAININGS

FORMAT_VERSION = 1
WEIGHTS, FACTS = "loreft.safetensors", "loreft.json"
_NAME = "loreft"  # of the module in the model


class LoreftFacts(Record):
    """``loreft.json``: after which decoder blocks, and at how many tokens of a prompt."""

    format_version: int = FORMAT_VERSION
    layers: tuple[int, ...]
    rank: int
    first: int
    last: int


@TRAININGS.register("loreft")
@dataclass(frozen=True)
class Loreft:
    """LoReFT (Wu et al. 2024, arXiv 2404.03592): ``h + Rᵀ(Wh + b − Rh)``, R of orthonormal rows.

    It is put on the residual stream after each chosen block, at the first and the last tokens of
    the prompt, with one R, W and b a block. The model's weights stay as they are.
    """

    rank: int = 4
    dropout: float = 0.0
    layers: tuple[int, ...] = ()
    first: int = 5
    last: int = 5
    learning_rate: ClassVar[float] = 9e-4
    adapter: ClassVar[bool] = True
    mergeable: ClassVar[bool] = False

    def attach(self, model: PreTrainedModel) -> nn.Module:
        """The model, frozen, with the edits on it.

        Raises:
            SettingsError: there is no such block, no token, or not so many directions.
        """
        depth, width = len(decoder_blocks(model)), _width(model)
        layers = tuple(sorted(set(self.layers))) or tuple(range(depth))
        if layers[-1] >= depth:
            raise SettingsError(
                f"--layers {layers[-1]}: the model's {depth} decoder blocks are 0 to {depth - 1}."
            )
        if self.rank >= width:
            raise SettingsError(
                f"--rank {self.rank}: the model holds {width} numbers a token, and fewer "
                "directions than that are needed."
            )
        if not self.first + self.last:
            raise SettingsError("--first and --last are 0: no token would be edited.")
        facts = LoreftFacts(layers=layers, rank=self.rank, first=self.first, last=self.last)
        model.requires_grad_(False)
        return _put_on(model, facts, self.dropout)

    def save(self, trained: nn.Module, folder: Path) -> None:
        """``loreft.safetensors``, with R, W and b of each block, and ``loreft.json``."""
        edits = _edits(trained)
        tensors = {
            f"{layer}.{name}": tensor.detach().contiguous()
            for layer, edit in edits.by_layer.items()
            for name, tensor in edit.tensors().items()
        }
        folder.mkdir()
        save_file(tensors, folder / WEIGHTS)
        write_json(folder / FACTS, edits.facts.model_dump(mode="json"))

    def used(self, trained: nn.Module) -> PreTrainedModel:
        """The model with the edits on it."""
        assert isinstance(trained, PreTrainedModel)
        return trained


class Edit(nn.Module):
    """The edit after one block, in float32.

    Args:
        trained: keep the rows of R orthonormal while they are trained; what was saved has them so.
    """

    def __init__(self, width: int, rank: int, dropout: float = 0.0, *, trained: bool) -> None:
        super().__init__()
        self.rotate = nn.Linear(width, rank, bias=False)
        self.learned = nn.Linear(width, rank)
        self.dropout = nn.Dropout(dropout)
        if trained:
            nn.init.orthogonal_(self.rotate.weight)
            orthogonal(self.rotate)

    def forward(self, hidden: Tensor) -> Tensor:
        """States ``[..., width]``, edited."""
        states, rotate = hidden.float(), self.rotate.weight
        change = (self.learned(states) - states @ rotate.T) @ rotate
        edited: Tensor = states + self.dropout(change)
        return edited.to(hidden.dtype)

    def tensors(self) -> dict[str, Tensor]:
        """R, W and b as they are."""
        learned = self.learned
        return {"rotate": self.rotate.weight, "weight": learned.weight, "bias": learned.bias}


class Edits(nn.Module):
    """All edits of a model, and the hooks that make them."""

    def __init__(self, model: PreTrainedModel, facts: LoreftFacts, edits: Sequence[Edit]) -> None:
        super().__init__()
        self.facts = facts
        self.edits = nn.ModuleList(edits)
        self._where: Tensor | None = None
        blocks = [block for _, block in decoder_blocks(model)]
        self._handles = [model.register_forward_pre_hook(self._look, with_kwargs=True)]
        for layer, edit in self.by_layer.items():
            self._handles.append(blocks[layer].register_forward_hook(self._hook(edit)))

    @property
    def by_layer(self) -> dict[int, Edit]:
        """The edit after each block."""
        return dict(zip(self.facts.layers, self.edits, strict=True))  # type: ignore[arg-type]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _look(self, _: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        """See which tokens of a pass are to be edited, ``[B, T]``."""
        inputs = [*args[:1], given.get("input_ids"), given.get("inputs_embeds")]
        tokens: Tensor = next(one for one in inputs if one is not None)
        size = tokens.shape[1]
        mask = given.get("attention_mask")
        cache = given.get("cache", given.get("past_key_values"))  # transformers renames it
        lengths, labels = prompt_lengths(), given.get("labels")
        at = torch.arange(size, device=tokens.device)
        if lengths is None and labels is not None:
            lengths = (labels != -100).int().argmax(1)
        if lengths is not None:
            lengths = lengths.unsqueeze(1)
        elif cache is not None and cache.get_seq_length():
            self._where = None  # a reply's token: the prompt was edited when it was read
            return
        elif mask is not None:
            at, lengths = mask.cumsum(1) - 1, mask.sum(1, keepdim=True)
            at = at.masked_fill(mask == 0, size)  # padding is no token of the prompt
        else:
            raise ModelError(
                "A model with a LoReFT adapter is edited at the tokens of its prompt, and here it "
                "can't be told where the prompt ends (capability tasks don't say it). Leave "
                "--capability out."
            )
        near = (at < self.facts.first) | (at >= lengths - self.facts.last)
        self._where = (near & (at < lengths)).unsqueeze(-1)

    def _hook(self, edit: Edit) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            if self._where is None:
                return output
            # Some blocks give their states first among other things.
            states = output if isinstance(output, Tensor) else output[0]
            where = self._where.to(states.device)
            states = torch.where(where, edit(states), states)
            return states if isinstance(output, Tensor) else (states, *output[1:])

        return hook


def _put_on(model: PreTrainedModel, facts: LoreftFacts, dropout: float | None) -> PreTrainedModel:
    """Put edits on a model: new ones to be trained, or (without a dropout) ones to be filled."""
    blocks = [block for _, block in decoder_blocks(model)]
    edits = [
        Edit(_width(model), facts.rank, dropout or 0.0, trained=dropout is not None).to(
            next(blocks[layer].parameters()).device
        )
        for layer in facts.layers
    ]
    # In the model, so that its fingerprint is another's.
    model.add_module(_NAME, Edits(model, facts, edits))
    return model


def load_edits(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Put saved edits on a model.

    Raises:
        FileFormatError: a file is missing or damaged, or the edits don't fit the model.
    """
    facts = read_record(folder / FACTS, LoreftFacts, FORMAT_VERSION)
    try:
        saved = load_file(folder / WEIGHTS)
        edited = _put_on(model, facts, None)
        for layer, edit in _edits(edited).by_layer.items():
            for name, tensor in edit.tensors().items():
                tensor.data.copy_(saved.pop(f"{layer}.{name}"))
    except (SafetensorError, OSError, KeyError, IndexError, RuntimeError) as error:
        raise FileFormatError(
            f"The LoReFT adapter in {folder} can't be put on the model: "
            f"{str(error).splitlines()[0]:.300}. Is it of this model, and whole?"
        ) from error
    return edited.requires_grad_(False)


def remove_edits(model: PreTrainedModel) -> None:
    """Take a LoReFT adapter off: the model is what it was.

    Raises:
        ModelError: it carries none.
    """
    _edits(model).remove()
    delattr(model, _NAME)


def _edits(model: nn.Module) -> Edits:
    found = getattr(model, _NAME, None)
    if not isinstance(found, Edits):
        raise ModelError("The model carries no LoReFT adapter.")
    return found


def _width(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().hidden_size)
