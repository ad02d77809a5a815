"""Which columns hold prompts and responses, and what their cells say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from declutch.data.cells import as_list, quoted, shown, text_of
from declutch.data.filters import MISSING, is_reachable, reach
from declutch.data.sources import Source
from declutch.data.turns import (
    Exchange,
    Turn,
    first_exchange,
    list_of_turns,
    paired_exchange,
    turns_of,
)
from declutch.errors import DataError

_PAIRS: Final = (
    ("prompt", "response"),
    ("instruction", "output"),
    ("question", "answer"),
    ("prompt", "completion"),
    ("prompt", "chosen"),
)
_TURNS: Final = ("messages", "conversations")
_CLUSTERS: Final = ("cluster", "template")
_BEGINS_WITH_PROMPT: Final = "chosen"
"""A column of replies as turns, which may bring the prompts itself."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns in use: either ``turns``, or ``prompt`` and (if there are any) the others.

    There is no ``prompt`` where the responses are turns that begin with it.
    """

    prompt: str | None = None
    response: str | None = None
    bad_response: str | None = None
    input: str | None = None
    turns: str | None = None
    id: str | None = None
    cluster: str | None = None

    def describe(self) -> str:
        """What is taken from where, as a plain sentence without its full stop."""
        clusters = f", clusters from «{self.cluster}»" if self.cluster else ""
        if self.turns:
            return f"prompts and responses from the turns in «{self.turns}»{clusters}"
        parts = [f"prompts from «{self.prompt or self.response}»"]
        if self.input:
            parts[0] += f" and «{self.input}»"
        if self.response:
            parts.append(f"responses from «{self.response}»")
        if self.bad_response:
            parts.append(f"bad responses from «{self.bad_response}»")
        return ", ".join(parts) + clusters


class Cells(NamedTuple):
    """The texts of one row; an empty text where there is none."""

    prompt: str
    response: str
    bad_response: str | None = None
    id: str | None = None
    cluster: str = ""
    exchange: Exchange | None = None
    """What was left out around them, where they were turns."""


def find_layout(
    columns: Sequence[str], source: Source, name: str, *, require_response: bool
) -> Layout:
    """The columns named by the user or, where not named, those with the usual names.

    Letter case does not matter for the usual names. ``name`` is what messages call the data.

    Raises:
        DataError: a named column is not there, or no usual names are.
    """
    usual = {column.strip().lower(): column for column in reversed(columns)}
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
    cluster = next((usual[word] for word in _CLUSTERS if word in usual), None)
    names = {"id": usual.get("id"), "cluster": cluster}
    named = source.prompt_column is not None or source.response_column is not None
    turns = next((usual[word] for word in _TURNS if word in usual), None)
    prompt, response = _find_pair(usual, source)
    if prompt is None or (response is None and require_response):
        if turns and not named:
            return Layout(turns=turns, **names)
        if response is not None and response.strip().lower() == _BEGINS_WITH_PROMPT:
            bad = source.bad_response_column or usual.get("rejected")
            return Layout(None, response, bad, **names)
        raise DataError(_not_found(columns, name, prompt, response, require_response))
    if response is None and turns and not named:
        return Layout(turns=turns, **names)
    bad = source.bad_response_column or usual.get("bad_response")
    if bad is None and response is not None and response.strip().lower() == "chosen":
        bad = usual.get("rejected")
    return Layout(
        prompt,
        response,
        bad,
        input=usual.get("input") if prompt.strip().lower() == "instruction" else None,
        **names,
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
    return (
        f"{name} has no column with a usual name for its {' and '.join(missing)}. Its columns are "
        f"{quoted(columns)}. Name the right ones in the source, as in "
        f"«PATH?prompt=COLUMN&response=COLUMN»; found without naming are prompt and response, "
        "instruction (with input) and output, question and answer, prompt and completion, prompt "
        "and chosen (with rejected), messages, and conversations."
    )


def read_cells(row: Mapping[str, Any], layout: Layout, place: str) -> Cells:
    """The texts of a row; ``place`` names the row in messages.

    Raises:
        DataError: a cell holds something that is neither text nor turns.
        UnfitRow: its turns can't be one prompt with its response.
    """
    row_id = _text(row, layout.id, place).strip() or None
    cluster = shown(_cell(row, layout.cluster))
    return _texts(row, layout, place)._replace(id=row_id, cluster=cluster)


def _texts(row: Mapping[str, Any], layout: Layout, place: str) -> Cells:
    """Those of the prompt and its responses."""
    if layout.turns:
        turns = list_of_turns(row.get(layout.turns), f"{place}, column «{layout.turns}»")
        exchange = first_exchange(turns)
        return Cells(exchange.prompt, exchange.response, exchange=exchange)
    columns = (layout.prompt, layout.response, layout.bad_response)
    if layout.prompt is None or any(map(_may_be_turns, (_cell(row, name) for name in columns))):
        return _from_turns(row, layout, place)
    prompt = _with_input(_text(row, layout.prompt, place), row, layout, place)
    bad = _text(row, layout.bad_response, place)
    return Cells(prompt, _text(row, layout.response, place), bad if bad.strip() else None)


def _with_input(prompt: str, row: Mapping[str, Any], layout: Layout, place: str) -> str:
    added = _text(row, layout.input, place)
    return f"{prompt}\n\n{added}" if added.strip() and prompt.strip() else prompt


def _cell(row: Mapping[str, Any], column: str | None) -> Any:
    cell = None if column is None else reach(row, column)
    return None if cell is MISSING else cell


def _text(row: Mapping[str, Any], column: str | None, place: str) -> str:
    return text_of(_cell(row, column), f"{place}, column «{column}»")


def _may_be_turns(cell: object) -> bool:
    return isinstance(cell, Mapping) or as_list(cell) is not None


def _from_turns(row: Mapping[str, Any], layout: Layout, place: str) -> Cells:
    """A row of which at least one cell holds turns, or parts of a turn."""

    def turns(column: str | None, role: str) -> list[Turn]:
        cell, where = _cell(row, column), f"{place}, column «{column}»"
        if (found := turns_of(cell, where)) is not None:
            return found
        parts = as_list(cell)
        if parts is None or not all(isinstance(part, Mapping) and "type" in part for part in parts):
            cell = text_of(cell, where)
            if layout.prompt is None and cell.strip():
                raise DataError(
                    f"{where}: text, while there is no column of prompts. Name one with "
                    "prompt=COLUMN, or begin the turns in this column with the prompt."
                )
        return [Turn(role, cell, where)] if cell else []

    exchange, bad = paired_exchange(
        turns(layout.prompt, "user"),
        turns(layout.response, "assistant"),
        turns(layout.bad_response, "assistant"),
    )
    prompt = _with_input(exchange.prompt, row, layout, place)
    return Cells(prompt, exchange.response, bad if bad.strip() else None, exchange=exchange)
