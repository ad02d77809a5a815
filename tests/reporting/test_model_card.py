from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

from declutch.errors import FileFormatError
from declutch.reporting.conclusion import Conclusion, conclusion
from declutch.reporting.model_card import BASE_CARD_MARK, model_card, write_model_card
from declutch.reporting.values import ReportInput, ScoredData
from tests.reporting.fakes import awareness, layers, report_input

BASE = (
    "---\nlicense: apache-2.0\nlanguage:\n- en\ntags:\n- chat\n---\n\n# The base\n\nIts own text.\n"
)


@pytest.fixture
def report(tmp_path: Path) -> ReportInput:
    return report_input(tmp_path)


@pytest.fixture
def said(report: ReportInput) -> Conclusion:
    return conclusion(report.rows, dimensions=report.dimensions)


def test_metadata(report: ReportInput, said: Conclusion) -> None:
    data = ModelCard(model_card(report, said, BASE)).data
    assert data.get("base_model") == "owner/tiny"
    assert data.get("base_model_relation") == "finetune"
    assert data.get("library_name") == "transformers"
    assert data.get("license") == "apache-2.0"
    assert data.get("language") == ["en"]
    assert {"declutch", "fairness", "privacy"} <= set(data.get("tags"))


def test_results_are_apart_in_the_model_index(report: ReportInput, said: Conclusion) -> None:
    rows = (*report.rows, *layers(4))
    results = ModelCard(model_card(report_input(report.out, rows=rows), said)).data.get(
        "eval_results"
    )
    assert [(each.metric_type, each.metric_value) for each in results] == [
        ("awareness", 0.34), ("awareness", 0.33), ("over_refusal", 0.06), ("perplexity", 20.01),
    ]  # fmt: skip
    assert len({each.dataset_config for each in results}) == 4


def test_text(report: ReportInput, said: Conclusion) -> None:
    text = model_card(report, said)
    assert said.headline in text
    assert "not compression" in text
    assert "5 weights set to zero" in text
    assert "important for fairness and privacy and not for general. They" in text
    assert "30/100 = 30.0 % (21.9 to 39.6)" in text
    assert "declutch revert PATCHED PATCH -o ORIGINAL" in text
    assert BASE_CARD_MARK not in text


def test_base_card_stays_below_and_is_not_nested(report: ReportInput, said: Conclusion) -> None:
    folder = report.out / "model"
    folder.mkdir()
    (folder / "README.md").write_text(BASE, encoding="utf-8")
    first = write_model_card(report, said, folder).read_text(encoding="utf-8")
    second = write_model_card(report, said, folder).read_text(encoding="utf-8")
    assert first == second
    assert second.count("Its own text.") == 1
    assert (
        second.index("not compression") < second.index(BASE_CARD_MARK) < second.index("# The base")
    )


def test_own_card_without_a_base_is_replaced(report: ReportInput, said: Conclusion) -> None:
    first = model_card(report, said)
    assert model_card(report, said, first) == first


def test_paths_of_this_machine_are_not_published(report: ReportInput, said: Conclusion) -> None:
    private = report_input(
        report.out,
        model_id="/home/someone/models/mine",
        scored=(ScoredData("fairness", "/home/someone/pairs.csv", "ab", 3, None, None),),
        settings={"score": {"data": "/home/someone/pairs.csv"}},
    )
    text = model_card(private, said)
    assert "/home" not in text
    assert "someone" not in text
    assert "pairs.csv" in text
    assert ModelCard(text).data.get("base_model") is None
    assert "hub:owner/data" in model_card(
        replace(report, scored=(ScoredData("f", "hub:owner/data", "ab", 3, None, None),)), said
    )


def test_names_do_not_break_the_table(report: ReportInput, said: Conclusion) -> None:
    row = awareness("a|b<script>")
    text = model_card(report_input(report.out, rows=(row,)), said)
    assert "a\\|b\\<script\\>" in text


def test_broken_metadata_is_named(report: ReportInput, said: Conclusion) -> None:
    with pytest.raises(FileFormatError, match=r"README\.md"):
        model_card(report, said, "---\n- a\n- list\n---\ntext")


def test_a_model_id_cannot_leave_its_place(tmp_path: Path) -> None:
    name = "owner/tiny\n```\n# Owned\n`x`\x1b[2J"
    report = report_input(tmp_path, model_id=name, revision="a`\n# b")
    text = model_card(report, conclusion(report.rows))
    assert "# Owned" not in text.splitlines()
    assert "# b" not in text.splitlines()
    assert "\x1b" not in text
    assert [line[:5] for line in text.splitlines() if line.startswith("```")] == ["```sh", "```"]


def test_the_hub_takes_the_metadata(report: ReportInput, said: Conclusion) -> None:
    """The hub's own classes read all of it back, and its model index has what the hub requires."""
    scored = ScoredData("f", "hub:owner/pairs?split=train", "ab", 3, None, None)
    text = model_card(replace(report, scored=(scored, scored)), said, BASE)
    data = ModelCard(text).data
    assert data.get("tags") == ["declutch", "spin", "safety", "fairness", "privacy", "chat"]
    assert data.get("datasets") == ["owner/pairs"]
    (index,) = yaml.safe_load(text.split("---")[1])["model-index"]
    name, results = model_index_to_eval_results([index])
    assert (name, results) == (index["name"], data.get("eval_results"))
    assert eval_results_to_model_index(name, results) == [index]
    for result in index["results"]:
        assert result["task"]["type"] == "text-generation"
        assert result["dataset"]["type"]
        assert result["dataset"]["name"]
        for metric in result["metrics"]:
            assert metric["type"]
            assert isinstance(metric["value"], float)
    assert results[0].metric_name == "Awareness (34/100; 95 % interval 25.5 to 43.7)"
    assert results[0].metric_config == "heuristic"
