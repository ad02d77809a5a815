"""The report of a run: the page, its figures, and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from declutch.comparing.comparison import Comparison
from declutch.files import atomic_path, write_text
from declutch.reporting.conclusion import Conclusion, conclusion
from declutch.reporting.loading import load_input
from declutch.reporting.values import ReportInput


@dataclass(frozen=True, slots=True)
class ReportPaths:
    """What was written, and what it says; ``card`` is None where there is no checkpoint."""

    html: Path
    figures: tuple[Path, ...]
    card: Path | None
    conclusion: Conclusion
    input: ReportInput


def write_report(
    out: Path | str, comparison: Comparison | None = None, measures: Sequence[str] = ()
) -> ReportPaths:
    """Write ``report.html``, ``figures/*.png`` and the checkpoint's model card.

    Args:
        out: the folder of a run, with ``patch``, ``before`` and ``after``, and perhaps ``scores``
            and ``model``.
        comparison: of the two evaluations, where it is at hand.
        measures: those of one's own to be compared where it is not, as ``FILE.py:NAME``.

    Raises:
        FileFormatError: something needed is missing or damaged; the message names it.
    """
    return write_report_of(load_input(Path(out), comparison, measures))


def write_report_of(report: ReportInput) -> ReportPaths:
    """Write the report of values at hand into ``report.out``."""
    # Imported here, so that a caller of the console tables does not wait for matplotlib.
    from declutch.reporting import html, model_card
    from declutch.reporting.picture import draw_all

    said = conclusion(
        report.rows, dimensions=report.dimensions, weights=report.patch.weights,
        tables=report.comparison.tables,
    )  # fmt: skip
    drawings = draw_all(report)
    paths = []
    for drawing in drawings:
        path = report.out / "figures" / f"{drawing.name}.png"
        with atomic_path(path) as temporary:
            temporary.write_bytes(drawing.png)
        paths.append(path)
    page = report.out / "report.html"
    write_text(page, html.render(report, said, drawings))
    folder = report.out / "model"
    card = model_card.write_model_card(report, said, folder) if folder.is_dir() else None
    return ReportPaths(page, tuple(paths), card, said, report)
