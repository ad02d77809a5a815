"""The executable example of Theorem 1."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "theorem1.py"


@pytest.fixture(scope="module")
def theorem() -> ModuleType:
    spec = importlib.util.spec_from_file_location("theorem1", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["theorem1"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_information_of_two_scalars_is_the_closed_form(theorem: ModuleType) -> None:
    covariance = np.eye(4)
    covariance[0, 1] = covariance[1, 0] = 0.8
    gaussian = theorem.Gaussian(covariance, 1)
    assert gaussian.information("X", "Y") == pytest.approx(-0.5 * np.log(1 - 0.8**2))
    assert gaussian.information("Z1", "Z2", "X Y") == pytest.approx(0, abs=1e-12)


def test_terms_add_up_and_the_inequality_is_strict(theorem: ModuleType) -> None:
    generator = np.random.default_rng(3)
    for size in (1, 2, 4):
        for _ in range(50):
            one = theorem.random_gaussian(generator, size)
            terms = one.terms()
            assert min(terms.values()) > 0
            assert sum(terms.values()) == pytest.approx(one.whole(), abs=1e-9)
            assert one.whole() > terms["I(X;Y)"]


def test_only_the_coupled_term_goes_with_the_factor(theorem: ModuleType) -> None:
    one = theorem.random_gaussian(np.random.default_rng(4), 2)
    whole, none = one.terms(), one.scaled(0.0).terms()
    assert none["I(Z1;Z2|X,Y)"] == pytest.approx(0, abs=1e-9)
    for name in ("I(X;Y)", "I(X;Z2|Y)", "I(Z1;Y|X)"):
        assert none[name] == pytest.approx(whole[name])
    assert one.scaled(0.0).whole() > none["I(X;Y)"] + 0.01
    apart = theorem.independent_sides(np.random.default_rng(4), 2)
    assert apart.whole() > apart.terms()["I(X;Y)"] + 0.01
    assert apart.scaled(0.0).whole() == pytest.approx(apart.terms()["I(X;Y)"], abs=1e-9)


def test_runs_as_a_program(
    theorem: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["theorem1.py", "--trials", "20", "--size", "2"])
    theorem.main()
    printed = capsys.readouterr().out
    assert "in 20 of 20" in printed
    for name in ("I(X;Y)", "I(X;Z2|Y)", "I(Z1;Y|X)", "I(Z1;Z2|X,Y)"):
        assert name in printed
    assert "-0.000000" not in printed
