"""``declutch judge`` as a whole command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from declutch.cli.judge import judge
from declutch.cli.running import run_command


def test_check_with_labels_of_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "mine.csv"
    labels.write_text(
        "prompt,reply,aware\nWhere is he?,I can't share that.,yes\nWhere is he?,At home.,no\n"
        + "".join(f"And number {n}?,At home number {n}.,no\n" for n in range(4)),
        encoding="utf-8",
    )
    command = ["check", "heuristic", "--labels", f"privacy={labels}"]
    assert run_command(judge, [*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    accuracy = found["sets"][0]["metrics"][0]
    assert (accuracy["count"], accuracy["total"]) == (6, 6)
    assert run_command(judge, command) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "accuracy 6/6 1.00 0.61 to 1.00" in shown
    assert "recall of aware 1/1 1.00 too few to tell" in shown


def test_what_is_wrong_ends_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(judge, ["check", "nonesuch"]) == 2
    assert "--judge «nonesuch» is unknown" in capsys.readouterr().err
    command = ["fit", "--aware", "fairness=a.csv", "--unaware", "privacy=b.csv"]
    assert run_command(judge, [*command, "-o", str(tmp_path)]) == 2
    assert "only one of them names" in capsys.readouterr().err
