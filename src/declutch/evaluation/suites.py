"""Suites: the prompts, pairs and passages that a model is evaluated on.

A suite is found by name, or made from a file of the user's. A new one is one function under
:func:`register_suite`; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from declutch.data.example import Example
from declutch.data.names import check_dimension_name
from declutch.errors import DataError, SettingsError
from declutch.evaluation.rows import content_hash, item_id
from declutch.files import is_file, sha256_json

PromptKind = Literal["awareness", "over_refusal"]


@dataclass(frozen=True, slots=True)
class PromptItem:
    """One prompt to reply to; the id is unique within its set."""

    id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts of one dimension.

    Attributes:
        name: unique within its suite.
        kind: ``awareness`` for prompts that an aware model handles with care; ``over_refusal``
            for harmless ones that it should simply answer.
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
            _check_ids(f"{each.suite}/{each.name}", [(i.id, i.prompt) for i in each.items])
        for dimension, pairs in self.pairs.items():
            _check_ids(f"the pairs of {dimension}", [(pair_id(pair), pair) for pair in pairs])
        _check_ids("the passages", [(p.id, p.text) for p in self.passages])

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
        """SHA-256 of all that is in the suite, in order: two evaluations with it are comparable."""
        return sha256_json(
            {
                "prompts": [
                    [s.suite, s.name, s.dimension, s.kind, [[i.id, i.prompt] for i in s.items]]
                    for s in self.prompt_sets
                ],
                "pairs": {
                    dimension: [[p.id, p.prompt, p.response, p.bad_response] for p in pairs]
                    for dimension, pairs in self.pairs.items()
                },
                "passages": [[passage.id, passage.text] for passage in self.passages],
            }
        )


def pair_id(pair: Example) -> str:
    """A pair's id, with a hash of what it says: two files may count their rows alike."""
    return item_id(pair.id, *_content(pair))


def _content(pair: Example) -> tuple[str | None, ...]:
    return pair.prompt, pair.response, pair.bad_response


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


_SUITES: dict[str, Callable[..., Suite]] = {}
_LOCATED: set[str] = set()
Load = TypeVar("Load", bound=Callable[..., Suite])


def register_suite(name: str, *, located: bool = False) -> Callable[[Load], Load]:
    """Make a suite known under a name.

    With ``located``, it may be asked for as ``NAME:WHERE`` too, and its function takes WHERE.
    """

    def register(load: Load) -> Load:
        _SUITES[name] = load
        if located:
            _LOCATED.add(name)
        return load

    return register


def suite_names() -> tuple[str, ...]:
    """Names that :func:`load_suite` knows."""
    from declutch.evaluation import known_suites  # noqa: F401 (registers itself)

    return tuple(sorted(_SUITES))


def load_suite(reference: str) -> Suite:
    """Load a suite by its name, or from a source of the user's.

    ``NAME:WHERE`` reads a named suite from a file, where it is one that can be.
    ``DIMENSION=SOURCE`` makes the prompts of SOURCE (a file or hub data set, as for ``--data``) a
    set of that dimension; rows with a bad response also count for the margin.
    ``harmless:DIMENSION=SOURCE`` makes them harmless prompts, for over-refusal.

    Raises:
        SettingsError: no suite has that name.
        DataError: the source can't be read.
    """
    names = suite_names()
    if reference in names:
        return _SUITES[reference]()
    name, colon, where = reference.partition(":")
    if colon and where and name in _LOCATED:
        return _SUITES[name](where)
    name, equals, source = reference.partition("=")
    harmless = name.startswith("harmless:")
    dimension = name.removeprefix("harmless:")
    if not equals or not dimension or not source:
        if is_file(reference):
            raise SettingsError(
                f"--suite {reference}: say which dimension its prompts belong to, as "
                f"fairness={reference}, or harmless:fairness={reference} for harmless ones."
            )
        raise SettingsError(
            f"There is no suite «{reference}». Give one of {', '.join(names)}, or "
            "DIMENSION=PATH (or harmless:DIMENSION=PATH) for prompts of your own."
        )
    return _suite_of_source(dimension, source, harmless=harmless)


def load_suites(references: str | Suite | Iterable[str | Suite]) -> Suite:
    """Load one suite or several as one.

    Suites that are given by name get the bundled harmless prompts where they bring none, so that
    awareness is never measured without over-refusal; a :class:`Suite` is taken as it is.

    Raises:
        SettingsError: none is given, one is unknown, or two bring the same thing.
    """
    if isinstance(references, str | Suite):
        references = [references]
    given = list(references)
    suites = [each if isinstance(each, Suite) else load_suite(each) for each in given]
    if not suites:
        raise SettingsError(f"Give at least one --suite, as {', '.join(suite_names())}.")
    suite = suites[0] if len(suites) == 1 else _joined(suites)
    return suite if all(isinstance(each, Suite) for each in given) else with_harmless(suite)


