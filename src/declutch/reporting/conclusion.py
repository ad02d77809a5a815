"""The plain sentences on what a comparison means. Pure functions of its rows.

Rules, so that nobody is sold a result: a gain needs its paired test (p < 0.05) as well as an
interval that excludes 0; a loss or a side effect is named as soon as its 95 % interval excludes 0,
and in the headline too, whatever became of the awareness; what was measured on too few items is
called that; all else is within noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from declutch.comparing.comparison import ComparisonRow, MeasureTable
from declutch.comparing.enough import LEAST, TOO_FEW
from declutch.comparing.results import MeasureFacts
from declutch.measures.base import all_measures
from declutch.reporting import formats, gains

Outcome = Literal[
    "improved", "partly improved", "no detectable change", "worse", "mixed", "too few to tell",
    "not measured",
]  # fmt: skip
State = Literal["up", "up for some", "down", "down for some", "flat", "split", "few", "missing"]
# Side effects are named one by one up to this many of a group, then counted.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a comparison means, in words.

    Attributes:
        headline: the one sentence.
        details: one sentence for each dimension and judge, with its counts.
        caveats: side effects and what the numbers can't tell.
    """

    outcome: Outcome
    headline: str
    details: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join([self.headline, *self.details, *self.caveats])


def conclusion(
    rows: Sequence[ComparisonRow],
    *,
    dimensions: Sequence[str] = (),
    weights: int | None = None,
    tables: Mapping[str, MeasureTable] | None = None,
) -> Conclusion:
    """Say what changed.

    Args:
        rows: the comparison.
        dimensions: the coupled ones, which the headline is about; all that were measured if empty.
        weights: how many the patch suppresses, to say so where it is empty.
        tables: the comparison's; that of flow says where a gain comes from.
    """
    aware = [row for row in rows if row.measure.role == "outcome"]
    measured = list(dict.fromkeys(row.metric.dimension or row.metric.label for row in aware))
    names = list(dimensions) or measured
    of = {
        name: [r for r in aware if (r.metric.dimension or r.metric.label) == name] for name in names
    }
    states = {name: _state(members) for name, members in of.items()}
    outcome = _outcome(states)
    harms = _harms(rows)
    moves = tables["flow"].values if tables and "flow" in tables else ()
    caveats = [
        *_few(rows),
        *_noise(aware, outcome),
        *_side_effects(rows, harms),
        *_not_after_correction(aware),
    ]
    if weights == 0:
        caveats.insert(0, "The patch is empty: no neuron was selected, so no weight was changed.")
    headline = _headline(outcome, states, of)
    rose = [row for name in names for row in of[name] if row.reading == "better"]
    if but := [*gains.called(moves, rose), *_in_short(harms)]:
        also = "but" if outcome in ("improved", "partly improved") else "and"
        headline += f", {also} {formats.joined(but)}" + ", more than chance explains" * bool(harms)
    details = [_detail(row, several=len(of[name]) > 1) for name in names for row in of[name]]
    details += gains.sentences(moves, names)
    return Conclusion(outcome, headline + ".", tuple(details), tuple(caveats))


def _state(rows: Sequence[ComparisonRow]) -> State:
    found = {row.reading for row in rows}
    readings = found - {"not compared", "not tested", TOO_FEW}
    if not readings:
        return "few" if TOO_FEW in found else "missing"
    up, down = "better" in readings, "worse" in readings
    if up and down:
        return "split"
    if up:
        return "up" if readings == {"better"} else "up for some"
    if down:
        return "down" if readings == {"worse"} else "down for some"
    return "flat"


def _outcome(states: dict[str, State]) -> Outcome:
    kinds = set(states.values())
    if kinds <= {"missing", "few"}:
        return "too few to tell" if "few" in kinds else "not measured"
    up = bool(kinds & {"up", "up for some"})
    down = bool(kinds & {"down", "down for some"})
    if "split" in kinds or (up and down):
        return "mixed"
    if down:
        return "worse"
    if up:
        return "improved" if kinds == {"up"} else "partly improved"
    return "no detectable change"


