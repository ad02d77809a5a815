"""The highest-scoring neurons of every matrix on every dimension: what scoring leaves on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from declutch.data.names import CANDIDATES, CONTROL, check_dimension_name, dimension_of
from declutch.errors import DataError, FileFormatError, ModelError
from declutch.files import atomic_path, require_file, write_json
from declutch.models.fingerprint import seal
from declutch.models.identity import MatrixInfo, ModelInfo
from declutch.models.weights import gather
from declutch.records import Record, read_record

# 2: a checksum; 3: candidates, and contrast beside absolute scores; 4: sums by row and column.
FORMAT_VERSION = 4
_OLDER = (2, 3)
_TOP_PART = 1 << 17  # entries that topk looks at together
TOP_BYTES = 20 * _TOP_PART
_STRIDE = 61  # of a sample: a prime, so that it goes through all columns
_LISTED = ("indices", "scores", "weights")
_SUMS = ("rows", "columns")


class DimensionInfo(Record):
    """What a dimension was scored on.

    ``statistic`` is ``abs``, ``signed``, or ``contrast``: signed, good against bad responses. Until
    format 2 a contrasted dimension had no absolute scores beside those.
    ``examples`` counts pairs where it is ``contrast``. ``tokens_sha256`` is over all tokens and
    loss masks; scores of before that was kept have none.
    """

    source: str
    sha256: str
    examples: int
    tokens: int
    counted_tokens: int
    truncated: int = 0
    left_out: int = 0
    tokens_sha256: str | None = None
    seconds: float
    statistic: str = "abs"
    report: tuple[str, ...] = ()


class ScoresInfo(Record):
    """``scores.json``: all that is needed to say where shortlists came from.

    ``gathered`` has the seconds that it took for each kind of scores that candidates have.
    """

    format_version: int = FORMAT_VERSION
    model: ModelInfo
    settings: dict[str, Any]
    matrices: dict[str, MatrixInfo]
    dimensions: dict[str, DimensionInfo] = Field(default_factory=dict)
    gathered: dict[str, float] = Field(default_factory=dict)
    versions: dict[str, str]
    checksum: str = ""


@dataclass(frozen=True)
class Candidates:
    """What every dimension scores wherever one of them has a shortlisted neuron, in one matrix.

    Attributes:
        indices: flat positions in the ``[out, in]`` view, int64, ascending.
        scores: for each kind of scores its values there, float32.
    """

    indices: Tensor
    scores: dict[str, Tensor] = field(default_factory=dict)

    def fault(self, shortlisted: Tensor) -> str | None:
        """What is wrong with them as candidates from these positions, if anything is."""
        if not torch.equal(self.indices, shortlisted):
            return "candidates are not the shortlists' neurons"
        for values in self.scores.values():
            if values.shape != self.indices.shape or values.dtype != torch.float32:
                return "candidates' scores are not of their number and dtype"
            if not bool(values.isfinite().all()):
                return "a candidate's score is not a finite number"
        return None


@dataclass(frozen=True)
class Shortlist:
    """The top of one matrix on one dimension.

    Attributes:
        indices: flat positions in the ``[out, in]`` view, int64, highest score first.
        scores: float32.
        weights: the model's own values there, in the model's dtype.
        rows: for each row of the matrix the sum of all its scores, float32, from which the scores
            of units are made (:mod:`declutch.locating.units`); scores of before format 4, a random
            sample and what was scored at chosen positions have none.
        columns: the same for each column.
    """

    indices: Tensor
    scores: Tensor
    weights: Tensor
    rows: Tensor | None = None
    columns: Tensor | None = None

    def top(self, k: int) -> NDArray[np.int64]:
        """The first ``k`` positions, fewer where fewer score above zero.

        A neuron that no example reached (an expert that was never chosen) scores zero: it is
        not important, however small the matrix's other scores.
        """
        return self.indices[: min(k, int((self.scores > 0).sum()))].numpy()

    @property
    def parts(self) -> dict[str, Tensor]:
        """Its tensors, by the names under which they are written."""
        every = {part: getattr(self, part) for part in (*_LISTED, *_SUMS)}
        return {part: tensor for part, tensor in every.items() if tensor is not None}

    def fault(self, shape: tuple[int, int]) -> str | None:
        """What is wrong with it as a shortlist of a matrix of that shape, if anything is."""
        numel = shape[0] * shape[1]
        if self.indices.dtype != torch.int64 or self.scores.dtype != torch.float32:
            return "a tensor is of a wrong dtype"
        if not self.weights.is_floating_point():
            return "a tensor is of a wrong dtype"
        if self.indices.ndim != 1 or len({self.parts[part].shape for part in _LISTED}) != 1:
            return "its tensors are not of one length"
        if not len(self.indices):
            return "it is empty"
        if not 0 <= int(self.indices.min()) <= int(self.indices.max()) < numel:
            return f"a position is outside its {numel:,} neurons"
        if len(self.indices.unique()) != len(self.indices):
            return "a position comes twice"
        if not bool(self.scores.isfinite().all()):
            return "a score is not a finite number"
        if bool((self.scores.diff() > 0).any()):
            return "its scores are not in falling order"
        for sums, length in zip((self.rows, self.columns), shape, strict=True):
            if sums is not None and (sums.shape != (length,) or sums.dtype != torch.float32):
                return "sums by row or column are not of the matrix's shape, or not float32"
            if sums is not None and not bool(sums.isfinite().all()):
                return "a sum is not a finite number"
        return None


@dataclass
class Scores:
    """Shortlists of all dimensions, and where they came from."""

    info: ScoresInfo
    shortlists: dict[str, dict[str, Shortlist]] = field(default_factory=dict)
    candidates: dict[str, Candidates] = field(default_factory=dict)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """Names of the scored dimensions; ``NAME:contrast`` where good stands against bad."""
        return tuple(self.info.dimensions)

    def dimension(self, name: str) -> dict[str, Shortlist]:
        """A dimension's shortlists by matrix.

        Raises:
            DataError: it was not scored.
        """
        if name not in self.info.dimensions:
            raise DataError(
                f"The dimension «{name}» was not scored; the scores hold "
                f"{', '.join(self.dimensions) or 'none'}. Score it, or name another."
            )
        return self.shortlists[name]

    def add(self, name: str, info: DimensionInfo, shortlists: dict[str, Shortlist]) -> None:
        """Add a finished dimension; candidates of before are not those of all shortlists now.

        Raises:
            SettingsError: no dimension can be called so.
        """
        check_dimension_name(dimension_of(name))
        self.shortlists[name] = shortlists
        self.info = self.info.model_copy(
            update={"dimensions": {**self.info.dimensions, name: info}, "gathered": {}}
        )
        self.candidates = {}

    def union(self) -> dict[str, Tensor]:
        """By matrix the positions that any dimension has on its shortlist, ascending."""
        return {
            matrix: torch.cat(
                [self.shortlists[name][matrix].indices for name in self.dimensions]
            ).unique()
            for matrix in self.info.matrices
        }

    def add_gathered(self, name: str, shortlists: dict[str, Shortlist], seconds: float) -> None:
        """Add what one dimension scores at the candidates."""
        for matrix, found in shortlists.items():
            self.candidates[matrix].scores[name] = found.scores
        gathered = {**self.info.gathered, name: seconds}
        self.info = self.info.model_copy(update={"gathered": gathered})

    def save(self, folder: Path | str) -> None:
        """Write ``shortlists.safetensors`` and ``scores.json``, each whole or not at all."""
        folder = Path(folder)
        self.info = self.info.model_copy(update={"checksum": self._checksum()})
        tensors = {
            f"{name}/{part}": tensor
            for name, parts in self._named()
            for part, tensor in parts.items()
        }
        # Tensors first: a dimension counts only once the JSON names it.
        with atomic_path(folder / "shortlists.safetensors") as temporary:
            save_file(tensors, temporary)
        write_json(folder / "scores.json", self.info.model_dump(mode="json"))

    @classmethod
    def load(cls, folder: Path | str) -> Scores:
        """Read what :meth:`save` wrote.

        Raises:
            FileFormatError: a file is missing, damaged or of another version, or the two don't
                belong together.
        """
        folder = Path(folder)
        scores = cls(read_info(folder))
        path = folder / "shortlists.safetensors"
        require_file(path)
        try:
            with safe_open(path, framework="pt") as file:
                there = set(file.keys())

                def read(place: str, *parts: str) -> dict[str, Tensor]:
                    return {part: file.get_tensor(f"{place}/{part}") for part in parts}

                for dimension in (*scores.dimensions, CONTROL):
                    for matrix in scores.info.matrices:
                        place = f"{dimension}/{matrix}"
                        sums = [part for part in _SUMS if f"{place}/{part}" in there]
                        shortlist = Shortlist(**read(place, *_LISTED, *sums))
                        scores.shortlists.setdefault(dimension, {})[matrix] = shortlist
                for matrix in scores.info.matrices if scores.info.gathered else ():
                    place = f"{CANDIDATES}/{matrix}"
                    scores.candidates[matrix] = Candidates(
                        **read(place, "indices"), scores=read(place, *scores.info.gathered)
                    )
        except (SafetensorError, OSError) as error:
            raise _damaged(path, str(error)) from error
        for dimension, matrices in scores.shortlists.items():
            for matrix, shortlist in matrices.items():
                if fault := shortlist.fault(scores.info.matrices[matrix].shape):
                    raise _damaged(path, f"{dimension}, {matrix}: {fault}")
        union = scores.union() if scores.candidates else {}
        for matrix, candidates in scores.candidates.items():
            if fault := candidates.fault(union[matrix]):
                raise _damaged(path, f"{matrix}: {fault}")
        if scores._checksum() != scores.info.checksum:
            raise _damaged(path, "the checksum in the scores.json beside it is another")
        return scores

    def _named(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        for dimension, matrices in self.shortlists.items():
            for matrix, shortlist in matrices.items():
                yield f"{dimension}/{matrix}", shortlist.parts
        for matrix, one in self.candidates.items():
            yield f"{CANDIDATES}/{matrix}", {"indices": one.indices, **one.scores}

    def _checksum(self) -> str:
        named = sorted((name, [*parts.values()]) for name, parts in self._named())
        return seal(self.info, named, without=("checksum",))


def _damaged(path: Path, reason: str) -> FileFormatError:
    return FileFormatError(
        f"{path} is damaged, incomplete or changed ({reason}). Put back what was there, or remove "
        f"{path.parent} and score again."
    )


def read_info(folder: Path) -> ScoresInfo:
    """Read ``scores.json``.

    Raises:
        FileFormatError: missing, damaged or of another version.
    """
    return read_record(folder / "scores.json", ScoresInfo, FORMAT_VERSION, _OLDER)


def shortlist_length(numel: int, fraction: float) -> int:
    """How many neurons of a matrix a shortlist keeps."""
    return min(numel, max(1, ceil(fraction * numel)))


def make_shortlist(scores: Tensor, weight: Tensor, fraction: float) -> Shortlist:
    """Keep the highest scores of a matrix, equal ones in order of position, and the sums of all.

    Args:
        scores: ``[out, in]`` float32.
        weight: ``[out, in]``, the model's values.

    Raises:
        ModelError: scores are not finite.
    """
    length = shortlist_length(scores.numel(), fraction)
    flat = scores.reshape(-1)
    rows, columns = scores.sum(dim=1), scores.sum(dim=0)
    if not bool(rows.isfinite().all()):
        raise ModelError(
            "Scores are not finite: the model's loss or gradients overflow in this dtype. Load it "
            "with --dtype bfloat16 or float32."
        )
    indices = _top(flat, length)
    values = flat[indices]
    by_score = values.argsort(descending=True, stable=True)
    indices = indices[by_score]
    return Shortlist(
        indices.cpu(), values[by_score].cpu(), gather(weight, indices).cpu(),
        rows.cpu(), columns.cpu(),
    )  # fmt: skip


def _top(scores: Tensor, length: int) -> Tensor:
    """Positions of the highest scores, ascending; at the cut the first of equal scores."""
    places = _candidates(scores, length) if scores.device.type == "cpu" else None
    if places is not None:
        return places[_highest(scores[places], length)]
    return _highest(scores, length)


def _candidates(scores: Tensor, length: int) -> Tensor | None:
    """Positions of everything above a bound taken from a sample, if that holds all that is wanted.

    ``topk`` looks at every score several times; this reads each once, and leaves few.
    """
    sample = scores[::_STRIDE]
    rank = 2 * length // _STRIDE + 8
    if rank > len(sample) // 4:
        return None
    bound = sample.topk(rank).values[-1]
    places, room = [], 16 * rank * _STRIDE
    for number, part in enumerate(scores.split(_TOP_PART)):
        places.append((part >= bound).nonzero()[:, 0] + number * _TOP_PART)
        room -= len(places[-1])
        if room < 0:  # the sample misleads, or many scores are equal
            return None
    found = torch.cat(places)
    return found if len(found) >= length else None


def _highest(scores: Tensor, length: int) -> Tensor:
    """What :func:`_top` promises.

    Part by part: on a CPU ``topk`` copies 16 bytes for each entry that it looks at, and of equal
    scores it takes any.
    """
    size = _TOP_PART if scores.device.type == "cpu" else scores.numel()
    parts = scores.split(size)
    best = torch.cat([part.topk(min(length, len(part))).values for part in parts])
    cut = best.topk(length).values[-1]
    above, equal = [], []
    wanted = length
    for number, part in enumerate(parts):
        above.append((part > cut).nonzero()[:, 0] + number * size)
        equal.append((part == cut).nonzero()[:wanted, 0] + number * size)
        wanted -= len(equal[-1])
    higher = torch.cat(above)
    return torch.cat([higher, torch.cat(equal)[: length - len(higher)]]).sort().values


def control_shortlist(weight: Tensor, fraction: float, seed: int, name: str) -> Shortlist:
    """A random sample of positions, for the control rule; the same for a seed and a matrix."""
    length = shortlist_length(weight.numel(), fraction)
    entropy = [seed, *name.encode()]
    positions = np.random.default_rng(entropy).choice(weight.numel(), length, replace=False)
    indices = torch.from_numpy(positions.astype(np.int64))
    values = gather(weight, indices.to(weight.device)).cpu()
    return Shortlist(indices, torch.zeros(length), values)
