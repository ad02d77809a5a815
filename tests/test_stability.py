"""A run on several samples of its data: what they share, and how far the outcome moves."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

import declutch
from declutch import pipeline
from declutch.cli import build_app
from declutch.errors import SettingsError
from declutch.evaluating.compare import compare
from declutch.files import read_json
from declutch.patching import Patch
from declutch.stability import Stability
from tests.test_pipeline import model, options, rows  # noqa: F401

DATA: dict[str, Any] = {"couple": {"fairness": rows(0), "privacy": rows(4)}}


def chosen(folder: Path) -> set[tuple[str, int]]:
    found = Patch.load(folder / "patch").indices
    return {(name, at) for name, indices in found.items() for at in indices.tolist()}


def test_samples_are_set_side_by_side(
    model: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes = options(num_samples=4, limit=6, calibration_seeds=3, suite=("bundled",))
    del changes["rule"]

    def locate(*args: Any, seed: int, **settings: Any) -> Patch:
        found = declutch.locate(*args, seed=seed, **settings)
        return found - found if seed == 2 else found

    monkeypatch.setattr(pipeline, "locate", locate)
    out = tmp_path / "out"
    paths = declutch.run(model, **DATA, out=out, **changes)
    found = Stability.load(out)
    assert found is not None
    own, other = chosen(out), chosen(out / "seeds" / "1")
    assert own
    assert other
    assert own != other
    assert found.weights == {0: len(own), 1: len(other), 2: 0}
    assert (found.in_all, found.in_any) == (0, len(own | other))
    first = found.overlaps[0]
    assert (first.first, first.second, first.shared) == (0, 1, len(own & other))
    assert first.jaccard == pytest.approx(len(own & other) / len(own | other))

    folders = {0: out / "after", 1: out / "seeds" / "1" / "after", 2: out / "seeds" / "2" / "after"}
    (margin,) = [each for each in found.metrics if each.metric == "margin/fairness"]
    expected = {
        seed: compare(out / "before", folder).row("margin/fairness").difference
        for seed, folder in folders.items()
    }
    assert margin.changes == pytest.approx(expected)
    assert expected[2] == 0  # no weight, no change
    assert margin.sd == pytest.approx(statistics.stdev(margin.changes.values()))
    assert (margin.lowest, margin.highest) == (
        min(margin.changes.values()),
        max(margin.changes.values()),
    )
    assert (margin.low, margin.high) == (
        paths.input.comparison.row("margin/fairness").low,
        paths.input.comparison.row("margin/fairness").high,
    )
    page = paths.html.read_text(encoding="utf-8")
    assert "Other samples of the data" in page
    assert "3 samples (seeds 0, 1, 2) choose 0 to" in page
    # Of the evaluation nothing but the patch differs.
    settings = [read_json(folder / "results.json")["settings"] for folder in folders.values()]
    assert settings[0] == settings[1] == settings[2]

    kept = {path: path.stat().st_mtime_ns for path in (out / "seeds").rglob("results.json")}
    (out / "seeds" / "2" / "after" / "results.json").unlink()
    again = declutch.run(model, **DATA, out=out, **changes)
    assert again.input.stability == found
    del kept[out / "seeds" / "2" / "after" / "results.json"]
    assert kept
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    alone = declutch.run(model, **DATA, out=out, **{**changes, "calibration_seeds": 1})
    assert alone.input.stability is None
    assert "Other samples of the data" not in alone.html.read_text(encoding="utf-8")


def test_data_without_other_samples_are_refused(
    model: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    changes = options(num_samples=6, calibration_seeds=2)
    with pytest.raises(SettingsError, match="--calibration-seeds 2 needs data from which"):
        declutch.run(model, **DATA, out=tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_search_is_not_repeated(
    model: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match="a search makes many"):
        declutch.tune(model, **DATA, out=tmp_path / "out", calibration_seeds=2)


def test_run_takes_the_number_of_samples() -> None:
    asked = [
        "run",
        "M",
        "--couple",
        "a=a.csv",
        "--couple",
        "b=b.csv",
        "-o",
        "OUT",
        "--calibration-seeds",
        "5",
    ]
    _, bound, _ = build_app().parse_args(asked, exit_on_error=False, print_error=False)
    assert bound.arguments["stability"].calibration_seeds == 5
