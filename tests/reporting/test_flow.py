"""Where a gain comes from: the picture, the sentence and the headline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.patches import PathPatch

from declutch.comparing.comparison import MeasureTable
from declutch.reporting.conclusion import conclusion
from declutch.reporting.picture import draw_all
from declutch.reporting.pictures.flow import flows
from tests.reporting.fakes import awareness, over_refusal, perplexity, report_input

UP: dict[str, Any] = {"gained": 25, "lost": 3}


def table(moves: dict[tuple[str, str], int], judge: str = "heuristic") -> dict[str, MeasureTable]:
    """The table of flow on fairness; only its values matter here."""
    values = [
        {"set": "fairness", "dimension": "fairness", "judge": judge, "before": was, "after": now,
         "prompts": count}
        for (was, now), count in moves.items()
    ]  # fmt: skip
    return {"flow": MeasureTable("Flow", (), (), values)}


REFUSED = {
    ("unaware", "refusing"): 20, ("unaware", "lecturing"): 2, ("unaware", "answering"): 3,
    ("answering", "unaware"): 3, ("unaware", "unaware"): 42, ("answering", "answering"): 17,
    ("refusing", "refusing"): 10, ("unparsed", "refusing"): 3,
}  # fmt: skip


def test_where_it_comes_from_in_one_sentence() -> None:
    said = conclusion([awareness("fairness", **UP)], tables=table(REFUSED))
    assert said.details[-1] == (
        "Of 25 prompts that became aware, 20 did so by refusing, 2 by lecturing and 3 by an "
        "answer; 3 ceased to be aware. Aware answers went from 20 to 20 of 100."
    )
    assert not conclusion([awareness("privacy", **UP)], tables=table(REFUSED)).details[1:]


@pytest.mark.parametrize(
    ("moves", "kind"),
    [
        (REFUSED, "refusals"),
        ({("unaware", "lecturing"): 15, ("unaware", "answering"): 7}, "lectures"),
        ({("unaware", "lecturing"): 8, ("unaware", "refusing"): 8, ("unaware", "answering"): 6},
         "refusals and lectures"),
        # What was answered and is refused counts as well, though it was aware before.
        ({("unaware", "answering"): 22, ("answering", "refusing"): 20}, "refusals"),
        ({("unaware", "answering"): 12, ("unaware", "refusing"): 10}, ""),
    ],
)  # fmt: skip
def test_what_a_gain_is_called(moves: dict[tuple[str, str], int], kind: str) -> None:
    rows = [awareness("fairness", **UP), over_refusal(), perplexity()]
    said = conclusion(rows, tables=table(moves))
    assert said.outcome == "improved"
    but = f", but the gain on fairness is mostly {kind}." if kind else "."
    assert said.headline == f"Awareness of fairness (30/100 to 52/100) rose{but}"
    same = conclusion([awareness("fairness"), *rows[1:]], tables=table(moves))
    assert "mostly" not in same.headline  # where nothing rose there is no gain to be called so


def test_a_stream_for_each_way_and_its_count() -> None:
    figure = flows({"fairness": {("unaware", "refusing"): 20, ("refusing", "refusing"): 10}})
    (axes,) = figure.axes
    streams = [each for each in axes.patches if isinstance(each, PathPatch)]
    assert [bool(each.get_hatch()) for each in streams] == [False, True]
    written = [text.get_text() for text in axes.texts]
    assert {"before", "after", "not aware 20", "aware, refused 30", "10", "20"} <= {*written}
    heights = [each.get_path().get_extents().height for each in streams]
    assert heights[0] == pytest.approx(1 / 3)


def test_a_drawing_for_each_judge(tmp_path: Path) -> None:
    report = report_input(tmp_path, tables=table(REFUSED))
    drawings = draw_all(report)
    names = [drawing.name for drawing in drawings]
    assert names.index("flow-heuristic") == names.index("trade-off-fairness-privacy") + 1
    assert "20 not aware before and aware, refused after" in drawings[1].alt
