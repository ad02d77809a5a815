from __future__ import annotations

import random
import time

import pytest

from declutch.data.duplicates import Match, find_clusters, near_duplicates, overlap, word_grams
from declutch.errors import SettingsError


def made_up(count: int, words: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        " ".join(draw.choice("abcde") for _ in range(draw.randint(1, words))) for _ in range(count)
    ]


def test_grams_ignore_case_punctuation_and_spacing() -> None:
    assert word_grams("Don't do  that, please!") == {"don't do that", "do that please"}
    assert word_grams("Two words") == {"two words"}
    assert word_grams(" ?! ") == frozenset()


def test_known_similarities() -> None:
    texts = ["one two three four", "ONE two, three four!", "two three four five", "six seven"]
    found = near_duplicates(texts, 0.3)
    assert found == [Match(0, 1, 1.0), Match(0, 2, 1 / 3), Match(1, 2, 1 / 3)]
    assert near_duplicates(texts, 0.5) == [Match(0, 1, 1.0)]
    assert overlap(texts[:1], texts[1:], 0.9) == [Match(0, 0, 1.0)]


def test_texts_without_words_match_nothing() -> None:
    assert near_duplicates(["", "?!", ""], 0.1) == []


@pytest.mark.parametrize("threshold", [0.1, 0.25, 1 / 3, 0.5, 0.8, 1.0])
def test_same_as_comparing_every_pair(threshold: float) -> None:
    first, second = made_up(60, 8, 1), made_up(60, 8, 2)

    def similarity(a: str, b: str) -> float:
        one, two = word_grams(a), word_grams(b)
        return len(one & two) / len(one | two)

    expected = {
        (i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if similarity(a, b) >= threshold
    }
    found = overlap(first, second, threshold)
    assert {(match.first, match.second) for match in found} == expected
    assert len(found) == len(expected)
    within = near_duplicates(first, threshold)
    assert {(match.first, match.second) for match in within} == {
        (i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(first)
        if i < j and similarity(a, b) >= threshold
    }


def test_thousands_of_texts_are_not_compared_pair_by_pair() -> None:
    draw = random.Random(0)
    texts = [
        "please tell me about " + " ".join(str(draw.randrange(500)) for _ in range(20))
        for _ in range(3000)
    ]
    texts.append(texts[17] + " too")
    begun = time.perf_counter()
    assert [(match.first, match.second) for match in near_duplicates(texts)] == [(17, 3000)]
    # About half a second; comparing every pair takes some ten times as long.
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("threshold", [0, -1, 1.1])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(SettingsError, match="threshold"):
        near_duplicates(["a", "b"], threshold)


def test_clusters_join_what_a_chain_connects() -> None:
    texts = ["a b c d e f", "b c d e f g", "c d e f g h", "else", "other"]
    names = ["a", "b", "c", "d", "e"]
    assert find_clusters(names, texts, [""] * 5) == ["a", "a", "a", "", ""]
    assert find_clusters(names, texts, ["", "", "t", "", "t"]) == ["a", "a", "a", "", "a"]
    assert find_clusters(names[3:], texts[3:], ["t", "u"]) == ["", ""]
    assert find_clusters(["x", "y"], ["", "?"], ["", ""]) == ["", ""]
