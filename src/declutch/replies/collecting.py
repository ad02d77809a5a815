"""Ask an engine for the replies that are not there yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from declutch.progress import track
from declutch.replies.engine import Reply, ReplyEngine
from declutch.replies.store import Key, ReplyStore
from declutch.suites.base import PromptItem, PromptSet, Suite


def collect_replies(engine: ReplyEngine, suite: Suite, store: ReplyStore) -> None:
    """Ask for every reply that the store does not hold yet; keep each as it comes.

    Args:
        suite: an item for each reply, as :meth:`Suite.asked` makes it.
    """
    missing = [
        (each, item)
        for each in suite.prompt_sets
        for item in each.items
        if (each.suite, each.name, item.id) not in store
    ]
    if not missing:
        return
    for index, reply in track(_replies(engine, missing), "Replying", total=len(missing)):
        prompt_set, item = missing[index]
        store.add(prompt_set.suite, prompt_set.name, item.id, item.prompt, reply, item.facts)


def _replies(
    engine: ReplyEngine, missing: Sequence[tuple[PromptSet, PromptItem]]
) -> Iterator[tuple[int, Reply]]:
    """Place and reply of each, one draw after another."""
    for draw in sorted({item.draw for _, item in missing}):
        places = [place for place, (_, item) in enumerate(missing) if item.draw == draw]
        prompts = [missing[place][1].prompt for place in places]
        # An engine that knows no draws is asked as ever.
        found = engine.replies(prompts, draw) if draw else engine.replies(prompts)
        yield from ((places[index], reply) for index, reply in found)


def suite_keys(suite: Suite) -> dict[Key, str]:
    """The keys of all its prompts, in order, each with its cluster."""
    return {(s.suite, s.name, item.id): item.cluster for s in suite.prompt_sets for item in s.items}
