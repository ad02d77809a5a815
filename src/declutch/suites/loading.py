"""Load suites by name, or from sources of the user's, and join several into one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from declutch.comparing.results import PromptKind
from declutch.data.example import Example
from declutch.data.names import check_dimension_name
from declutch.errors import SettingsError
from declutch.files import is_file
from declutch.items import content_hash
from declutch.registry import is_in_file, split_name
from declutch.suites.base import (
    SUITES,
    PromptItem,
    PromptSet,
    Suite,
    pair_content,
    pair_id,
)


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
    found, where = split_name(reference)
    if found in SUITES or is_in_file(found):
        load = SUITES.get(found)
        if where is None:
            return _made(found, load)
        if where and inspect.signature(load).parameters:
            return _made(found, load, where)
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
            f"There is no suite «{reference}». Give one of {', '.join(SUITES.names())}, or "
            "DIMENSION=PATH (or harmless:DIMENSION=PATH) for prompts of your own."
        )
    return _suite_of_source(dimension, source, harmless=harmless)


def _made(name: str, load: Callable[..., Suite], *where: str) -> Suite:
    suite: Suite = SUITES.call(name, load, Suite, *where)
    return suite


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
        raise SettingsError(f"Give at least one --suite, as {', '.join(SUITES.names())}.")
    suite = suites[0] if len(suites) == 1 else _joined(suites)
    return suite if all(isinstance(each, Suite) for each in given) else with_harmless(suite)


def with_harmless(suite: Suite) -> Suite:
    """The suite, with the bundled harmless prompts if it has prompts but no harmless ones.

    Of its own dimensions where there are such; otherwise all of them.
    """
    kinds = {each.kind for each in suite.prompt_sets}
    if "awareness" not in kinds or "over_refusal" in kinds:
        return suite
    own = {each.dimension for each in suite.prompt_sets}
    bundled = [s for s in SUITES.get("bundled")().prompt_sets if s.kind == "over_refusal"]
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
        named = pair if pair.id else replace(pair, id=content_hash(*pair_content(pair)))
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
        key = example.id or content_hash(example.prompt)
        item = PromptItem(key, example.prompt, cluster=example.cluster)
        # A data set with several responses to a prompt is still one prompt to reply to.
        prompts.setdefault(example.prompt, item)
    name = f"harmless_{dimension}" if harmless else dimension
    kind: PromptKind = "over_refusal" if harmless else "awareness"
    prompt_set = PromptSet(name, dimension, kind, tuple(prompts.values()), suite=name)
    pairs = _unique_pairs(e for e in loaded.examples if e.response and e.bad_response)
    return Suite(name, (prompt_set,), {dimension: pairs} if pairs and not harmless else {})
