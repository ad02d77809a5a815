"""The patch: which weights are suppressed, what they were, and the way back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from declutch.errors import FileFormatError, MatrixNotFound, PatchMismatch, SettingsError
from declutch.files import atomic_path, write_json
from declutch.models.fingerprint import checksum_change, float_bits, seal
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.models.matrices import WeightMatrix
from declutch.models.weights import State, Weights, weights_of
from declutch.patching.sets import PatchParent, combined, values_at
from declutch.patching.tensors import read_patch_tensors
from declutch.patching.units import ChosenUnit
from declutch.ranges import Scale, check_value
from declutch.records import Record, read_record
from declutch.scoring.shortlists import Shortlist
from declutch.versions import versions

FORMAT_VERSION = 1


class PatchInfo(Record):
    """``patch.json``: how the neurons were chosen, and of which model.

    ``choice`` holds what the rule has to tell of its choice, ``words`` the same in sentences;
    ``units`` the whole neurons, heads or experts, where those were chosen (``granularity``). In a
    patch made of two others, ``parents`` says how each was made, and what the two do not share is
    None or «several».
    """

    format_version: int = FORMAT_VERSION
    model: ModelInfo
    rule: str
    ratio: float | None
    scope: str = "matrix"
    scale: float = 0.0
    seed: int | None = 0
    coupled: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    target_modules: str
    matrices: dict[str, MatrixInfo]
    scores: dict[str, Any] = Field(default_factory=dict)
    choice: dict[str, Any] = Field(default_factory=dict)
    words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    granularity: str = "weight"
    units: tuple[ChosenUnit, ...] = ()
    parents: tuple[PatchParent, ...] = ()
    checksum: str = ""
    versions: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Patch:
    """Positions, their original values, and the model they belong to.

    Two patches are equal if they hold the same positions and original values, bit for bit, and were
    made in the same way from the same model.

    Attributes:
        info: how the patch was made.
        indices: by matrix, flat positions in its ``[out, in]`` view, int64, ascending.
        original: by matrix, the model's own values there.
    """

    info: PatchInfo
    indices: Mapping[str, Tensor]
    original: Mapping[str, Tensor]

    @classmethod
    def from_selection(
        cls,
        info: PatchInfo,
        selection: Mapping[str, NDArray[np.int64]],
        shortlists: Mapping[str, Mapping[str, Shortlist]],
    ) -> Patch:
        """Make a patch of positions whose original values the shortlists hold.

        Raises:
            ValueError: a position is in no shortlist, so that its value is not known.
        """
        indices, original = {}, {}
        for matrix, positions in selection.items():
            ordered = np.sort(positions)
            indices[matrix] = torch.from_numpy(ordered)
            known = [(one[matrix].indices, one[matrix].weights) for one in shortlists.values()]
            original[matrix] = values_at(matrix, ordered, known)
        return cls(info, indices, original)._sealed()

    @classmethod
    def from_model(
        cls, info: PatchInfo, selection: Mapping[str, NDArray[np.int64]], model: nn.Module
    ) -> Patch:
        """Make a patch of positions, ascending, whose original values the model holds."""
        weights = weights_of(model)
        indices = {name: torch.from_numpy(positions) for name, positions in selection.items()}
        found = weights.matrices(indices)
        original = {name: weights.read(matrix, indices[name]) for name, matrix in found.items()}
        return cls(info, indices, original)._sealed()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Patch):
            return NotImplemented
        dtypes = [
            {name: one.dtype for name, one in each.original.items()} for each in (self, other)
        ]
        return dtypes[0] == dtypes[1] and self._checksum() == other._checksum()

    def __hash__(self) -> int:
        return hash(self._checksum())

    def __len__(self) -> int:
        return sum(len(one) for one in self.indices.values())

    @cached_property
    def counts(self) -> dict[str, int]:
        """Number of weights by matrix, of all matrices that were looked at."""
        return {name: len(self.indices.get(name, ())) for name in self.info.matrices}

    @property
    def numel(self) -> int:
        """Number of neurons in the matrices that were looked at."""
        return sum(info.numel for info in self.info.matrices.values())

    # --- changing a model ---------------------------------------------------------------

    def apply(self, model: nn.Module | Weights, *, check: bool = True) -> None:
        """Multiply the chosen weights by the scale, in place.

        Args:
            model: in memory, or wherever else its weights are.
            check: also compare the whole model's fingerprint; values are compared always.

        Raises:
            PatchMismatch: it is another model, or the patch is applied already. The model is
                left as it was.
        """
        self._write(model, "original", "patched", check)

    def revert(self, model: nn.Module | Weights, *, check: bool = True) -> None:
        """Put the original values back, bit for bit.

        Raises:
            PatchMismatch: the model does not carry this patch. It is left as it was.
        """
        self._write(model, "patched", "original", check)

    @contextlib.contextmanager
    def applied(self, model: nn.Module, *, check: bool = True) -> Iterator[nn.Module]:
        """The model with the patch inside a ``with`` block, and without it after."""
        self.apply(model, check=check)
        try:
            yield model
        finally:
            self.revert(model, check=False)

    def verify(self, model: nn.Module | Weights) -> State:
        """Tell whether a model is the original or carries the patch.

        Raises:
            PatchMismatch: it is neither.
        """
        weights = weights_of(model)
        found = self._read(weights)
        state: State = "original" if self._differing(found, "patched") else "patched"
        self.require(weights, state)
        return state

    def require(self, model: nn.Module | Weights, state: State, *, check: bool = True) -> None:
        """See that a model is in a state.

        Args:
            check: also compare the whole model's fingerprint, which is the original's always.

        Raises:
            PatchMismatch: it is another model, or in the other state.
        """
        weights = weights_of(model)
        found = self._read(weights)
        if difference := self._differing(found, state):
            other: State = "patched" if state == "original" else "original"
            if len(self) and not self._differing(found, other):
                raise PatchMismatch(
                    "The patch is applied to this model already."
                    if state == "original"
                    else "The patch is not applied to this model: it holds the original values."
                )
            raise PatchMismatch(
                f"This patch is of another model ({self.info.model.id}): {difference}."
            )
        if not check:
            return
        changes: dict[str, int] = {}
        if state == "patched":
            for matrix, values in found.items():
                change = checksum_change(
                    matrix.storage_index(self.indices[matrix.name]),
                    values,
                    self.values(matrix.name, "original", values.dtype),
                )
                changes[matrix.parameter] = changes.get(matrix.parameter, 0) + change
        fingerprint = weights.fingerprint(changes)
        if fingerprint != self.info.model.fingerprint:
            raise PatchMismatch(
                f"This patch is of another model: the fingerprint of {self.info.model.id} is "
                f"{self.info.model.fingerprint[:12]}, and this model's is {fingerprint[:12]}, "
                "although the weights of the patch agree. Other weights differ: a fine-tuned or "
                "otherwise changed copy, or a narrower dtype. Score that model itself."
            )

    def values(self, matrix: str, state: str, dtype: torch.dtype) -> Tensor:
        """The chosen weights of a matrix before (``original``) or after (``patched``)."""
        original = self.original[matrix].to(dtype)
        if state == "original":
            return original
        if self.info.scale == 0:
            return torch.zeros_like(original)  # not −0.0, and not NaN where a weight is infinite
        return (original.float() * self.info.scale).to(dtype)

    def _read(self, weights: Weights) -> dict[WeightMatrix, Tensor]:
        """What a model holds at the positions of the patch, which must be in it."""
        try:
            matrices = weights.matrices(self.indices)
        except MatrixNotFound as error:
            raise PatchMismatch(f"This patch is of another model: {error}") from error
        for name, matrix in matrices.items():
            expected = self.info.matrices[name].shape
            if matrix.shape != expected:
                raise PatchMismatch(
                    f"This patch is of another model: {name} is {list(matrix.shape)} here and "
                    f"{list(expected)} in {self.info.model.id}."
                )
        return {one: weights.read(one, self.indices[one.name]) for one in matrices.values()}

    def _differing(self, found: Mapping[WeightMatrix, Tensor], state: State) -> str | None:
        """The first place where what was read is not of a state, in words."""
        for matrix, values in found.items():
            expected = self.values(matrix.name, state, values.dtype)
            wrong = (float_bits(values) != float_bits(expected)).nonzero()
            if len(wrong):
                first = int(wrong[0])
                row, column = divmod(int(self.indices[matrix.name][first]), matrix.shape[1])
                return (
                    f"{matrix.name}[{row}, {column}] is {float(values[first]):.6g} and should be "
                    f"{float(expected[first]):.6g} ({len(wrong)} of {len(values)} differ there)"
                )
        return None

    def _write(self, model: nn.Module | Weights, before: State, after: State, check: bool) -> None:
        weights = weights_of(model)
        self.require(weights, before, check=check)
        for matrix, found in self._read(weights).items():
            values = self.values(matrix.name, after, found.dtype)
            weights.write(matrix, self.indices[matrix.name], values)

    # --- making other patches -----------------------------------------------------------

    def scaled(self, scale: float) -> Patch:
        """The same neurons, multiplied by another scale."""
        check_value("scale", Scale, scale)
        return self.changed(dict(self.indices), dict(self.original), scale=scale)

    def __or__(self, other: Patch) -> Patch:
        """Neurons of either patch."""
        return combined(self, other, "|")

    def __and__(self, other: Patch) -> Patch:
        """Neurons of both patches."""
        return combined(self, other, "&")

    def __sub__(self, other: Patch) -> Patch:
        """Neurons of this patch that the other does not have."""
        return combined(self, other, "-")

    def changed(
        self, indices: Mapping[str, Tensor], original: Mapping[str, Tensor], **changes: Any
    ) -> Patch:
        """A patch of the same model with these positions, and these facts in place of its own."""
        return Patch(self.info.model_copy(update=changes), indices, original)._sealed()

    # --- on disk ------------------------------------------------------------------------

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Write ``patch.safetensors`` and ``patch.json``, each whole or not at all.

        Raises:
            SettingsError: another patch is there, and ``overwrite`` was not asked for.
        """
        folder = Path(folder)
        if not overwrite:
            self._spare_another(folder)
        tensors = {}
        for name, indices in self.indices.items():
            tensors[f"{name}/indices"] = indices.contiguous()
            tensors[f"{name}/original"] = self.original[name].contiguous()
        with atomic_path(folder / "patch.safetensors") as temporary:
            save_file(tensors, temporary)
        write_json(folder / "patch.json", self.info.model_dump(mode="json"))
        return folder

    def _spare_another(self, folder: Path) -> None:
        """A patch holds the original values: it may be the only way back to a model."""
        there = [name for name in ("patch.json", "patch.safetensors") if (folder / name).exists()]
        if not there:
            return
        with contextlib.suppress(FileFormatError):
            if Patch.load(folder).info.checksum == self.info.checksum:
                return
        raise SettingsError(
            f"{folder} holds another patch, and with it the original values of a model. Give "
            "another -o, or --overwrite if no model carries that patch."
        )

    @classmethod
    def load(cls, folder: Path | str) -> Patch:
        """Read what :meth:`save` wrote.

        Raises:
            FileFormatError: a file is missing, damaged, of another version, or the two don't
                belong together.
        """
        folder = Path(folder)
        info = read_record(folder / "patch.json", PatchInfo, FORMAT_VERSION)
        path = folder / "patch.safetensors"
        indices, original = read_patch_tensors(path, info.matrices)
        patch = cls(info, indices, original)
        if patch._checksum() != info.checksum:
            raise FileFormatError(
                f"{path} does not belong to the patch.json beside it, or one of them was changed: "
                "the checksum differs. Locate again, or take both files from one place."
            )
        return patch

    def _sealed(self) -> Patch:
        """With the checksum of what it holds now."""
        info = self.info.model_copy(
            update={"checksum": self._checksum(), "versions": self.info.versions or versions()}
        )
        return Patch(info, self.indices, self.original)

    def _checksum(self) -> str:
        parts = ((name, (self.indices[name], self.original[name])) for name in sorted(self.indices))
        return seal(self.info, parts, without=("checksum", "versions", "notes", "words"))

    # --- for people ---------------------------------------------------------------------

    def summary(self) -> str:
        """Weights in all, by layer and by kind of matrix, and their share, as plain text."""
        info = self.info
        dimensions = " and ".join(info.coupled)
        excluded = f", less {' and '.join(info.excluded)}" if info.excluded else ""
        ratio = "several ratios" if info.ratio is None else f"ratio {info.ratio:g}"
        units = f", {len(info.units):,} whole {info.granularity}s" if info.units else ""
        lines = [
            f"{len(self):,} of {self.numel:,} weights ({len(self) / self.numel:.1e}) in "
            f"{len(self.indices)} of {len(info.matrices)} matrices of {info.model.id}{units}",
            f"important for {dimensions}{excluded}; rule {info.rule}, {ratio} of each "
            f"{info.scope}, target {info.target_modules}; multiplied by {info.scale:g}",
        ]
        lines += [f"  from {parent.summary}" for parent in info.parents]
        by_layer: dict[int, dict[str, int]] = {}
        for name, count in self.counts.items():
            if count:
                row = by_layer.setdefault(info.matrices[name].layer, {})
                kind = name.rpartition(".")[2]
                row[kind] = row.get(kind, 0) + count
        for layer, row in sorted(by_layer.items()):
            parts = ", ".join(f"{kind} {count}" for kind, count in row.items())
            lines.append(f"  layer {layer}: {sum(row.values())} ({parts})")
        lines += info.words
        lines += [f"note: {note}" for note in info.notes]
        return "\n".join(lines)
