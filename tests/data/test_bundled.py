from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import pytest

from declutch.data.bundled import (
    HARMLESS,
    PAIRS,
    PASSAGES,
    bundled_passages,
    bundled_prompts,
    bundled_rows,
    load_bundled,
)
from declutch.data.duplicates import near_duplicates, overlap
from declutch.errors import DataError
from declutch.replies.flags import is_refusal

CALIBRATION = ("fairness", "privacy", "general", "harmless")
EVALUATION = ("eval_fairness", "eval_privacy", *HARMLESS, PASSAGES)
COUNTS = {
    "fairness": 128,
    "privacy": 128,
    "general": 128,
    "harmless": 128,
    "eval_fairness": 100,
    "eval_privacy": 100,
    "harmless_fairness": 50,
    "harmless_privacy": 50,
    "passages": 48,
}
PAIR_FIELDS = {"id", "prompt", "response", "bad_response", "subject", "form"}
FIELDS = {
    "fairness": PAIR_FIELDS,
    "privacy": PAIR_FIELDS,
    "general": {"id", "prompt", "response", "task"},
    "harmless": PAIR_FIELDS,
    "eval_fairness": PAIR_FIELDS,
    "eval_privacy": PAIR_FIELDS,
    "harmless_fairness": {"id", "prompt", "subject"},
    "harmless_privacy": {"id", "prompt", "subject"},
    "passages": {"id", "text", "genre"},
}
SIMILAR = 0.25


def field(name: str, *fields: str) -> list[str]:
    return [row[key] for row in bundled_rows(name) for key in fields if key in row]


def everything() -> list[str]:
    return [text for name in COUNTS for row in bundled_rows(name) for text in row.values()]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_and_fields(name: str) -> None:
    rows = bundled_rows(name)
    assert len(rows) == COUNTS[name]
    for row in rows:
        assert set(row) == FIELDS[name], row["id"]
        assert all(isinstance(cell, str) and cell.strip() for cell in row.values()), row["id"]
        assert row.get("response") != row.get("bad_response") or name in (*HARMLESS, PASSAGES)


def test_ids_are_unique_over_all_sets() -> None:
    ids = [row["id"] for name in COUNTS for row in bundled_rows(name)]
    assert len(set(ids)) == len(ids)


def test_sets_are_varied() -> None:
    for name in PAIRS:
        prompts = field(name, "prompt")
        lengths = [len(prompt.split()) for prompt in prompts]
        assert min(lengths) <= 8
        assert max(lengths) >= 40
        assert len({prompt.split()[0].lower() for prompt in prompts}) >= 40
        assert len(set(field(name, "form", "task"))) >= 10


def test_no_near_duplicates_in_or_across_sets() -> None:
    prompts = [text for name in COUNTS for text in field(name, "prompt", "text")]
    responses = [text for name in PAIRS for text in field(name, "response", "bad_response")]
    for texts in (prompts, responses):
        assert [(texts[m.first], texts[m.second]) for m in near_duplicates(texts, SIMILAR)] == []


def test_nothing_shared_between_calibration_and_evaluation() -> None:
    fields = ("prompt", "response", "bad_response", "text")
    first = [text for name in CALIBRATION for text in field(name, *fields)]
    second = [text for name in EVALUATION for text in field(name, *fields)]
    assert [(first[m.first], second[m.second]) for m in overlap(first, second, SIMILAR)] == []


def test_good_responses_do_not_refuse() -> None:
    """Scores are of answers that are aware, not of declining; a few quote somebody who declines."""
    rows = [row for name in ("fairness", "privacy", "harmless") for row in bundled_rows(name)]
    refusing = {row["id"] for row in rows if is_refusal(row["response"])}
    assert refusing == {"privacy-013", "privacy-025", "privacy-028", "privacy-117"}
    harmless = [row["bad_response"] for row in bundled_rows("harmless")]
    assert 40 <= sum(map(is_refusal, harmless)) <= 88  # the others lecture or hedge


def test_phone_numbers_are_reserved_ones() -> None:
    numbers = [
        number for text in everything() for number in re.findall(r"\b\d{3}[-. ]\d{4}\b", text)
    ]
    assert numbers
    assert [number for number in numbers if not re.fullmatch(r"555-01\d\d", number)] == []
    # Nothing else that is long enough to be dialled, dates and times aside.
    long = [run for text in everything() for run in re.findall(r"\+?\d(?:[ .-]?\d){8,}", text)]
    assert [run for run in long if "555-01" not in run] == []


def test_addresses_are_reserved_ones() -> None:
    reserved = re.compile(r"(?:[\w-]+\.)*example(?:\.(?:com|org|net))?")
    hosts = [
        host.rstrip(".")
        for text in everything()
        for host in re.findall(r"(?:[\w.+-]@|https?://|www\.)([\w.-]+)", text)
    ]
    assert hosts
    assert [host for host in hosts if not reserved.fullmatch(host)] == []


def test_data_card_gives_the_measured_counts_and_lengths() -> None:
    card = (Path(__file__).parents[2] / "docs" / "data-card.md").read_text("utf-8")
    for name in COUNTS:
        (line,) = re.findall(rf"^\| `{name}` \| \d.*$", card, re.MULTILINE)
        assert line.startswith(f"| `{name}` | {len(bundled_rows(name))} |")
        for key in ("prompt", "response", "bad_response", "text"):
            words = [len(text.split()) for text in field(name, key)]
            if words:
                assert f"{min(words)} / {median(words):g} / {max(words)}" in line


@pytest.mark.parametrize("name", PAIRS)
def test_load_bundled(name: str) -> None:
    examples = load_bundled(name)
    assert len(examples) == COUNTS[name]
    assert all((example.bad_response is None) == (name == "general") for example in examples)
    assert bundled_prompts(name) == examples


def test_prompts_and_passages() -> None:
    for name in HARMLESS:
        assert len(bundled_prompts(name)) == 50
        assert all(example.response == "" for example in bundled_prompts(name))
        with pytest.raises(DataError, match="bundled_prompts"):
            load_bundled(name)
    passages = bundled_passages()
    assert len(passages) == 48
    assert all(len(text.split()) > 100 for _, text in passages)
    with pytest.raises(DataError, match="passages"):
        load_bundled(PASSAGES)


def test_unknown_set_names_those_there() -> None:
    for read in (load_bundled, bundled_prompts):
        with pytest.raises(DataError, match="fairness, privacy, general"):
            read("nothing")
