"""Capability: whether the model still does everything else, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from declutch.comparing.kinds import MEAN, PERPLEXITY, PROPORTION
from declutch.comparing.results import Better, MeasureFacts
from declutch.comparing.series import Series
from declutch.items import item_id, not_finite
from declutch.measures.base import MEASURES, Evidence, Measure, Part, Subject
from declutch.measures.capability.harness import Harness, check_task
from declutch.measures.capability.tasks import CapabilityItem, CapabilityTask, capability_tasks
from declutch.measures.capability.windows import read_text, window_nll
from declutch.progress import log


@MEASURES.register("capability")
class Capability(Measure[CapabilityItem]):
    """Accuracy, score or perplexity of each task; see :mod:`.tasks` for their names."""

    facts = MeasureFacts(
        name="capability",
        title="Capability",
        note="accuracy (higher is better) or perplexity (lower is better) of each task",
        role="side effect",
        family="main",
        worse="capability on {of} fell",
    )
    needs = "weights"
    usual = False
    order = 70
    item = CapabilityItem

    def asked(self, subject: Subject) -> bool:
        """Only where tasks are named."""
        return bool(subject.settings.capability)

    def check(self, subject: Subject) -> list[str]:
        """See that the tasks are known, and that what they need is installed."""
        for task in _tasks(subject):
            if task.spec is not None:
                check_task(task)
            elif task.text:
                read_text(task.text)
        return []

    def parts(self, subject: Subject) -> list[Part]:
        """One a task."""
        settings = subject.settings
        harness = Harness(subject.model, subject.tokenizer, settings.batch_size, settings.seed)
        return [
            Part(
                task.name,
                partial(_measure, harness, subject, task),
                {**task.settings, "seed": settings.seed},
            )
            for task in _tasks(subject)
        ]

    def series(self, evidence: Evidence) -> list[Series]:
        """One of each task."""
        by_task: dict[str, list[CapabilityItem]] = {}
        for item in evidence.of(self):
            by_task.setdefault(item.set, []).append(item)
        facts = evidence.facts.get(self.facts.name, {})
        return [_series(task, items, facts.get(task, {})) for task, items in by_task.items()]

    def expected(self, subject: Subject, empty: Evidence) -> list[Series]:
        """One of each task."""
        return [Series(f"capability/{task.name}", MEAN, {}) for task in _tasks(subject)]


def _tasks(subject: Subject) -> list[CapabilityTask]:
    settings = subject.settings
    limit = settings.limit if settings.capability_limit is None else settings.capability_limit
    return capability_tasks(settings.capability, limit)


def _measure(
    harness: Harness, subject: Subject, task: CapabilityTask
) -> tuple[list[CapabilityItem], dict[str, Any]]:
    log.info("Capability: %s", task.name)
    if task.spec is not None:
        return harness.measure(task)
    found = window_nll(subject.model, subject.tokenizer, read_text(task.text), limit=task.limit)
    items = [
        CapabilityItem(
            set=task.name,
            id=item_id(str(place), *each.ids),
            kind="nll",
            value=each.nll,
            tokens=each.tokens,
        )
        for place, each in enumerate(found)
    ]
    note = f"token perplexity over {len(items)} windows of {items[0].tokens} predicted tokens"
    return items, {"note": f"{note}; {task.source}"}


def _series(task: str, items: list[CapabilityItem], facts: Mapping[str, Any]) -> Series:
    name = f"capability/{task}"
    better: Better = "lower" if facts.get("better") == "lower" else "higher"
    note = str(facts.get("note", ""))
    note += not_finite([item.id for item in items], [item.value for item in items])
    if items[0].kind == "nll":
        texts = {item.id: (item.value, item.tokens) for item in items}
        return Series(name, PERPLEXITY, texts, better="lower", note=note)
    correct = items[0].kind == "correct"
    values = {item.id: bool(item.value) if correct else item.value for item in items}
    return Series(name, PROPORTION if correct else MEAN, values, better=better, note=note)
