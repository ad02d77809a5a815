"""What is to be scored: the data read and encoded, and the model looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from declutch.data.encoding import EncodedDimension, EncodedExample, Encoder, encode_all
from declutch.data.example import Example
from declutch.data.held import Rows, are_examples, checked_examples
from declutch.data.loading import LoadedData, LoadReport, examples_sha256, load_examples
from declutch.data.names import dimension_of
from declutch.data.sources import Source
from declutch.errors import SettingsError
from declutch.models.matrices import Coverage, find_matrices
from declutch.models.positions import position_table
from declutch.models.probes import must_be_alone
from declutch.scoring.contrast import encode_pairs, statistics, with_harmless
from declutch.scoring.dimension import Job
from declutch.scoring.memory import PassPlan, make_plan
from declutch.scoring.method import Method, get_method
from declutch.settings import ScoreSettings

DataLike = LoadedData | Source | str | Path | Sequence[Example] | Rows


@dataclass(frozen=True)
class LoadedDimension:
    """The examples of a dimension and what is recorded of them."""

    examples: Sequence[Example]
    source: str
    sha256: str
    report: LoadReport | None = None


def _load(name: str, value: DataLike, settings: ScoreSettings) -> LoadedDimension:
    if are_examples(value):
        checked_examples(value, f"The data of «{name}»")
        return LoadedDimension(value, "memory", examples_sha256(value))
    if not isinstance(value, LoadedData):
        value = load_examples(
            value,
            num_samples=settings.num_samples,
            seed=settings.seed,
            allow_fewer=settings.allow_fewer,
        )
    return LoadedDimension(value.examples, str(value.source), value.sha256, value.report)


@dataclass(frozen=True)
class Encoded:
    """A dimension's encoded examples, their signs, and what sums are divided by."""

    dimension: EncodedDimension
    signs: Sequence[int]
    count: int

    @property
    def examples(self) -> Sequence[EncodedExample]:
        return self.dimension.examples


def _encode(
    encoder: Encoder, loaded: LoadedDimension, key: str, kind: str, settings: ScoreSettings
) -> Encoded:
    name, fewer = dimension_of(key), settings.allow_fewer
    if kind == "contrast":
        pairs, signs = encode_pairs(encoder, loaded.examples, name, allow_fewer=fewer)
        return Encoded(pairs, signs, len(signs) // 2)
    encoded = encode_all(encoder, loaded.examples, name, allow_fewer=fewer)
    return Encoded(encoded, [1] * len(encoded.examples), len(encoded.examples))


class Prepared(NamedTuple):
    """All that is to be scored.

    Attributes:
        kinds: how each kind of scores is made; ``methods`` and ``encoded`` have the same keys.
        loaded: the examples by dimension.
    """

    kinds: Mapping[str, str]
    methods: Mapping[str, Method]
    coverage: Coverage
    encoder: Encoder
    loaded: Mapping[str, LoadedDimension]
    encoded: Mapping[str, Encoded]

    def plan(
        self, model: nn.Module, memory_limit: int | None, batch_tokens: int | None, processes: int
    ) -> PassPlan:
        """How the passes are cut, for the longest of all dimensions: one plan for each of them."""
        examples = [example for one in self.encoded.values() for example in one.examples]
        method = next(iter(self.methods.values()))  # but for the sign they are one
        plan = make_plan(
            model, method, self.coverage.matrices, examples, memory_limit, batch_tokens,
            processes, quick=memory_limit is None,
        )  # fmt: skip
        if must_be_alone(model, [example.input_ids for example in examples]):
            plan = replace(plan, batch_tokens=1)  # no second example fits into that
        return plan

    def job(
        self, key: str, model: nn.Module, plan: PassPlan, fraction: float,
        at: Mapping[str, Tensor] | None = None,
    ) -> Job:  # fmt: skip
        """One kind of scores, of all entries or at chosen ones."""
        one = self.encoded[key]
        cut = plan if at is None else replace(plan, groups=(tuple(self.coverage.matrices),))
        return Job(
            key, model, self.methods[key], cut, one.examples, one.signs, one.count, fraction, at
        )


def prepare(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    data: Mapping[str, DataLike],
    settings: ScoreSettings,
) -> Prepared:
    """Read and encode the data, and look at the model.

    Raises:
        DataError, ModelError, SettingsError: see :func:`score`.
    """
    kinds = statistics(data, settings)
    data = with_harmless(data, settings)
    methods = {
        key: get_method(
            settings.method, "signed" if kind == "contrast" else kind, settings.all_tokens
        )
        for key, kind in kinds.items()
    }
    coverage = find_matrices(model, settings.target_modules)
    encoder = Encoder(tokenizer, settings.prompt_format, settings.max_length)
    loaded = {name: _load(name, value, settings) for name, value in data.items()}
    encoded = {
        key: _encode(encoder, loaded[dimension_of(key)], key, kind, settings)
        for key, kind in kinds.items()
    }
    _check_positions(model, encoded)
    return Prepared(kinds, methods, coverage, encoder, loaded, encoded)


def _check_positions(model: nn.Module, encoded: Mapping[str, Encoded]) -> None:
    """Refuse examples that are longer than the model's table of positions."""
    positions = position_table(model)
    for name, one in encoded.items():
        longest = max(map(len, one.examples), default=0)
        if positions is not None and longest > positions:
            raise SettingsError(
                f"An example of {name} has {longest} tokens, and the model has {positions} "
                f"positions. Give --max-length {positions} (responses are cut, never prompts)."
            )