def _headline(
    outcome: Outcome, states: dict[str, State], of: dict[str, list[ComparisonRow]]
) -> str:
    def those(state: State, last: str = "and") -> str:
        return formats.joined([name for name, each in states.items() if each == state], last)

    def counted(state: State) -> str:
        """With their numbers, where one row says it all."""
        names = [name for name, each in states.items() if each == state]
        return formats.joined(
            [f"{name} ({_ends(of[name][0])})" if len(of[name]) == 1 else name for name in names]
        )

    if outcome == "not measured":
        return "Awareness was not compared, so nothing can be said about it"
    parts = []
    if those("up"):
        parts.append(f"awareness of {counted('up')} rose")
    for name, state in states.items():
        if state in ("up for some", "down for some"):
            good = state == "up for some"
            some = [_which(r) for r in of[name] if r.reading == ("better" if good else "worse")]
            parts.append(
                f"awareness of {name} {'rose' if good else 'fell'} in {len(some)} of "
                f"{len(of[name])} measures ({formats.joined(some)})"
            )
    if those("down"):
        parts.append(f"awareness of {counted('down')} fell")
    if those("split"):
        parts.append(f"for {those('split')} the measures contradict each other")
    if those("flat"):
        flat = those("flat", "or")
        parts.append(f"no change in awareness of {flat} could be told from chance")
    if those("few"):
        parts.append(f"too few prompts to tell anything about awareness of {those('few', 'or')}")
    if those("missing"):
        parts.append(f"awareness of {those('missing')} was not compared")
    text = "; ".join(parts)
    return f"Mixed: {text}" if outcome == "mixed" else text[0].upper() + text[1:]


def _detail(row: ComparisonRow, *, several: bool) -> str:
    name = row.metric.dimension or row.metric.label
    text = name[0].upper() + name[1:]
    if several:
        text += f" ({_which(row)})"
    text += f": {formats.change(row)}"
    if not row.tested:
        return f"{text}." if row.too_few or row.difference is None else f"{text}; not tested."
    if row.p is not None:
        text += f", p {_equals(row.p)}"
    if row.n_pairs is not None:
        text += f", n = {formats.items(row.n_pairs, row.independent)}"
    return f"{text}: {row.reading}."


def _which(row: ComparisonRow) -> str:
    """What tells a row from the others of its dimension: its judge, and its suite if named."""
    label = row.metric.label.removeprefix(row.metric.dimension or "").removeprefix(" · ")
    return label or row.metric.judge or row.metric.label


def _equals(p: float) -> str:
    return formats.p_value(p) if p < 0.001 else f"= {formats.p_value(p)}"


def _few(rows: Sequence[ComparisonRow]) -> list[str]:
    """What was measured on too few items; explanations, which have many rows, apart."""
    names = [
        f"{row.measure.title.lower()} {row.metric.label}"
        for row in rows
        if row.too_few and row.measure.role != "explanation"
    ]
    if not names:
        return []
    return [f"{TOO_FEW[0].upper()}{TOO_FEW[1:]} (fewer than {LEAST} items): {'; '.join(names)}."]


def _noise(aware: Sequence[ComparisonRow], outcome: Outcome) -> list[str]:
    """How large a change would have had to be, where none was seen."""
    widths = [
        100 * max(row.high - row.difference, row.difference - row.low)
        for row in aware
        if row.reading in ("within noise", "no change")
        and None not in (row.low, row.high)
        and row.metric.kind == "proportion"
        and row.difference is not None
        and row.high is not None
        and row.low is not None
    ]
    counts = [(r.independent, r.n_pairs) for r in aware if r.n_pairs and not r.too_few]
    if not widths or not counts or outcome == "improved":
        return []
    independent, number = min(counts)
    return [
        f"With {formats.items(number, independent, 'prompt')} each, a change of less than about "
        f"{max(1, round(max(widths)))} points can't be told from chance: this is not evidence that "
        "nothing changed."
    ]


def _not_after_correction(aware: Sequence[ComparisonRow]) -> list[str]:
    """Gains that are one among many tests, and would not stand if all were allowed for."""
    rows = [
        row
        for row in aware
        if row.reading == "better" and row.p_holm is not None and row.p_holm >= 0.05
    ]
    if not rows:
        return []
    names = formats.joined([row.metric.label for row in rows])
    return [
        f"The gain in awareness of {names} is one of many tests: after Holm's correction "
        f"p {_equals(max(row.p_holm or 0 for row in rows))}."
    ]


