"""What is to be scored: the data read and encoded, and the model looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from declutch.data.dimension import DataLike, LoadedDimension, load_dimension
from declutch.data.encoding import EncodedDimension, EncodedExample, Encoder, encode_all
from declutch.data.names import dimension_of
from declutch.models.matrices import Coverage, find_matrices
from declutch.models.positions import refuse_too_long
from declutch.models.probes import must_be_alone
from declutch.scoring.contrast import encode_pairs, statistics, with_harmless
from declutch.scoring.dimension import Job
from declutch.scoring.memory import PassPlan, make_plan
from declutch.scoring.method import Method, get_method
from declutch.settings import ScoreSettings


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
    loaded = {name: load_dimension(name, value, settings) for name, value in data.items()}
    encoded = {
        key: _encode(encoder, loaded[dimension_of(key)], key, kind, settings)
        for key, kind in kinds.items()
    }
    for name, one in encoded.items():
        refuse_too_long(model, one.examples, name)
    return Prepared(kinds, methods, coverage, encoder, loaded, encoded)
