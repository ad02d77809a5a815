"""Numbers as text, the same in the console, the page and the card.

A share is never shown without its count and its interval.
"""

from __future__ import annotations

from declutch.comparing.comparison import ComparisonRow
from declutch.comparing.enough import TOO_FEW
from declutch.comparing.results import Metric
from declutch.words import joined as joined

MINUS = "\u2212"  # as wide as a plus sign, unlike the hyphen


def number(value: float, decimals: int) -> str:
    """With a true minus sign, and never «−0.00»; very large ones as «1.235e+15»."""
    # Beyond ten million digits say less than their number, and fill the line.
    text = f"{value:.{decimals}f}" if abs(value) < 1e7 else f"{value:.4g}"
    if not text.strip("-0."):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def significant(value: float) -> str:
    """Three digits, and a power of ten where it is very small or large: «4.21e−5»."""
    return f"{value:.3g}".replace("e-0", "e-").replace("-", MINUS)


def signed(value: float, decimals: int) -> str:
    """With its sign, also when positive; 0 has none."""
    text = number(value, decimals)
    return text if text.startswith(MINUS) or not text.strip("0.") else f"+{text}"


def p_value(p: float | None) -> str:
    if p is None:
        return ""
    if p < 0.001:
        return "< 0.001"
    # Rounded to two places, 0.0499 would look like 0.05.
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def decimals_for(metric: Metric) -> int:
    """Places that keep about three digits of the interval's width."""
    if metric.kind == "perplexity":
        return 2
    if metric.low is None or metric.high is None:
        return 3
    width = metric.high - metric.low
    return 1 if width >= 10 else 2 if width >= 1 else 3 if width >= 0.1 else 4


def value(metric: Metric) -> str:
    """«18/100 = 18.0 %», or the number with its unit's usual places."""
    if metric.value is None:
        if "not a finite number" in metric.note:
            return "not finite"
        return f"none of {metric.total}" if metric.total else "nothing to count"
    if metric.kind == "proportion":
        count = round(metric.value * metric.total) if metric.count is None else metric.count
        return f"{count:,}/{metric.total:,} = {100 * metric.value:.1f} %"
    return number(metric.value, decimals_for(metric))


def short_value(metric: Metric) -> str:
    """«18/100», or the number."""
    return value(metric).split(" =")[0]


def interval(metric: Metric) -> str:
    """«11.7 to 26.7», in the unit of :func:`value`; empty where there is none."""
    if metric.too_few:
        return TOO_FEW
    if metric.low is None or metric.high is None:
        return ""
    if metric.kind == "proportion":
        return f"{100 * metric.low:.1f} to {100 * metric.high:.1f}"
    places = decimals_for(metric)
    return f"{number(metric.low, places)} to {number(metric.high, places)}"


def _difference_places(row: ComparisonRow) -> tuple[float, int]:
    """Factor and places: shares differ in points."""
    if row.metric.kind == "proportion":
        return 100.0, 1
    places = decimals_for(row.metric)
    spread = max(abs(row.low or 0), abs(row.high or 0), abs(row.difference or 0))
    while 0 < spread < 10 ** (1 - places) and places < 6:
        places += 1
    return 1.0, places


def difference(row: ComparisonRow) -> str:
    """«+4.0 points» for shares, «+0.012» for the rest."""
    if row.difference is None:
        return "not compared"
    factor, places = _difference_places(row)
    text = signed(factor * row.difference, places)
    return f"{text} points" if row.metric.kind == "proportion" else text


def difference_interval(row: ComparisonRow) -> str:
    """«−3.9 to +11.8»; empty where there is none."""
    if row.difference is None or row.low is None or row.high is None:
        return ""
    factor, places = _difference_places(row)
    return f"{signed(factor * row.low, places)} to {signed(factor * row.high, places)}"


def change(row: ComparisonRow) -> str:
    """«18/100 before, 22/100 after; change +4.0 points (95 % interval −3.7 to +12.1)»."""
    text = f"{short_value(row.before)} before, {short_value(row.after)} after"
    if row.difference is None:
        return f"{text}; not compared"
    text += f"; change {difference(row)}"
    if row.too_few:
        return f"{text}; {TOO_FEW}"
    inside = difference_interval(row)
    return f"{text} (95 % interval {inside})" if inside else text


def ratio(value: float | None) -> str:
    """A ratio as people write it: 5e-07 becomes 5e-7; «several» for a patch made of others."""
    return "several" if value is None else f"{value:g}".replace("e-0", "e-")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def items(number: int, independent: int, noun: str = "") -> str:
    """«100 prompts» («100» without a noun), or «500 items in 100 clusters»."""
    if independent == number:
        return plural(number, noun) if noun else f"{number:,}"
    counted = plural(number, "item") if noun else f"{number:,}"
    return f"{counted} in {plural(independent, 'cluster')}"
