"""What commands print on stdout: tables for people, or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from declutch.terminal import Terminal, json_visible, visible

if TYPE_CHECKING:
    from declutch.patching import Patch
    from declutch.reporting.report import ReportPaths
    from declutch.scoring.shortlists import ScoresInfo


def print_json(value: Any) -> None:
    """Print one JSON value."""
    print(json_visible(json.dumps(value, indent=2, ensure_ascii=False)))


def print_run(paths: ReportPaths, out: Path, *, as_json: bool) -> None:
    """The table before and after, what it means, and where everything is."""
    from declutch.cli._evidence import print_checks
    from declutch.reporting.console import comparison_table, conclusion_text

    if as_json:
        print_json(
            {
                "verdict": {"outcome": paths.conclusion.outcome, "text": paths.conclusion.text},
                "comparison": paths.input.comparison.as_json(),
                "files": {name: str(path) for name, path in _files(paths, out)},
            }
        )
        return
    console = Terminal()
    console.print(comparison_table(paths.input.rows))
    console.print(conclusion_text(paths.conclusion))
    print_checks(console, paths.input.comparison.checks)
    console.print()
    for name, path in _files(paths, out):
        console.print(f"{name:<25}{path}", soft_wrap=True)


def _files(paths: ReportPaths, out: Path) -> list[tuple[str, Path]]:
    entries = [
        ("report", paths.html),
        ("figures", out / "figures"),
        ("patch (the small thing)", out / "patch"),
        ("patched model", out / "model"),
        ("model card", paths.card),
        ("scores", out / "scores"),
        ("results before, after", out / "before"),
        ("", out / "after"),
    ]
    return [(name, path) for name, path in entries if path is not None and path.exists()]


def print_scores(info: ScoresInfo, out: Path, *, as_json: bool) -> None:
    """What was scored, on how much, in what time."""
    if as_json:
        print_json(info.model_dump(mode="json"))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Dimension", "Examples", "Tokens", "of them counted", "Seconds"):
        table.add_column(title, justify="left" if title == "Dimension" else "right")
    for name, one in info.dimensions.items():
        table.add_row(
            name, str(one.examples), f"{one.tokens:,}", f"{one.counted_tokens:,}",
            f"{one.seconds:.1f}",
        )  # fmt: skip
    console = Terminal()
    console.print(table)
    neurons = sum(matrix.numel for matrix in info.matrices.values())
    console.print(
        f"{neurons:,} neurons in {len(info.matrices)} matrices of {info.model.id}; shortlists in "
        f"{out}",
    )


def print_patch(patch: Patch, out: Path, *, as_json: bool) -> None:
    """What was chosen, and how to use it."""
    if as_json:
        print_json({**patch.info.model_dump(mode="json"), "counts": patch.counts})
        return
    from declutch.reporting.console import locate_table
    from declutch.reporting.values import PatchSummary

    console = Terminal()
    console.print(locate_table(PatchSummary.of(patch)))
    for line in patch.info.words:
        console.print(f"{line}.")
    for note in patch.info.notes:
        console.print(f"Note: {note}.")
    size = sum(file.stat().st_size for file in Path(out).iterdir())
    console.print(f"Patch ({size / 1024:.0f} KiB): {out}")
    console.print(
        f"Next: declutch apply {patch.info.model.id} {out} -o MODEL",
        soft_wrap=True,
    )


def print_checkpoint(folder: Path, checked: int, state: str, *, as_json: bool) -> None:
    """Where a checkpoint is, and that it holds what it should."""
    if as_json:
        print_json({"model": str(folder), "state": state, "weights_checked_on_disk": checked})
        return
    print(
        visible(
            f"{folder}: the {state} model; all {checked:,} weights of the patch read back right."
        )
    )