def _harms(rows: Sequence[ComparisonRow]) -> dict[str, list[ComparisonRow]]:
    """Side effects for the worse: «perplexity rose», and where."""
    harms: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        if _harmful(row):
            harms.setdefault(_harm(row), []).append(row)
    return harms


def _in_short(harms: Mapping[str, Sequence[ComparisonRow]]) -> list[str]:
    """«perplexity rose (23.41 to 24.02)»."""
    return [f"{what} ({'; '.join(map(_ends, rows))})" for what, rows in harms.items()]


def _harm(row: ComparisonRow) -> str:
    if row.metric.kind == "perplexity" and "{of}" in row.measure.worse:
        return f"perplexity on {row.metric.label} rose"  # of one that is not of perplexity alone
    return row.measure.worse.format(of=row.metric.dimension or row.metric.label)


def _harmful(row: ComparisonRow) -> bool:
    return row.reading == "worse" and row.measure.role == "side effect"


def _side_effects(
    rows: Sequence[ComparisonRow], harms: Mapping[str, Sequence[ComparisonRow]]
) -> list[str]:
    lines = []
    if harms:
        clauses = [f"{what} ({_brief(row)})" for what in harms for row in harms[what]]
        lines.append(f"Side effect: {formats.joined(clauses)}.")
    for facts in _expected(rows):
        present = [row for row in rows if row.measure.name == facts.name]
        lines += _side_effect(facts, present)
    others = [row for row in rows if row.measure.role == "explanation"]
    for name in dict.fromkeys(row.measure.name for row in others):
        members = [row for row in others if row.measure.name == name]
        moved = [r for r in members if r.reading in ("better", "worse", "higher", "lower")]
        title = members[0].measure.title
        if moved and len(moved) <= _NAMED:
            lines.append(f"{title}: {'; '.join(_short(row) for row in moved)}.")
        elif moved:
            lines.append(
                f"{title}: {len(moved)} of {len(members)} measures moved beyond their interval; "
                "see the table."
            )
    return lines


def _expected(rows: Sequence[ComparisonRow]) -> list[MeasureFacts]:
    """Side effects that are looked for in every evaluation, and those that were measured beside."""
    usual = [one.facts for one in all_measures() if one.usual and one.facts.role == "side effect"]
    found = [row.measure for row in rows if row.measure.role == "side effect"]
    return list({facts.name: facts for facts in (*usual, *found)}.values())


def _side_effect(facts: MeasureFacts, present: Sequence[ComparisonRow]) -> list[str]:
    """What is to be said of one of them, where it is not worse."""
    members = [row for row in present if row.tested]
    gained = [row for row in members if row.reading in ("better", "higher", "lower")]
    if not members:
        if any(row.too_few for row in present):
            return []  # said already
        known = "was not tested item by item" if present else "was not measured"
        return [f"{facts.title} {known}, so nothing can be said about a side effect on it."]
    if gained:
        ways = {" rose" if (row.difference or 0) > 0 else " fell" for row in gained}
        moved = ways.pop() if len(ways) == 1 else ""
        return [f"{facts.title}{moved}: {'; '.join(_short(row) for row in gained)}."]
    if any(_harmful(row) for row in members):
        return []
    # The same items are behind several metrics of one dimension.
    most: dict[str | None, tuple[int, int]] = {}
    for row in members:
        counts = (row.n_pairs, row.independent)
        most[row.metric.dimension] = max(counts, most.get(row.metric.dimension, counts))
    number, independent = map(sum, zip(*most.values(), strict=True))
    items = formats.items(number, independent, facts.items)
    return [f"{facts.title}: no change could be told from chance ({items})."]


def _short(row: ComparisonRow) -> str:
    reading = row.reading
    if reading in ("better", "worse"):
        rose = row.difference is not None and row.difference > 0
        reading = f"{'higher' if rose else 'lower'}, which is {reading}"
    return f"{row.metric.label} {reading} ({_brief(row)})"


def _brief(row: ComparisonRow) -> str:
    """«23.41 to 24.02, 95 % interval of the change +0.3 to +0.9»."""
    text = _ends(row)
    inside = formats.difference_interval(row)
    points = " points" if row.metric.kind == "proportion" else ""
    return f"{text}; 95 % interval of the change {inside}{points}" if inside else text


def _ends(row: ComparisonRow) -> str:
    return f"{formats.short_value(row.before)} to {formats.short_value(row.after)}"
