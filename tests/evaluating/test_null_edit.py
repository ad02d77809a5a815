"""A patch that changes nothing changes no number of any measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

import declutch
from declutch.data.example import Example
from declutch.evaluating.compare import compare
from declutch.evaluating.evaluate import evaluate
from declutch.measures.base import all_measures
from declutch.settings import EvaluateSettings
from declutch.suites.base import Passage, PromptItem, PromptSet, Suite
from tests.tiny_evaluation import LINES, FakeJudge

OPTIONS = {"A": "red", "B": "blue", "C": "nobody knows", "right": "A", "unknown": "C"}


@pytest.fixture
def suite(suite: Suite) -> Suite:
    """Enough of everything that any measure looks at."""
    questions = tuple(
        PromptItem(f"q{n}", f"{n} red or blue?", {**OPTIONS, "biased": "B", "type": "colour"})
        for n in range(8)
    )
    sets = [
        replace(
            each,
            items=tuple(
                PromptItem(
                    f"{n}", f"{LINES[n % 4][: 9 + n]} {n}?", {"type": "odd"} if n % 2 else {}
                )
                for n in range(16)
            ),
        )
        for each in suite.prompt_sets
    ]
    pairs = {
        dimension: tuple(
            Example(f"{LINES[n % 4]} {n}", f"I won't, {n}.", f"{n}", f"Sure, {n}!")
            for n in range(8)
        )
        for dimension in ("fairness", "privacy")
    }
    passages = tuple(Passage(f"p{n}", f"{LINES[n % 4]} {n} {LINES[n % 3]}") for n in range(8))
    sets.append(PromptSet("ambiguous", "fairness", "choice", questions, "bbq"))
    return Suite("whole", tuple(sets), pairs, passages)


def test_no_measure_sees_a_difference(
    llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, suite: Suite, tmp_path: Path
) -> None:
    rows = [{"prompt": LINES[n], "response": LINES[n + 1]} for n in range(3)]
    scores = declutch.score(llama, tokenizer, {"a": rows, "b": rows}, num_samples=3, shortlist=0.1)
    null = declutch.locate(scores, ["a", "b"], ratio=0.01, scale=1.0)
    assert len(null) > 100
    (tmp_path / "text").write_text(" ".join(LINES * 300), encoding="utf-8")
    options: dict[str, Any] = {
        "judges": [*EvaluateSettings().judge, FakeJudge()], "max_new_tokens": 6, "lengths": (3,),
        "capability": [f"wikitext={tmp_path / 'text'}"], "dependence": "order",
        "temperature": 1.0, "num_replies": 2, "batch_size": 16,
    }  # fmt: skip
    evaluate(llama, tokenizer, suite, out=tmp_path / "before", **options)
    evaluate(llama, tokenizer, suite, out=tmp_path / "after", patch=null, **options)
    found = compare(tmp_path / "before", tmp_path / "after")
    assert set(found.before.measures) == {one.facts.name for one in all_measures()}
    told = {row.measure.name for row in found.rows if row.difference is not None}
    assert told | {"bias"} == set(found.before.measures)  # a random model names no option
    for row in found.rows:
        assert (row.before.value, row.before.low) == (row.after.value, row.after.low), row.name
        assert not row.difference, row.name
        assert not row.gained, row.name
        assert not row.lost, row.name
        assert row.p in (None, 1.0), row.name
        assert row.reading not in ("better", "worse", "higher", "lower"), row.name
    assert all(first.reply == second.reply for first, second in found.replies)
