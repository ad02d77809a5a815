"""What became of the rows of a source, in numbers and in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final


def counted(number: int, noun: str) -> str:
    """A number and its noun: «1 row», «2,000 rows»."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


OF_TURNS: Final = {
    "system_turns": "had a system turn, which was left out: the prompt is the first user turn "
    "alone",
    "joined_turns": "had several user turns before the response; the prompt is all of them, with "
    "a blank line between",
    "other_turns": "had other turns before the response (of a tool, of another role, or of the "
    "model before the user's first), which were left out",
    "later_turns": "went on after the first exchange; the later turns were left out",
}


@dataclass(frozen=True, slots=True)
class Unfit:
    """Rows dropped because they can't be one prompt with its response."""

    reason: str
    """Which rows, as «whose response …»."""
    count: int
    rows: tuple[int, ...]
    """The first few of them."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the rows of a source. Row numbers count from 1, a header left out."""

    source: str
    columns: str
    """Which columns were used for what."""
    rows: int
    filtered: int
    """Rows dropped because a condition did not hold."""
    empty_prompts: int
    empty_prompt_rows: tuple[int, ...]
    """The first few of them."""
    empty_responses: int
    empty_response_rows: tuple[int, ...]
    unfit: tuple[Unfit, ...]
    duplicates: int
    by_prompt: bool
    """Whether a repeated prompt alone made a duplicate (where responses are not needed)."""
    # Conversations of which this holds, as :data:`OF_TURNS` says it.
    system_turns: int
    joined_turns: int
    other_turns: int
    later_turns: int
    available: int
    """Examples left after all losses."""
    requested: int | None
    used: int
    prompts: int
    """Different prompts among the examples used."""
    seed: int
    note: str = ""

    @property
    def empty(self) -> int:
        """Rows dropped for an empty prompt or response."""
        return self.empty_prompts + self.empty_responses

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    def losses(self) -> list[str]:
        """What was dropped and how much of it, one phrase a reason."""
        parts = []
        if self.filtered:
            parts.append(f"{counted(self.filtered, 'row')} dropped by the conditions")
        if self.duplicates:
            what = "repeated prompt" if self.by_prompt else "exact duplicate"
            parts.append(f"{counted(self.duplicates, what)} dropped")
        empty = (
            ("with an empty prompt", self.empty_prompts, self.empty_prompt_rows),
            ("with an empty response", self.empty_responses, self.empty_response_rows),
        )
        unfit = ((each.reason, each.count, each.rows) for each in self.unfit)
        for which, count, rows in (*empty, *unfit):
            if count:
                shown = ", ".join(map(str, rows)) + (", …" if count > len(rows) else "")
                parts.append(
                    f"{counted(count, 'row')} {which} dropped "
                    f"({'row' if count == 1 else 'rows'} {shown})"
                )
        return parts

    def lines(self, lost: Sequence[str] = ()) -> list[str]:
        """Plain sentences: the counts first, then anything that is worth knowing.

        Args:
            lost: ids of examples that were left out later, when they were encoded.
        """
        verb = "taken" if lost else "used"
        if self.requested is None:
            taken = f"all {self.used:,} {verb}" if self.used > 1 else f"the one example {verb}"
        elif self.used < self.requested:
            taken = f"all {self.used:,} {verb}, although {self.requested:,} were asked for"
        else:
            taken = f"{self.used:,} of {self.available:,} sampled with seed {self.seed}"
        lines = ["; ".join([counted(self.rows, "row"), *self.losses(), taken]) + "."]
        if lost:
            shown = ", ".join(lost[:5]) + (", …" if len(lost) > 5 else "")
            lines.append(
                f"{len(lost):,} of these {self.used:,} can't be encoded and were left out "
                f"({shown}): {self.used - len(lost):,} used."
            )
        lines.append(f"{self.columns[0].upper()}{self.columns[1:]}.")
        if self.prompts < self.used:
            lines.append(
                f"The {self.used:,} examples have {counted(self.prompts, 'different prompt')}."
            )
        for name, what in OF_TURNS.items():
            if number := getattr(self, name):
                lines.append(f"{counted(number, 'conversation')} {what}.")
        if self.note:
            lines.append(f"{self.note[0].upper()}{self.note[1:]}.")
        return lines
