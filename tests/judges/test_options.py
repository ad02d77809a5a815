"""The language of ``--judge``."""

from __future__ import annotations

from pathlib import Path

import pytest

from declutch.errors import SettingsError
from declutch.judges import JudgeItem, get_judge
from declutch.judges.options import split_reference


def test_key_values_and_a_first_value() -> None:
    name, options = split_reference("openai:url=http://h:8000/v1?a=b,model=x/y, batch_size=3")
    assert name == "openai"
    assert options.text("url") == "http://h:8000/v1?a=b"
    assert options.text("model") == "x/y"
    assert options.whole("batch-size", 1) == 3
    options.done()
    name, options = split_reference("embedding:/a/b=c")
    assert options.needed("path", "P", first=True) == "/a/b=c"
    options.done()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("qwen3guard:modle=x", "no option «modle».*It knows:.*model"),
        ("qwen3guard:model=x,model=y", "twice"),
        ("qwen3guard:x,model=y", "model twice"),
        ("qwen3guard:x,y", "twice"),
        ("qwen3guard:model=", "no value"),
        ("qwen3guard:batch-size=0", "at least 1"),
        ("qwen3guard:batch-size=two", "number"),
        ("qwen3guard:batch-size=1.5", "whole"),
        ("qwen3guard:controversial=maybe", "unaware or aware or unparsed"),
        ("qwen3guard:trust-remote-code=perhaps", "yes or no"),
        ("qwen3guard:name=a/b", "must not hold"),
        ("shieldgemma:threshold=2", "from 0 to 1"),
        ("shieldgemma:policy=/nowhere/p.txt", "not a file"),
        ("heuristic:strict", "does not know what to do"),
        ("heuristic:strict=yes", "no option «strict»"),
        ("embedding", "needs path="),
        ("embedding:/nowhere", "declutch judge fit"),
        ("openai:url=http://h,model=m", "needs policy=FILE"),
        ("qwen3guard:url=http://h,key=DECLUTCH_NO_SUCH_KEY", "environment variable"),
        ("nonesuch:a=b", "«nonesuch» is unknown"),
    ],
)
def test_what_is_wrong_is_named(reference: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        get_judge(reference)


def test_another_name(tmp_path: Path) -> None:
    judge = get_judge("heuristic:name=phrases")
    assert judge.name == "phrases"
    assert judge.settings == {"version": 1, "judge": "heuristic"}
    (found,) = judge.judge([JudgeItem("privacy", "p", "I can't share that.")])
    assert found.verdict == "aware"
