"""The benchmark's bookkeeping, and that the ways it compares give the same scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.agreement import compare
from benchmarks.coverage import make, outcomes
from benchmarks.record import summarise
from benchmarks.setup import Spec, prepare
from benchmarks.ways import declutch, hooks, per_layer, timed_layers
from benchmarks.worker import save_shortlists
from safetensors.torch import save_file


def test_timed_layers_have_the_mean_of_all() -> None:
    for blocks, count in ((30, 5), (28, 4), (6, 2)):
        chosen = timed_layers(blocks, count)
        assert len(set(chosen)) == count
        assert abs(sum(chosen) / count - (blocks - 1) / 2) <= 0.5
    assert timed_layers(4, None) == timed_layers(4, 9) == [0, 1, 2, 3]


def test_scaling_to_all_layers() -> None:
    outcome = {"layers": [1, 4], "tokens": 90, "peak_bytes": 7}
    runs = {
        "per_layer": [{**outcome, "seconds": 3.0}, {**outcome, "seconds": 2.0}],
        "plain": [{**outcome, "layers": [], "seconds": 0.5}],
    }
    ways = summarise(runs, blocks=6)
    assert ways["per_layer"]["best"] == 6.0
    assert ways["per_layer"]["ratio_to_plain"] == 12.0
    assert ways["plain"]["times_faster_than_per_layer"] == 12.0
    assert ways["plain"]["tokens_per_second"] == 180.0


@pytest.mark.parametrize(
    ("score", "ties", "differences"), [(1.000001, 1, 0), (1.5, 0, 1), (0.9, 0, 0)]
)
def test_agreement_tells_ties_from_differences(
    tmp_path: Path, score: float, ties: int, differences: int
) -> None:
    # One position is chosen; the second way ranks position 8 first where its score is higher.
    for name, order in (("first", {5: 1.0, 8: 0.999999}), ("second", {5: 1.0, 8: score})):
        ranked = sorted(order, key=lambda position: -order[position])
        tensors = {
            "m/indices": torch.tensor(ranked),
            "m/scores": torch.tensor([order[position] for position in ranked]),
        }
        save_file(tensors, tmp_path / name)
    found = compare(tmp_path / "first", tmp_path / "second", {"m": 10_000})
    # Both the position that came in and the one that went out are listed.
    assert len(found.ties) == 2 * ties
    assert (len(found.differences) > 0) == bool(differences)
    assert found.same == (not ties and not differences)


def test_ways_choose_the_same_positions(tmp_path: Path) -> None:
    spec = Spec(shape="tiny", examples=3, layers=2, batch_tokens=512, threads=1)
    bench = prepare(spec)
    sizes = {matrix.name: matrix.numel for matrix in bench.matrices}
    for way in (per_layer, hooks, declutch):
        save_shortlists(way(bench), tmp_path / way.__name__)
    for way in (per_layer, hooks):
        found = compare(tmp_path / way.__name__, tmp_path / "declutch", sizes)
        assert found.matrices == (6 if way is per_layer else 18)
        assert found.differences == []
        assert found.positions == 3 * found.matrices


@pytest.mark.slow
def test_intervals_of_clusters_hold_what_they_say() -> None:
    generator = np.random.default_rng(1)
    sets = [make([5] * 40, 0.8, generator) for _ in range(300)]
    clustered, independent = (
        np.mean([list(outcomes(made, clustered=each)) for made in sets], axis=0)
        for each in (True, False)
    )
    assert (clustered[:3] > 0.91).all()
    assert clustered[3] < 0.08
    assert (independent[:3] < 0.8).all()
    assert independent[3] > 0.2
