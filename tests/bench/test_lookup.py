from __future__ import annotations

import torch

from autotune.bench.engines.lookup import look_up


def guesses(*words: list[int], count: int) -> list[list[int]]:
    return look_up(torch.tensor(words), count).tolist()


def test_what_followed_the_longest_match_is_guessed() -> None:
    words = [1, 2, 3, 9, 8, 3, 7, 7, 1, 2, 3]
    assert guesses(words, count=3) == [[9, 8, 3]]  # not what followed the later single 3


def test_the_latest_of_equal_matches_counts() -> None:
    assert guesses([5, 1, 6, 5, 2, 6, 5], count=1) == [[2]]


def test_a_guess_beyond_the_end_repeats_the_last_word() -> None:
    assert guesses([4, 4, 4, 4], count=2) == [[4, 4]]


def test_each_sequence_has_its_own() -> None:
    found = guesses([1, 2, 1], [3, 4, 5], count=2)
    assert found[0] == [2, 1]
    assert len(found[1]) == 2  # whatever: it is checked


def test_nothing_is_guessed_where_all_last_words_are_new() -> None:
    assert guesses([1, 2, 3], [4, 5, 6], count=2) == [[], []]
    assert guesses([1, 2, 1], count=0) == [[]]
    assert guesses([7], count=4) == [[]]
