"""Requests that differ: drawn from a seed, in the shares that the workload states."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from autotune.config import StudyFile, build_study
from autotune.errors import InputError
from autotune.plugin import Trait
from autotune.traffic import Traffic

MIXED = Traffic(requests=9, prompt_tokens_spread_ratio=0.5, new_tokens_spread_ratio=0.25)


def test_lengths_are_evenly_spread_and_independent() -> None:
    drawn = MIXED.draw(100, 16, seed=0)
    prompts = [one.prompt_tokens for one in drawn]
    answers = [one.new_tokens for one in drawn]
    assert sorted(prompts) == [50, 62, 75, 88, 100, 112, 125, 138, 150]
    assert sorted(answers) == [12, 13, 14, 15, 16, 17, 18, 19, 20]
    assert prompts != sorted(prompts)
    order = sorted(range(9), key=prompts.__getitem__)
    assert [answers[i] for i in order] != sorted(answers)
    assert [one.text for one in drawn] == list(range(9))


def test_adapters_are_asked_for_evenly_and_change_nothing_else() -> None:
    adapted = MIXED.model_copy(update={"adapters": ("a", "b", "c")})
    drawn = adapted.draw(100, 16, seed=0)
    assert Counter(one.adapter for one in drawn) == {0: 3, 1: 3, 2: 3}
    assert [one.adapter for one in drawn] != sorted(one.adapter or 0 for one in drawn)
    assert [replace(one, adapter=None) for one in drawn] == MIXED.draw(100, 16, seed=0)
    assert Trait.ADAPTERS in adapted.traits
    assert Trait.ADAPTERS not in MIXED.model_copy(update={"adapters": ("a",)}).traits
    assert adapted.in_words(100, 16).endswith("each is for one of 3 LoRA adapters")


def test_the_seed_decides() -> None:
    assert MIXED.draw(100, 16, seed=1) == MIXED.draw(100, 16, seed=1)
    assert MIXED.draw(100, 16, seed=1) != MIXED.draw(100, 16, seed=2)


@pytest.mark.parametrize(("ratio", "repeats"), [(0.0, 0), (0.3, 6), (0.99, 19)])
def test_the_stated_share_repeats_an_earlier_request(ratio: float, repeats: int) -> None:
    traffic = Traffic(requests=20, prompt_tokens_spread_ratio=0.5, repeat_ratio=ratio)
    drawn = traffic.draw(64, 8, seed=5)
    counts = Counter(drawn)
    assert len(drawn) == 20
    assert sum(counts.values()) - len(counts) == repeats == traffic.repeats
    assert len({one.text for one in drawn}) == len(counts)
    assert drawn[0].text == 0


def test_traits_are_what_is_really_there() -> None:
    assert Traffic().traits == frozenset()
    assert Traffic(new_tokens_spread_ratio=0.1).traits == {Trait.MIXED_LENGTHS}
    assert Traffic(shared_prefix_tokens=1).traits == {Trait.SHARED_PREFIX}
    assert Traffic(as_text=True).traits == {Trait.TEXT}
    assert Traffic(requests=4, repeat_ratio=0.5).traits == {Trait.REPEATS}
    assert Traffic(requests=4, repeat_ratio=0.1).traits == frozenset()  # not one of four


def test_words_state_what_may_be_found_in_a_cache() -> None:
    traffic = Traffic(requests=8, repeat_ratio=0.3, shared_prefix_tokens=5)
    assert traffic.in_words(16, 4) == (
        "8 requests, prompts of 16 tokens, answers of 4, 25% repeat an earlier one, the first 5 "
        "tokens are the same in all"
    )
    assert Traffic(as_text=True).in_words(9, 4).endswith("answers of 4, they come as text")
    assert MIXED.in_words(100, 16) == (
        "9 requests, prompts of 50 to 150 tokens, answers of 12 to 20"
    )


def study(**traffic: Any) -> StudyFile:
    return build_study({"model": "m", "workload": {"traffic": traffic}}, "study.yaml")


def test_a_study_without_traffic_is_defined_as_before() -> None:
    plain = StudyFile(model="m")
    assert plain.workload.traits == {Trait.UNIFORM}
    assert "traffic" not in plain.definition()["workload"]
    definition = study(requests=4).definition()
    assert definition["workload"]["traffic"]["requests"] == 4
    assert "as_text" not in definition["workload"]["traffic"]  # as before there was such a key
    assert study(as_text=True).definition()["workload"]["traffic"]["as_text"] is True
    assert StudyFile.model_validate(definition).workload.traffic == Traffic(requests=4)


@pytest.mark.parametrize(
    ("traffic", "words"),
    [
        ({"repeat_ratio": 1.0}, "workload.traffic.repeat_ratio: "),
        ({"prompt_tokens_spread_ratio": -0.1}, "workload.traffic.prompt_tokens_spread_ratio: "),
        ({"requests": 1}, "workload.traffic.requests: "),
        ({"repeats": 0.5}, "did you mean 'workload.traffic.requests'"),
        (
            {"shared_prefix_tokens": 64, "prompt_tokens_spread_ratio": 0.5},
            "64 is not less than the 64 tokens of the shortest prompt",
        ),
    ],
)
def test_bad_traffic_is_refused(traffic: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        study(**traffic)
    assert words in str(caught.value)


def test_rates_of_a_batch_are_no_aim_with_traffic() -> None:
    from autotune.device import detect
    from autotune.search.goals import _check

    mixed = study(requests=4)
    with pytest.raises(InputError, match="share passes"):
        _check("decode_tokens_per_second", "objective", mixed, "causal-lm", detect())
    _check("tpot_seconds", "objective", mixed, "causal-lm", detect())
