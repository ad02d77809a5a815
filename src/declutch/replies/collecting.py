"""Ask an engine for the replies that are not there yet."""

from __future__ import annotations

from declutch.progress import track
from declutch.replies.engine import ReplyEngine
from declutch.replies.store import Key, ReplyStore
from declutch.suites.base import Suite


def collect_replies(engine: ReplyEngine, suite: Suite, store: ReplyStore) -> None:
    """Ask for every reply that the store does not hold yet; keep each as it comes."""
    missing = [
        (each, item)
        for each in suite.prompt_sets
        for item in each.items
        if (each.suite, each.name, item.id) not in store
    ]
    if not missing:
        return
    replies = engine.replies([item.prompt for _, item in missing])
    for index, reply in track(replies, "Replying", total=len(missing)):
        prompt_set, item = missing[index]
        store.add(prompt_set.suite, prompt_set.name, item.id, item.prompt, reply, item.facts)


def suite_keys(suite: Suite) -> list[Key]:
    """The keys of all its prompts, in order."""
    return [(s.suite, s.name, item.id) for s in suite.prompt_sets for item in s.items]
