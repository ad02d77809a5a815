"""Batches: every example once, within the budget, longest first."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from declutch.models.batches import length_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(lengths=LENGTHS, budget=st.integers(1, 200), most=st.none() | st.integers(1, 8))
def test_batches(lengths: list[int], budget: int, most: int | None) -> None:
    batches = length_batches(lengths, budget, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in batches:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= budget or len(batch) == 1
        assert most is None or len(batch) <= most


@given(lengths=LENGTHS, budget=st.integers(1, 200), most=st.none() | st.integers(1, 8))
def test_no_batch_ends_before_it_must(lengths: list[int], budget: int, most: int | None) -> None:
    batches = length_batches(lengths, budget, most)
    for batch, following in pairwise(batches):
        full = lengths[batch[0]] * (len(batch) + 1) > budget
        assert full or len(batch) == most, (batch, following)


def test_equal_lengths_keep_their_order() -> None:
    assert length_batches([5, 7, 5, 5], 15) == [[1, 0], [2, 3]]
    assert length_batches([], 10) == []
    assert length_batches([100], 10) == [[0]]
