"""Numbers out of range are refused in one way, in the library and on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from declutch.errors import SettingsError
from declutch.replies.decoding import Decoding
from declutch.settings import EvaluateSettings, LocateSettings, ModelSettings, ScoreSettings

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ScoreSettings(num_samples=0), "--num-samples must be at least 1, not 0"),
        (lambda: ScoreSettings(max_length=-5), "--max-length must be at least 2, not -5"),
        (lambda: ScoreSettings(seed=-1), "--seed must be at least 0, not -1"),
        (lambda: ScoreSettings(seed=2**32), "--seed must be at most"),
        (lambda: ScoreSettings(shortlist=INF), "--shortlist must be at most 1, not inf"),
        (lambda: ScoreSettings(shortlist=0), "--shortlist must be above 0, not 0"),
        (lambda: LocateSettings(scale=NAN), "--scale must be a number, not nan"),
        (lambda: LocateSettings(scale=-INF), "--scale must be a finite number, not -inf"),
        (lambda: LocateSettings(ratio=NAN), "--ratio must be a number, not nan"),
        (lambda: EvaluateSettings(batch_size=0), "--batch-size must be at least 1, not 0"),
        (lambda: EvaluateSettings(limit=0), "--limit must be at least 1, not 0"),
        (lambda: Decoding(temperature=INF), "--temperature must be a finite number"),
        (lambda: Decoding(temperature=1, top_p=0), "--top-p must be above 0, not 0"),
    ],
)
def test_out_of_range(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        make()


def test_the_ends_of_ranges_are_in_them() -> None:
    ScoreSettings(num_samples=1, seed=2**32 - 1, max_length=2, shortlist=1.0)
    LocateSettings(scale=-1e300, ratio=1)
    EvaluateSettings(limit=None)
    Decoding(temperature=0)


def of(kind: Callable[..., Any], **fields: Any) -> Any:
    """Made with values of any type, as a caller may."""
    return kind(**fields)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: of(ScoreSettings, num_samples="5"),
            "--num-samples must be a whole number, not '5'",
        ),
        (
            lambda: of(ScoreSettings, num_samples=True),
            "--num-samples must be a whole number, not True",
        ),
        (
            lambda: of(ScoreSettings, num_samples=5.0),
            "--num-samples must be a whole number, not 5.0",
        ),
        (lambda: of(ScoreSettings, allow_fewer=1), "--allow-fewer must be True or False, not 1"),
        (lambda: of(LocateSettings, ratio=None), "--ratio must be a number, not None"),
        (lambda: of(LocateSettings, rule=["union"]), "--rule must be a text, not ['union']"),
        (
            lambda: of(EvaluateSettings, limit="2"),
            "--limit must be a whole number or None, not '2'",
        ),
        (lambda: of(EvaluateSettings, suite=[1]), "--suite must be a text, not 1"),
        (lambda: of(EvaluateSettings, suite={"a": []}), "--suite must be a list, not {'a': []}"),
        (lambda: of(ModelSettings, dtype=None), "--dtype must be a text, not None"),
    ],
)
def test_of_another_type(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        make()


def test_what_means_the_same_is_taken_as_its_type_says() -> None:
    chosen = of(
        EvaluateSettings,
        limit=np.int64(3),
        suite="bundled",
        judge=["heuristic"],
        measure=(Path("a.py:b"),),
    )
    assert asdict(chosen) == asdict(
        EvaluateSettings(limit=3, suite=("bundled",), judge=("heuristic",), measure=("a.py:b",))
    )
    assert type(chosen.limit) is int
    assert type(of(LocateSettings, ratio=np.float32(0.5)).ratio) is float
