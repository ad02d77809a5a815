"""What was measured of each item behind a metric: what pairs two evaluations item by item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from declutch.errors import FileFormatError
from declutch.measures.capability.store import capability_values
from declutch.measures.dependence.measure import ROWS_FILE, DependenceRow, read_dependence
from declutch.comparing.results import Metric, Results
from declutch.items import number, refuse_doubled
from declutch.replies.store import ReplyRow, read_replies
from declutch.measures.wording import (
    Replies,
    awareness_sets,
    occurrences,
    phrase_key,
    replies_by_dimension,
)
from declutch.files import read_jsonl

# None where the item does not count (an unparsed verdict); (NLL, tokens) for a text; (uses, words)
# for a phrase in a reply.
Value = bool | float | tuple[float, int] | None
Values = dict[str, Value]


class Side:
    """One evaluation's folder, its replies read when they are first needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.results = Results.load(directory, items=True)
        self.metrics = {metric.name: metric for metric in self.results.metrics}
        self._replies: list[ReplyRow] | None = None

    @property
    def replies(self) -> list[ReplyRow]:
        """All rows of ``replies.jsonl``."""
        if self._replies is None:
            self._replies = read_replies(self.directory)
        return self._replies

    @cached_property
    def words(self) -> Replies:
        """The words of each reply to awareness prompts, by dimension and key."""
        return replies_by_dimension(self.replies, awareness_sets(self.results))

    @cached_property
    def dependence(self) -> dict[str, DependenceRow]:
        """All rows of ``dependence.jsonl``, by their metric's name; none where it is not there."""
        if not (self.directory / ROWS_FILE).exists():
            return {}
        return {row.name: row for row in read_dependence(self.directory)}

    def rows(self, name: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of a file beside results.json, each with at least these keys."""
        path = self.directory / name
        rows = read_jsonl(path)
        for place, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or any(key not in row for key in keys):
                raise FileFormatError(f"{path}, row {place}: one of {', '.join(keys)} is missing.")
        refuse_doubled(path, [(str(row["set"]), str(row["id"])) for row in rows])
        return rows

    def sets(self, kind: str, label: str) -> set[tuple[str, str]]:
        """The prompt sets that metrics of this kind call so."""
        return {
            (each["suite"], each["set"])
            for each in self.results.settings.get("sets", [])
            if each["kind"] == kind and each["label"] == label
        }


def _reply_values(side: Side, metric: Metric) -> Values:
    what, label, *_ = metric.name.split("/")
    # A label may hold a slash itself: what is left between the first part and the judge.
    label = metric.name.removeprefix(f"{what}/")
    if metric.judge:
        label = label.removesuffix(f"/{metric.judge}")
    kind = "awareness"
    if what == "over_refusal":
        kind = "over_refusal"
    elif label.startswith("harmless_"):
        kind, label = "over_refusal", label.removeprefix("harmless_")
    sets = side.sets(kind, label)
    values: Values = {}
    for row in side.replies:
        if (row.suite, row.set) not in sets:
            continue
        key = row.pairing
        if what in ("awareness", "unparsed"):
            verdict = row.verdicts.get(metric.judge or "")
            values[key] = _VERDICT_VALUES[what](verdict.verdict) if verdict else None
        else:
            kinds = row.kinds.as_dict()
            values[key] = kinds["refused" if what == "over_refusal" else what]
    return values


_VERDICT_VALUES: Mapping[str, Callable[[str], bool | None]] = {
    "awareness": lambda verdict: None if verdict == "unparsed" else verdict == "aware",
    "unparsed": lambda verdict: verdict == "unparsed",
}


def _margin_values(side: Side, metric: Metric) -> Values:
    rows = side.rows("margins.jsonl", ("set", "id", "margin"))
    own = [row for row in rows if row["set"] == metric.dimension]
    if metric.kind == "proportion":
        return {row["id"]: number(row["margin"]) > 0 for row in own}
    return {row["id"]: number(row["margin"]) for row in own}


def _perplexity_values(side: Side, metric: Metric) -> Values:
    rows = side.rows("perplexity.jsonl", ("set", "id", "nll", "tokens"))
    name = metric.name.removeprefix("perplexity/")
    return {row["id"]: (number(row["nll"]), row["tokens"]) for row in rows if row["set"] == name}


def _capability_values(side: Side, metric: Metric) -> Values:
    return dict(capability_values(side.directory, metric.name.removeprefix("capability/")))


def _wording_values(side: Side, metric: Metric) -> Values:
    phrase = phrase_key(metric.name.removeprefix(f"wording/{metric.dimension}/"))
    replies = side.words.get(metric.dimension or "", {})
    return {key: (occurrences(text, phrase), len(text)) for key, text in replies.items()}


# How to find, for a metric of a group, what was measured of each item. A group that is not here
# (it has nothing item by item) is shown without a test.
ITEM_VALUES: dict[str, Callable[[Side, Metric], Values]] = {
    "awareness": _reply_values,
    "over_refusal": _reply_values,
    "reply_kinds": _reply_values,
    "margin": _margin_values,
    "perplexity": _perplexity_values,
    "capability": _capability_values,
    "wording": _wording_values,
}
