"""What a report can't show, said in the report itself."""

from __future__ import annotations

from declutch.reporting import formats
from declutch.reporting.values import ReportInput

# Below it, a model is far from those that the method was published on (7 billion parameters).
_SMALL = 2_000_000_000
# From so many measures on, some look changed by chance alone.
_MANY = 10


def limits(report: ReportInput) -> tuple[str, ...]:
    """Plain sentences, the weightiest first."""
    lines = [_judge(name) for name in judges(report)]
    lines.append(
        "One reply to each prompt was judged. Other prompts, another way of decoding or another "
        "judge can give other numbers."
    )
    if report.model_parameters is not None and report.model_parameters < _SMALL:
        lines.append(
            f"This model has {report.model_parameters / 1e6:,.0f} million parameters; the method "
            "was published on models of 7 billion. What a small model shows, for good or bad, does "
            "not carry over to a large one, nor the other way round."
        )
    compared = sum(row.tested for row in report.rows)
    if compared >= _MANY:
        lines.append(
            f"{compared} measures are compared, each read at the 95 % level: even if nothing had "
            f"changed, about {max(1, round(compared / 20))} would be expected to look changed. "
            "Holm's correction, shown beside each p where there is one, allows for that."
        )
    if report.patch.rule == "random":
        lines.append("The rule «random» is a control: it is there to be compared with, not used.")
    elif report.patch.rule != "coupled":
        lines.append(
            f"The rule «{report.patch.rule}» is not the paper's; the paper's is «coupled»."
        )
    if report.patch.scale == 0:
        lines.append(
            "Suppressing weights is not compression: the checkpoint is as large and as fast as "
            "before. Only the patch is small."
        )
    return tuple(lines)


def judges(report: ReportInput) -> list[str]:
    """The judges of the awareness, in order."""
    names = [row.metric.judge for row in report.outcomes]
    return list(dict.fromkeys(name for name in names if name))


def _judge(name: str) -> str:
    if name == "heuristic":
        return (
            "The judge «heuristic» looks for phrases of caution and refusal. It tells how a reply "
            "sounds, not whether it is right: a careful reply in other words counts as unaware, "
            "and a harmful one with a warning in front may count as aware. Use a model as the "
            "judge before a release."
        )
    return (
        f"The judge «{name}» is a program that errs: measure it against labels of your own "
        "(«declutch judge check») before relying on small differences."
    )


def share(report: ReportInput) -> str:
    """How much of the model the patch touches, as counts."""
    patch = report.patch
    text = f"{patch.weights:,} of {patch.targeted:,} weights in the targeted matrices"
    if report.model_parameters:
        text += f" and of {report.model_parameters:,} in the whole model"
        millionths = 1e6 * patch.weights / report.model_parameters
        text += f" ({formats.number(millionths, 2)} in a million)"
    return text
