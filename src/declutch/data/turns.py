"""Conversations: from lists of turns to one prompt and the response to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from declutch.data.cells import as_list, text_of
from declutch.errors import DataError

_USERS: Final = ("user", "human", "prompter")
_ASSISTANTS: Final = ("assistant", "gpt", "chatgpt", "model", "bot")
_SYSTEMS: Final = ("system", "developer")
_KEYS: Final = (("role", "content"), ("from", "value"))
_TEXT_PARTS: Final = (None, "text", "input_text", "output_text")


class UnfitRow(Exception):
    """A row that can't be one prompt with its response; the message says which rows are so."""


class Turn(NamedTuple):
    """A turn as the file has it; ``place`` names it in messages."""

    role: str
    content: Any
    place: str

    def text(self) -> str:
        """The turn's text, of parts too.

        Raises:
            UnfitRow: a part is no text.
            DataError: the content is something else.
        """
        parts = as_list(self.content)
        if parts is None:
            return text_of(self.content, self.place)
        return "".join(self._part(part) for part in parts)

    def _part(self, part: object) -> str:
        if isinstance(part, Mapping):
            kind = part.get("type")
            if kind not in _TEXT_PARTS or "text" not in part:
                raise UnfitRow("with parts of a turn that are no text (pictures, calls)")
            part = part["text"]
        return text_of(part, self.place)


class Exchange(NamedTuple):
    """A prompt and its response; what stood around them and was left out."""

    prompt: str
    response: str = ""
    system: bool = False
    joined: bool = False
    """The prompt is several user turns in a row."""
    other: bool = False
    """Turns of other roles, or of an assistant before the user or without text, before it."""
    later: bool = False


def turns_of(cell: object, place: str) -> list[Turn] | None:
    """The turns of a cell that holds a list of them, or one; None if it holds something else.

    Raises:
        DataError: some of the list are turns and some are not.
    """
    if isinstance(cell, Mapping):
        columns = [as_list(part) for part in cell.values()]
        if not cell or any(part is None for part in columns):
            return [_turn(cell, place)] if _role(cell) else None
        # Older data sets keep a list of turns as named lists.
        if len({len(part) for part in columns if part is not None}) > 1:
            raise DataError(f"{place}: the named lists of turns are not of the same length.")
        cell = [dict(zip(cell, turn, strict=True)) for turn in zip(*columns, strict=True)]
    turns = as_list(cell)
    if turns is None or not (all(map(_is_turn, turns)) if turns else True):
        if turns and any(isinstance(turn, Mapping) and _role(turn) for turn in turns):
            wrong = next(n for n, turn in enumerate(turns, start=1) if not _is_turn(turn))
            raise _no_turn(f"{place}, turn {wrong}")
        return None
    return [_turn(turn, f"{place}, turn {number}") for number, turn in enumerate(turns, start=1)]


def list_of_turns(cell: object, place: str) -> list[Turn]:
    """The turns of a cell that must hold turns; none where it is empty.

    Raises:
        DataError: it holds something else.
    """
    if cell is None:
        return []
    turns = turns_of(cell, place)
    if turns is not None:
        return turns
    if as_list(cell):
        raise _no_turn(f"{place}, turn 1")
    remedy = " A CSV file can't hold lists: use JSONL or Parquet." if isinstance(cell, str) else ""
    raise DataError(f"{place}: no list of turns. Each turn needs role and content.{remedy}")


def first_exchange(turns: Sequence[Turn]) -> Exchange:
    """The first user turns and the first assistant turn with text after them.

    Raises:
        UnfitRow, DataError: see :meth:`Turn.text`.
    """
    prompts: list[str] = []
    response, other = "", False
    left = iter(turns)
    for turn in left:
        if turn.role in _USERS:
            prompts.append(turn.text())
        elif turn.role in _ASSISTANTS and prompts and (text := turn.text()).strip():
            response = text
            break
        else:
            other = other or turn.role not in _SYSTEMS
    return Exchange(
        "\n\n".join(text for text in prompts if text.strip()),
        response,
        system=any(turn.role in _SYSTEMS for turn in turns),
        joined=len(prompts) > 1,
        other=other and bool(response),
        later=next(left, None) is not None,
    )


def paired_exchange(prompt: list[Turn], reply: list[Turn], bad: list[Turn]) -> tuple[Exchange, str]:
    """The exchange of turns in columns of their own, and the bad response to the same prompt.

    A reply may repeat the prompt's turns, or bring them where there is no column of prompts.

    Raises:
        UnfitRow: the reply answers a later turn, or the bad response another prompt.
        DataError: see :meth:`Turn.text`.
    """
    if first_exchange(prompt).response:
        raise UnfitRow("whose response comes after an earlier exchange")
    good = first_exchange(_whole(prompt, reply))
    if prompt and good.prompt.strip() != first_exchange(prompt).prompt.strip():
        raise UnfitRow("whose response begins with another prompt")
    if not bad:
        return good, ""
    other = first_exchange(_whole(prompt, bad))
    if other.prompt != good.prompt:
        raise UnfitRow("whose bad response is to another prompt")
    if other.response == good.response and good.later and _contents(reply) != _contents(bad):
        raise UnfitRow("whose response comes after an earlier exchange")
    return good, other.response


def _whole(prompt: list[Turn], reply: list[Turn]) -> list[Turn]:
    """The conversation with a reply, which may begin with the prompt itself."""
    for turn in reply:
        if turn.role in _USERS:
            return reply
        if turn.role in _ASSISTANTS:
            break
    return [*prompt, *reply]


def _contents(turns: Iterable[Turn]) -> list[tuple[str, Any]]:
    return [(turn.role, turn.content) for turn in turns]


def _is_turn(value: object) -> bool:
    return isinstance(value, Mapping) and _role(value) is not None


def _role(turn: Mapping[Any, Any]) -> tuple[str, str] | None:
    """Which keys name the turn's role and its content."""
    return next(
        (keys for keys in _KEYS if isinstance(turn.get(keys[0]), str) and keys[1] in turn), None
    )


def _turn(turn: Mapping[Any, Any], place: str) -> Turn:
    keys = _role(turn)
    if keys is None:
        raise _no_turn(place)
    return Turn(turn[keys[0]].strip().lower(), turn[keys[1]], place)


def _no_turn(place: str) -> DataError:
    return DataError(f"{place}: a turn needs role and content (or from and value).")
