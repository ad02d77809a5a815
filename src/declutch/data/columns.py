"""Which columns hold prompts and responses, and what their cells say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from declutch.data.filters import MISSING, is_reachable, quoted, reach
from declutch.data.sources import Source
from declutch.errors import DataError

_PAIRS: Final = (
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("prompt", "completion"),
    ("prompt", "chosen"),
)
_TURNS: Final = ("messages", "conversations")
_USERS: Final = ("user", "human")
_ASSISTANTS: Final = ("assistant", "gpt", "model", "bot")


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns in use: either ``turns``, or ``prompt`` and (if there are any) the others."""

    prompt: str | None = None
    response: str | None = None
    bad_response: str | None = None
    input: str | None = None
    turns: str | None = None
    id: str | None = None

    def describe(self) -> str:
        """What is taken from where, as a plain sentence without its full stop."""
        if self.turns:
            return f"prompts and responses from the turns in «{self.turns}»"
        parts = [f"prompts from «{self.prompt}»"]
        if self.input:
            parts[0] += f" and «{self.input}»"
        if self.response:
            parts.append(f"responses from «{self.response}»")
        if self.bad_response:
            parts.append(f"bad responses from «{self.bad_response}»")
        return ", ".join(parts)


class Cells(NamedTuple):
    """The texts of one row; an empty text where there is none."""

    prompt: str
    response: str
    bad_response: str | None = None
    id: str | None = None
    system_turn: bool = False
    later_turns: bool = False


def find_layout(
    columns: Sequence[str], source: Source, name: str, *, require_response: bool
) -> Layout:
    """The columns named by the user or, where not named, those with the usual names.

    Letter case does not matter for the usual names. ``name`` is what messages call the data.

    Raises:
        DataError: a named column is not there, or no usual names are.
    """
    usual = {column.lower(): column for column in reversed(columns)}
    usual |= {column: column for column in columns}
    for key, column in (
        ("prompt", source.prompt_column),
        ("response", source.response_column),
        ("bad_response", source.bad_response_column),
    ):
        if column is not None and not is_reachable(column, columns):
            raise DataError(
                f"{name} has no column «{column}», which {key}= asks for. Its columns are "
                f"{quoted(columns)}."
            )
    named = source.prompt_column is not None or source.response_column is not None
    turns = next((usual[word] for word in _TURNS if word in usual), None)
    prompt, response = _find_pair(usual, source)
    if prompt is None or (response is None and require_response):
        if turns and not named:
            return Layout(turns=turns, id=usual.get("id"))
        raise DataError(_not_found(columns, name, prompt, response, require_response))
    if response is None and turns and not named:
        return Layout(turns=turns, id=usual.get("id"))
    bad = source.bad_response_column or usual.get("bad_response")
    if bad is None and response is not None and response.lower() == "chosen":
        bad = usual.get("rejected")
    return Layout(
        prompt,
        response,
        bad,
        input=usual.get("input") if prompt.lower() == "instruction" else None,
        id=usual.get("id"),
    )


def _find_pair(usual: Mapping[str, str], source: Source) -> tuple[str | None, str | None]:
    """The prompt and response columns, each None where not found."""
    for prompt_name, response_name in _PAIRS:
        prompt = source.prompt_column or usual.get(prompt_name)
        response = source.response_column or usual.get(response_name)
        if prompt and response:
            return prompt, response
    prompts = (usual[name] for name, _ in _PAIRS if name in usual)
    responses = (usual[name] for _, name in _PAIRS if name in usual)
    return (
        source.prompt_column or next(prompts, None),
        source.response_column or next(responses, None),
    )


def _not_found(
    columns: Sequence[str],
    name: str,
    prompt: str | None,
    response: str | None,
    require_response: bool,
) -> str:
    missing = [
        word for word, column in (("prompts", prompt), ("responses", response)) if not column
    ]
    if not require_response:
        missing = ["prompts"]
    message = (
        f"{name} has no column with a usual name for its {' and '.join(missing)}. Its columns are "
        f"{quoted(columns)}. Name the right ones in the source, as in "
        f"«PATH?prompt=COLUMN&response=COLUMN»; found without naming are prompt and response, "
        "instruction (with input) and output, question and answer, prompt and completion, prompt "
        "and chosen (with rejected), messages, and conversations."
    )
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        message += " The fields seem to be parted by something else than the comma that is needed."
    return message


def read_cells(row: Mapping[str, Any], layout: Layout, place: str) -> Cells:
    """The texts of a row; ``place`` names the row in messages.

    Raises:
        DataError: a cell holds something that is not text.
    """
    row_id = _text(row, layout.id, place).strip() or None if layout.id else None
    if layout.turns:
        return _from_turns(row.get(layout.turns), f"{place}, column «{layout.turns}»", row_id)
    prompt = _text(row, layout.prompt, place)
    added = _text(row, layout.input, place)
    if added.strip() and prompt.strip():
        prompt = f"{prompt}\n\n{added}"
    bad = _text(row, layout.bad_response, place) if layout.bad_response else ""
    return Cells(prompt, _text(row, layout.response, place), bad if bad.strip() else None, row_id)


def _text(row: Mapping[str, Any], column: str | None, place: str) -> str:
    cell = MISSING if column is None else reach(row, column)
    return "" if cell is MISSING else _as_text(cell, f"{place}, column «{column}»")


def _as_text(cell: object, place: str) -> str:
    """Text as it is, a number or truth value as text, nothing as empty text."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, (list, tuple, Mapping)):
        what = "named values" if isinstance(cell, Mapping) else "a list"
        raise DataError(
            f"{place}: {what} where text is needed. Name a column that holds text; a name with a "
            "dot (answer.text) reaches into named values."
        )
    return str(cell)


def _from_turns(cell: object, place: str, row_id: str | None) -> Cells:
    """The first user turn and the first assistant turn after it."""
    if cell is None:
        return Cells("", "", id=row_id)
    if isinstance(cell, Mapping) and all(isinstance(part, list) for part in cell.values()):
        # Older data sets keep a list of turns as named lists.
        cell = [dict(zip(cell, turn, strict=True)) for turn in zip(*cell.values(), strict=True)]
    if not isinstance(cell, (list, tuple)):
        raise DataError(f"{place}: no list of turns. Each turn needs role and content.")
    prompt = response = None
    system = later = False
    for number, turn in enumerate(cell, start=1):
        role, text = _turn(turn, f"{place}, turn {number}")
        system = system or role == "system"
        if prompt is not None and response is not None:
            later = True
        elif prompt is None and role in _USERS:
            prompt = text
        elif prompt is not None and role in _ASSISTANTS:
            response = text
    return Cells(prompt or "", response or "", None, row_id, system, later)


def _turn(turn: object, place: str) -> tuple[str, str]:
    if isinstance(turn, Mapping):
        for role_key, text_key in (("role", "content"), ("from", "value")):
            if role_key in turn and text_key in turn:
                return str(turn[role_key]).lower(), _as_text(turn[text_key], place)
    raise DataError(f"{place}: a turn needs role and content (or from and value).")