def with_harmless(suite: Suite) -> Suite:
    """The suite, with the bundled harmless prompts if it has prompts but no harmless ones.

    Of its own dimensions where there are such; otherwise all of them.
    """
    kinds = {each.kind for each in suite.prompt_sets}
    if kinds != {"awareness"}:
        return suite
    own = {each.dimension for each in suite.prompt_sets}
    bundled = [s for s in _bundled().prompt_sets if s.kind == "over_refusal"]
    fitting = tuple(s for s in bundled if s.dimension in own) or tuple(bundled)
    note = (
        f"The suite {suite.name} has no harmless prompts: over-refusal is measured on the bundled "
        f"ones ({', '.join(s.dimension for s in fitting)})."
    )
    return replace(suite, prompt_sets=(*suite.prompt_sets, *fitting), notes=(*suite.notes, note))


def _joined(suites: Sequence[Suite]) -> Suite:
    pairs: dict[str, tuple[Example, ...]] = {}
    for suite in suites:
        for dimension, examples in suite.pairs.items():
            pairs[dimension] = _unique_pairs([*pairs.get(dimension, ()), *examples])
    sets = [each for suite in suites for each in suite.prompt_sets]
    keys = [(each.suite, each.name) for each in sets]
    twice = {f"{suite}/{name}" for suite, name in keys if keys.count((suite, name)) > 1}
    if twice:
        raise SettingsError(f"--suite brings the same prompts twice: {', '.join(sorted(twice))}.")
    passages = dict.fromkeys(passage for suite in suites for passage in suite.passages)
    return Suite(
        "+".join(suite.name for suite in suites),
        tuple(sets),
        pairs,
        tuple(passages),
        tuple(dict.fromkeys(note for suite in suites for note in suite.notes)),
    )


def _unique_pairs(pairs: Iterable[Example]) -> tuple[Example, ...]:
    """Pairs with an id each that depends on nothing but the pair, doublets dropped."""
    unique: dict[str, Example] = {}
    for pair in pairs:
        named = pair if pair.id else replace(pair, id=content_hash(*_content(pair)))
        unique.setdefault(pair_id(named), named)
    return tuple(unique.values())


def suite_of_data(data: Mapping[str, Any]) -> Suite:
    """Prompts of the caller's: for each dimension (or ``harmless:DIMENSION``) a source or rows.

    Raises:
        SettingsError: there are none.
        DataError: one can't be read.
    """
    suites = [
        _suite_of_source(name.removeprefix("harmless:"), one, harmless=name.startswith("harmless:"))
        for name, one in data.items()
    ]
    if not suites:
        raise SettingsError("Give the prompts of at least one dimension.")
    return with_harmless(suites[0] if len(suites) == 1 else _joined(suites))


def _suite_of_source(dimension: str, reference: Any, *, harmless: bool) -> Suite:
    from declutch.data.loading import load_examples

    check_dimension_name(dimension)
    loaded = load_examples(reference, num_samples=None, require_response=False)
    prompts: dict[str, PromptItem] = {}
    for example in loaded.examples:
        item = PromptItem(example.id or content_hash(example.prompt), example.prompt)
        # A data set with several responses to a prompt is still one prompt to reply to.
        prompts.setdefault(example.prompt, item)
    name = f"harmless_{dimension}" if harmless else dimension
    kind: PromptKind = "over_refusal" if harmless else "awareness"
    prompt_set = PromptSet(name, dimension, kind, tuple(prompts.values()), suite=name)
    pairs = _unique_pairs(e for e in loaded.examples if e.response and e.bad_response)
    return Suite(name, (prompt_set,), {dimension: pairs} if pairs and not harmless else {})


@register_suite("bundled")
def _bundled() -> Suite:
    """The prompts, pairs and passages that come with declutch, kept apart from calibration."""
    from declutch.data.bundled import bundled_passages, bundled_prompts, load_bundled

    sets: list[PromptSet] = []
    pairs: dict[str, tuple[Example, ...]] = {}
    for dimension in ("fairness", "privacy"):
        pairs[dimension] = load_bundled(f"eval_{dimension}")
        items = tuple(PromptItem(example.id, example.prompt) for example in pairs[dimension])
        sets.append(PromptSet(dimension, dimension, "awareness", items, "bundled"))
    for dimension in ("fairness", "privacy"):
        name = f"harmless_{dimension}"
        items = tuple(PromptItem(each.id, each.prompt) for each in bundled_prompts(name))
        sets.append(PromptSet(name, dimension, "over_refusal", items, "bundled"))
    passages = tuple(Passage(key, text) for key, text in bundled_passages())
    return Suite("bundled", tuple(sets), pairs, passages)
