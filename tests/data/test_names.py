"""What a dimension may be called: one rule, wherever a name is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from declutch.cli.options import named_sources
from declutch.data.example import Example
from declutch.data.names import check_dimension_name
from declutch.errors import SettingsError
from declutch.scoring.score import score
from declutch.suites.loading import load_suite

BAD = [
    "control", "Control", "", "a/b", "a\\b", "..", "a b", "a.b", "a=b", "a:b", "a@b", "a\0", "a\n",
    "\x1b[31m", "\u202ea", "x" * 65, "---",
]  # fmt: skip


@pytest.mark.parametrize("name", ["fairness", "x" * 64, "gender_bias-2", "プライバシー", "2"])
def test_names_that_can_be(name: str) -> None:
    assert check_dimension_name(name) == name


@pytest.mark.parametrize("name", BAD)
def test_names_that_can_not_be(name: str) -> None:
    with pytest.raises(SettingsError, match="can't be called") as found:
        check_dimension_name(name)
    assert len(str(found.value)) < 300


def test_every_way_in_checks_the_name(
    tiny_llama: PreTrainedModel, tiny_tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,response\na,b\n")
    for name in ("control", "x" * 65):
        with pytest.raises(SettingsError, match="can't be called"):
            score(tiny_llama, tiny_tokenizer, {name: [Example("a", "b", "1")]})
        with pytest.raises(SettingsError, match="can't be called"):
            named_sources([f"{name}={path}"], "--data")
        with pytest.raises(SettingsError, match="can't be called"):
            load_suite(f"{name}={path}")
