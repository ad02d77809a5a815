"""Judges against people's labels: PyRIT's files and the user's, and the figures."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from declutch.errors import DataError, SettingsError
from declutch.judges import JudgeItem, Verdict
from declutch.judges.check import check_judge
from declutch.judges.labels import PYRIT, Label, LabelledSet, pyrit_labels, read_labels
from declutch.replies.verdicts import About

INSIDE = "pyrit/datasets/scorer_evals"
HARM = (
    "# dataset_version=1.0, harm_definition=x.yaml,,\n"
    "harm_category,objective,assistant_response,{score},data_type\n"
    'x,"ask, one","a\nb",0,text\nx,two,r,0.25,text\nx,three,r,0.5,text\nx,four,r,0.75,text\n'
    "x,five,r,1,text\nx,six, ,0,text\n"
)
BINARY = (
    "# dataset_version=1.1\n# A remark.\n"
    "objective,assistant_response,human_score,data_type\none,r,0,text\ntwo,s,1,text\n"
)


def write_pyrit(folder: Path, **changes: str) -> Path:
    for name in PYRIT:
        path = folder / INSIDE / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        score = "human_score" if "representational" in name else "human_score_1"
        text = HARM.format(score=score) if name.startswith("harm") else BINARY
        path.write_text(changes.get(name.replace("/", "_"), text), encoding="utf-8")
    return folder


def test_pyrit_from_a_folder_and_from_a_wheel(tmp_path: Path) -> None:
    folder = write_pyrit(tmp_path / "site")
    wheel = tmp_path / "pyrit.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in sorted(folder.rglob("*.csv")):
            archive.write(path, path.relative_to(folder).as_posix())
    sets = pyrit_labels(folder)
    assert pyrit_labels(wheel) == sets
    found = {each.name: each for each in sets}
    harm = found["pyrit harm/privacy"]
    assert harm.labels == ("aware", "aware", "unaware", "unaware")
    assert harm.left_out == 2
    assert harm.items[0] == JudgeItem("privacy", "ask, one", "a\nb")
    assert found["pyrit harm/representational"].items[0].dimension == "fairness"
    assert found["pyrit objective/bias"].labels == ("aware", "unaware")
    refusal = found["pyrit refusal_scorer/refusal"]
    assert (refusal.about, refusal.labels) == ("manner", ("answers", "refuses"))


def test_pyrit_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="does not hold"):
        pyrit_labels(tmp_path)
    (tmp_path / "x.whl").write_bytes(b"no zip")
    with pytest.raises(SettingsError, match="does not hold"):
        pyrit_labels(tmp_path / "x.whl")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip download --no-deps pyrit==1\.1\.0"):
        pyrit_labels()


def test_pyrit_of_another_form(tmp_path: Path) -> None:
    folder = write_pyrit(tmp_path, objective_bias="question,answer\na,b\n")
    with pytest.raises(DataError, match=r"objective/bias\.csv of PyRIT, row 1"):
        pyrit_labels(folder)


def test_labels_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,reply,aware\np,r,yes\np,s,No\np,,1\n", encoding="utf-8")
    found = read_labels("honesty", str(path))
    assert (found.name, found.labels) == ("mine.csv", ("aware", "unaware"))
    assert found.items[1] == JudgeItem("honesty", "p", "s")
    assert (found.left_out, found.about) == (1, "awareness")
    path.write_text("prompt,reply,manner\np,r,Refuses\np,s,partly\n", encoding="utf-8")
    assert read_labels("x", str(path)).labels == ("refuses", "partly")
    path.write_text("prompt,reply,aware\np,r,perhaps\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 1: aware is «perhaps»"):
        read_labels("honesty", str(path))
    path.write_text("prompt,reply\np,r\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column aware"):
        read_labels("honesty", str(path))


XSTEST = (
    "id,type,prompt,response,label\nv2-1,homonyms,p,answers,compliance\n"
    "v2-2,homonyms,q,hedges,3_partial_refusal\nv2-3,homonyms,r,lectures,refusal\n"
    "v2-4,homonyms,s,refuses,2_full_refusal\nv2-5,homonyms,t,refuses,partial\n"
)


def test_labelled_refusals_as_xstest_has_them(tmp_path: Path) -> None:
    path = tmp_path / "xstest.csv"
    path.write_text(XSTEST, encoding="utf-8")
    found = read_labels("xstest", str(path))
    assert found.about == "manner"
    assert found.labels == ("answers", "partly", "refuses", "refuses", "partly")
    (checked,) = check_judge(Spelt("manner"), [found])
    counts = {m.name.partition("/")[2]: (m.count, m.total) for m in checked.metrics}
    assert counts == {
        "accuracy": (3, 5),  # who hedges answers, who lectures refuses
        "precision_refuses": (2, 3),
        "recall_refuses": (2, 2),
        "precision_partly": (0, 0),
        "recall_partly": (0, 2),
        "false_alarms": (0, 1),
        "unparsed": (0, 5),
    }
    # Of a judge of awareness a refusal is to be aware, and what is in part is left out.
    asked = found.as_awareness()
    assert asked.labels == ("unaware", "aware", "aware")
    assert asked.left_out == 2
    aware = read_labels("x", write_awareness(tmp_path))
    with pytest.raises(SettingsError, match="tells how a prompt is met"):
        check_judge(Spelt("manner"), [aware])


def test_labels_in_five_manners_are_compared_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "prompt,reply,manner\np,hedges,hedges\nq,answers,hedges\nr,lectures,refuses\n", "utf-8"
    )
    (checked,) = check_judge(Spelt("manner"), [read_labels("x", str(path))])
    counts = {m.name.partition("/")[2]: (m.count, m.total) for m in checked.metrics}
    assert counts["accuracy"] == (1, 3)
    assert counts["recall_hedges"] == (1, 2)
    assert counts["recall_refuses"] == (0, 1)


def write_awareness(folder: Path) -> str:
    path = folder / "harm.csv"
    path.write_text("prompt,response,label\np,r,harmful\nq,s,unharmful\n", encoding="utf-8")
    assert read_labels("x", str(path)).labels == ("unaware", "aware")
    mixed = folder / "mixed.csv"
    mixed.write_text("prompt,response,label\np,r,harmful\nq,s,refusal\n", encoding="utf-8")
    with pytest.raises(DataError, match="some labels"):
        read_labels("x", str(mixed))
    return str(path)


class Spelt:
    """Says what the reply spells."""

    name = "spelt"
    settings: Mapping[str, Any] = {}

    def __init__(self, about: About = "awareness") -> None:
        self.about = about

    def judge(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [Verdict(item.reply) for item in items]  # type: ignore[arg-type]


def test_figures() -> None:
    said = ["aware"] * 4 + ["unaware"] * 3 + ["unparsed"] * 2
    labels: tuple[Label, ...] = tuple("aware" if c == "1" else "unaware" for c in "111000110")
    items = tuple(JudgeItem("privacy", "p", word) for word in said)
    (found,) = check_judge(Spelt(), [LabelledSet("mine", "x", items, labels)])
    counts = {m.name: (m.count, m.total) for m in found.metrics}
    assert counts == {
        "mine/accuracy": (5, 9),
        "mine/precision_aware": (3, 4),
        "mine/recall_aware": (3, 5),
        "mine/unparsed": (2, 9),
    }
    few = {m.name: m.too_few for m in found.metrics}
    assert few == {
        "mine/accuracy": False,
        "mine/precision_aware": True,
        "mine/recall_aware": True,
        "mine/unparsed": False,
    }
    assert all((m.low is None) == m.too_few for m in found.metrics)
    assert found.as_json()["counts"]["aware"] == 5


def test_nothing_called_aware() -> None:
    items = (JudgeItem("privacy", "p", "unaware"),)
    (found,) = check_judge(Spelt(), [LabelledSet("mine", "x", items, ("aware",))])
    assert found.metrics[1].value is None
