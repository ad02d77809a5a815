"""Suites: the prompts, pairs and passages that a model is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from declutch.comparing.results import PromptKind
from declutch.data.duplicates import find_clusters
from declutch.data.example import Example
from declutch.errors import DataError, SettingsError
from declutch.files import sha256_json
from declutch.items import item_id
from declutch.registry import Registry


@dataclass(frozen=True, slots=True)
class PromptItem:
    """One prompt to reply to.

    Attributes:
        id: unique within its set.
        facts: what measures need to know of it, kept with its reply: the ``type`` by which it is
            reported, the options of a question (:mod:`declutch.replies.choices`).
        cluster: what the prompt shares with others of its set, such as the template that it was
            made from. Prompts of one cluster are not taken as independent, and near-duplicates
            (:func:`declutch.data.duplicates.find_clusters`) are found besides.
        draw: which of several replies to the prompt this one is to be.
    """

    id: str
    prompt: str
    facts: Mapping[str, str] = field(default_factory=dict)
    cluster: str = ""
    draw: int = 0


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts of one dimension.

    Attributes:
        name: unique within its suite.
        kind: ``awareness`` for prompts that an aware model handles with care; ``over_refusal``
            for harmless ones that it should simply answer; ``choice`` for questions with options.
        suite: the suite it comes from.
    """

    name: str
    dimension: str
    kind: PromptKind
    items: tuple[PromptItem, ...]
    suite: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of general text, for perplexity."""

    id: str
    text: str


@dataclass(frozen=True)
class Suite:
    """All that one evaluation is made on.

    Attributes:
        name: the suite's name, or several joined with ``+``.
        prompt_sets: to reply to.
        pairs: for each dimension, examples that carry a bad response, for the margin.
        passages: for the perplexity.
        notes: what a reader of its results must know, in plain sentences.
    """

    name: str
    prompt_sets: tuple[PromptSet, ...] = ()
    pairs: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    passages: tuple[Passage, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.prompt_sets:
            _check_set(each)
            _check_ids(f"{each.suite}/{each.name}", [(i.id, i.prompt) for i in each.items])
        for dimension, pairs in self.pairs.items():
            _check_ids(f"the pairs of {dimension}", [(pair_id(pair), pair) for pair in pairs])
        _check_ids("the passages", [(p.id, p.text) for p in self.passages])

    def prompts_alone(self) -> Suite:
        """Without the pairs and passages, which only a model's weights can be measured on."""
        return replace(self, pairs={}, passages=())

    def asked(self, num_replies: int = 1) -> Suite:
        """The prompts alone, an item for each reply, with the cluster that the reply belongs to."""
        sets = [replace(each, items=_replies(each.items, num_replies)) for each in self.prompt_sets]
        return replace(self.prompts_alone(), prompt_sets=tuple(sets))

    def limited(self, limit: int | None) -> Suite:
        """The first ``limit`` prompts, pairs and passages of each kind; all of them for None.

        Raises:
            SettingsError: the limit is below 1.
        """
        if limit is None:
            return self
        if limit < 1:
            raise SettingsError(f"--limit must be at least 1, not {limit}.")
        return replace(
            self,
            prompt_sets=tuple(replace(s, items=s.items[:limit]) for s in self.prompt_sets),
            pairs={dimension: pairs[:limit] for dimension, pairs in self.pairs.items()},
            passages=self.passages[:limit],
        )

    def reversed(self) -> Suite:
        """The same from the last to the first; its hash is the same."""
        return replace(
            self,
            prompt_sets=tuple(replace(s, items=s.items[::-1]) for s in self.prompt_sets),
            pairs={dimension: pairs[::-1] for dimension, pairs in self.pairs.items()},
            passages=self.passages[::-1],
        )

    def labels(self) -> dict[tuple[str, str], str]:
        """How metrics call each prompt set, by (suite, set).

        A set is called by its dimension; where several sets of one kind share a dimension, by
        ``dimension@suite`` (and ``dimension@suite/set`` where that too is shared).
        """
        labels = {}
        for each in self.prompt_sets:
            like = [s for s in self.prompt_sets if (s.kind, s.dimension) == _family(each)]
            same_suite = [s for s in like if s.suite == each.suite]
            label = each.dimension
            if len(like) > 1:
                label += f"@{each.suite}"
            if len(same_suite) > 1:
                label += f"/{each.name}"
            labels[each.suite, each.name] = label
        return labels

    def sha256(self) -> str:
        """SHA-256 of all in the suite, in whatever order: evaluations with it are comparable."""
        return sha256_json(
            {
                "prompts": [
                    [s.suite, s.name, s.dimension, s.kind, _sorted(map(_hashed, s.items))]
                    for s in self.prompt_sets
                ],
                "pairs": {
                    dimension: _sorted(
                        [p.id, *pair_content(p), *filter(None, [p.cluster])] for p in pairs
                    )
                    for dimension, pairs in self.pairs.items()
                },
                "passages": _sorted([passage.id, passage.text] for passage in self.passages),
            }
        )


