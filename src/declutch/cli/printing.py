"""What commands print on stdout: tables for people, or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from declutch.reporting import console, formats
from declutch.reporting.conclusion import conclusion
from declutch.reporting.stability import stability_table
from declutch.reporting.tables import NamedNumbers
from declutch.reporting.units import units_table
from declutch.reporting.values import PatchSummary
from declutch.terminal import Terminal, json_visible, visible

if TYPE_CHECKING:
    from declutch.comparing.comparison import Comparison, ComparisonRow
    from declutch.comparing.results import CheckRecord, Results
    from declutch.patching import Patch
    from declutch.reporting.report import ReportPaths
    from declutch.reproducing import Reproduction
    from declutch.scoring.shortlists import ScoresInfo
    from declutch.training.record import TrainingRecord
    from declutch.tuning.tune import Tuned

_SHOWN = 5  # differences of a file that are printed


def print_json(value: Any) -> None:
    """Print one JSON value."""
    print(json_visible(json.dumps(value, indent=2, ensure_ascii=False)))


def print_run(paths: ReportPaths, out: Path, *, as_json: bool) -> None:
    """The table before and after, what it means, and where everything is."""
    files = _files(out)
    found = paths.input.stability
    if as_json:
        print_json(
            {
                "verdict": {"outcome": paths.conclusion.outcome, "text": paths.conclusion.text},
                "comparison": paths.input.comparison.as_json(),
                **({"stability": found.model_dump(mode="json")} if found else {}),
                "files": {name: str(path) for name, path in files.items()},
            }
        )
        return
    screen = Terminal()
    screen.print(console.comparison_table(paths.input.rows))
    if table := stability_table(paths.input):
        screen.print(NamedNumbers.of(table))
    screen.print(console.conclusion_text(paths.conclusion))
    _print_checks(screen, paths.input.comparison.checks)
    _print_files(screen, files)


def _files(out: Path) -> dict[str, Path]:
    """What a run left, by what it is."""
    places = {
        "report": out / "report.html",
        "figures": out / "figures",
        "patch (the small thing)": out / "patch",
        "patched model": out / "model",
        "model card": out / "model" / "README.md",
        "scores": out / "scores",
        "search": out / "tune.json",
        "results before, after": out / "before",
        "": out / "after",
        "of the controls": out / "proof",
    }
    return {name: path for name, path in places.items() if path.exists()}


def _print_files(screen: Terminal, files: Mapping[str, Path]) -> None:
    screen.print()
    for name, path in files.items():
        screen.print(f"{name:<25}{path}", soft_wrap=True)


def print_tuned(found: Tuned, out: Path, *, as_json: bool) -> None:
    """The verdict on the winner of a search, and how it was found."""
    from declutch.reporting.tuned import tuned

    record = found.record
    if as_json:
        print_json({"sentence": record.sentence, **record.model_dump(mode="json")})
        return
    screen = Terminal()
    for part in tuned(found):
        screen.print(part)
    _print_files(screen, _files(out))


def print_evaluation(
    results: Results,
    comparison: Comparison | None,
    out: Path,
    again: Comparison | None = None,
    *,
    as_json: bool,
) -> None:
    """The metrics of one evaluation, against a baseline where there is one, and its guards.

    Args:
        again: with the same model's second evaluation.
    """
    if as_json:
        beside = {"comparison": comparison, "again": again}
        shown = {name: one.as_json() for name, one in beside.items() if one is not None}
        print_json({**results.model_dump(mode="json"), **shown})
        return
    screen = Terminal()
    if comparison is None:
        screen.print(console.results_table(results))
        _print_notes(screen, results.settings.get("notes") or ())
        _print_checks(screen, results.guards)
    else:
        print_comparison(comparison, as_json=False)
    if again is not None:
        differ = sum(first.reply != second.reply for first, second in again.replies)
        screen.print(console.comparison_table(again.rows))
        screen.print(f"Noise alone: {differ:,} of {len(again.replies):,} replies read differently.")
        _print_notes(screen, again.notes)
    screen.print(f"Results: {out}", soft_wrap=True)


def print_comparison(comparison: Comparison, *, as_json: bool) -> None:
    """The table before and after, the tests, what it means, and what a reader must know."""
    if as_json:
        print_json(comparison.as_json())
        return
    screen = Terminal()
    screen.print(console.comparison_table(comparison.rows))
    # What a change is about; explanations would only make the table longer.
    tested = [row for row in comparison.rows if row.test and row.measure.role != "explanation"]
    if tested:
        screen.print(_tests(tested))
    for found in comparison.tables.values():
        screen.print(NamedNumbers.of(found))
    screen.print(console.conclusion_text(conclusion(comparison.rows, tables=comparison.tables)))
    _print_notes(screen, comparison.notes)
    _print_checks(screen, comparison.checks)


def _tests(rows: Sequence[ComparisonRow]) -> NamedNumbers:
    """The paired tests: how many items changed, p before and after Holm, effect, prompts."""
    table = NamedNumbers(
        "Paired tests", "Pairs", "Gained", "Lost", "p", "p Holm", "Effect", "Prompts\nneeded",
        caption="p Holm: adjusted for the number of these tests. Effect: Cohen's h of shares, "
        "d_z of means. Prompts needed: to see a difference of this size (power 0.8), if as many "
        "verdicts change.",
    )  # fmt: skip
    for row in rows:
        gained, lost, needed = (
            "" if count is None else f"{count:,}"
            for count in (row.gained, row.lost, row.prompts_needed)
        )
        p, p_holm = (formats.p_value(each).replace("< ", "<") for each in (row.p, row.p_holm))
        effect = "" if row.effect is None else formats.signed(row.effect, 2)
        name = f"{row.measure.title} {row.metric.label}".replace(" · ", " ")
        pairs = (f"{row.n_pairs:,}", f"{row.clusters:,} clusters" if row.clusters else "")
        table.row(name, pairs, gained, lost, p, p_holm, effect, needed)
    return table


def _print_notes(screen: Terminal, notes: Sequence[str]) -> None:
    for note in notes:
        screen.print(f"Note: {note}")


def _print_checks(screen: Terminal, checks: Sequence[CheckRecord]) -> None:
    """A row for each guard and metric: whether it held, and why."""
    if not checks:
        return
    table = console.table(f"Guard ({checks[0].mode})", "", "Reason", words=3)
    for guard in checks:
        outcome = Text("held", "green") if guard.held else Text("failed", "bold red")
        what = Text(guard.guard).append(f"\n  {guard.metric}".replace("/", " "), "dim")
        table.add_row(what, outcome, Text(guard.reason))
    screen.print(table)


def print_scores(info: ScoresInfo, out: Path, *, as_json: bool) -> None:
    """What was scored, on how much, in what time."""
    if as_json:
        print_json(info.model_dump(mode="json"))
        return
    table = console.table("Dimension", "Examples", "Tokens", "of them counted", "Seconds")
    for name, one in info.dimensions.items():
        counts = [f"{count:,}" for count in (one.examples, one.tokens, one.counted_tokens)]
        table.add_row(name, *counts, f"{one.seconds:.1f}")
    screen = Terminal()
    screen.print(table)
    neurons = sum(matrix.numel for matrix in info.matrices.values())
    screen.print(
        f"{neurons:,} neurons in {len(info.matrices)} matrices of {info.model.id}; shortlists in "
        f"{out}"
    )


def print_patch(patch: Patch, out: Path, *, as_json: bool) -> None:
    """What was chosen, and how to use it."""
    if as_json:
        print_json({**patch.info.model_dump(mode="json"), "counts": patch.counts})
        return
    screen = Terminal()
    summary = PatchSummary.of(patch)
    screen.print(console.locate_table(summary))
    if units := units_table(summary):
        screen.print(NamedNumbers.of(units))
    for line in patch.info.words:
        screen.print(f"{line}.")
    _print_notes(screen, [f"{note}." for note in patch.info.notes])
    size = sum(file.stat().st_size for file in Path(out).iterdir())
    screen.print(f"Patch ({size / 1024:.0f} KiB): {out}")
    screen.print(f"Next: declutch apply {patch.info.model.id} {out} -o MODEL", soft_wrap=True)


def print_reproduction(found: Reproduction, *, as_json: bool) -> None:
    """What came out otherwise, and why that may be."""
    if as_json:
        print_json({"same": found.same, **found.model_dump(mode="json")})
        return
    others = [one for one in found.artefacts if one.same is False]
    lines = [f"went in otherwise: {text}" for text in found.inputs]
    for one in others:
        lines.append(f"{one.name}: " + ("; ".join(one.differences[:_SHOWN]) or "other bytes"))
        if more := len(one.differences) - _SHOWN:
            lines += [f"  and {more} more (reproduction.json)"] if more > 0 else []
    compared = sum(one.same is not None for one in found.artefacts)
    lines.append(
        f"The same: all {compared} files of the run, bit for bit or but for dates and seconds."
        if found.same
        else f"Not the same: {len(others)} of {compared} files of the run differ."
    )
    if found.circumstances:
        lines.append(f"{'Although' if found.same else 'Why that may be'}: ")
        lines[-1] += "; ".join(found.circumstances) + "."
    elif not found.same and not found.inputs:
        lines.append(
            "Versions, device and threads are the same, or not recorded. Parallel sums on a GPU "
            "and other replies in a batch can differ in the last digit; else a file was changed."
        )
    print(visible("\n".join(lines)))


def print_checkpoint(folder: Path, checked: int, state: str, *, as_json: bool) -> None:
    """Where a checkpoint is, and that it holds what it should."""
    if as_json:
        print_json({"model": str(folder), "state": state, "weights_checked_on_disk": checked})
        return
    text = f"{folder}: the {state} model; all {checked:,} weights of the patch read back right."
    print(visible(text))


def print_trained(record: TrainingRecord, out: Path, *, as_json: bool) -> None:
    """How the loss fell, what was trained and held, and where it is."""
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    share = record.trainable / record.parameters
    lines = [
        f"{record.method}: {record.trainable:,} of {record.parameters:,} numbers trained "
        f"({share:.2%}) in {len(record.steps)} steps; loss {record.steps[0].loss:.3f} → "
        f"{record.steps[-1].loss:.3f}"
    ]
    if record.protected:
        at = "zero" if record.protected.value == "zero" else "their values"
        lines.append(f"{record.protected.weights:,} protected weights are at {at}, bit for bit")
    adapter = any(name.startswith("adapter/") for name in record.files or ())
    judged = f"MODEL --adapter {out}" if adapter else f"{out / 'model'}"
    lines.append(f"Judge it with: declutch evaluate {judged} -o RESULTS")
    for line in lines:
        print(visible(line))