def _sorted(contents: Iterable[list[Any]]) -> list[list[Any]]:
    return sorted(contents, key=repr)


def _hashed(item: PromptItem) -> list[object]:
    return [item.id, item.prompt, *filter(None, [dict(item.facts), item.cluster])]


def _replies(items: Sequence[PromptItem], number: int) -> tuple[PromptItem, ...]:
    """So many of each, the first with the prompt's own id; those of one prompt are a cluster."""
    found = find_clusters(
        [item.id for item in items], [item.prompt for item in items], [i.cluster for i in items]
    )
    return tuple(
        replace(
            item,
            id=f"{item.id}#{draw + 1}" if draw else item.id,
            cluster=cluster or (item.id if number > 1 else ""),
            draw=draw,
        )
        for item, cluster in zip(items, found, strict=True)
        for draw in range(number)
    )


def pair_id(pair: Example) -> str:
    """A pair's id, with a hash of what it says: two files may count their rows alike."""
    return item_id(pair.id, *pair_content(pair))


def pair_content(pair: Example) -> tuple[str | None, ...]:
    return pair.prompt, pair.response, pair.bad_response


def _check_set(each: PromptSet) -> None:
    """See that a set, which may be of another's making, can be replied to and written down.

    Raises:
        DataError: it can't.
    """
    if each.kind not in get_args(PromptKind):
        kinds = " or ".join(get_args(PromptKind))
        raise DataError(
            f"{each.suite}/{each.name}: its kind is {each.kind!r}, and must be {kinds}."
        )
    texts = [each.name, each.dimension, each.suite]
    texts += [text for item in each.items for text in (item.id, item.prompt, *item.facts.values())]
    texts += [item.cluster for item in each.items if item.cluster != ""]
    if wrong := [text for text in texts if not isinstance(text, str) or not text]:
        raise DataError(
            f"{each.suite}/{each.name}: {wrong[0]!r:.100} stands where a text is needed; names, "
            "ids, prompts, facts and clusters are texts."
        )


def _check_ids(what: str, items: Sequence[tuple[str, object]]) -> None:
    """See that an id stands for one item: the reply to a second would overwrite the first.

    Raises:
        DataError: one stands for two.
    """
    first: dict[str, int] = {}
    for place, (key, item) in enumerate(items, start=1):
        if key in first:
            same = items[first[key] - 1][1] == item
            raise DataError(
                f"{what}: items {first[key]} and {place} have the same id {key!r}"
                f"{', and are the same' if same else ' and different content'}. Give each an id "
                "of its own, and each item once."
            )
        first[key] = place


def _family(prompt_set: PromptSet) -> tuple[PromptKind, str]:
    return prompt_set.kind, prompt_set.dimension


# What loads a suite. One with a parameter may be asked for as ``NAME:WHERE`` too, and is given it.
SUITES: Registry[Callable[..., Suite]] = Registry("suite", "declutch.suites", "--suite")
