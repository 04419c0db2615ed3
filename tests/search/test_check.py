"""What ``autotune plugins check`` tries, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune import registry
from autotune.config import StudyFile
from autotune.measure_settings import MeasureSettings
from autotune.outcome import Outcome
from autotune.recipe import Recipe
from autotune.search.check import Choice, Verdict, choices, covering, judge, pairs, try_all
from autotune.search.plan import Plan, make_plan
from autotune.testing import fake_result, fake_spec

BASELINE = fake_result(
    fake_spec(0), weights_bytes=1e6, output_tokens_per_second=10, kld_mean_nats=0.0
)


@pytest.fixture
def plan(tiny_model: Path, tmp_path: Path) -> Plan:
    study = StudyFile(model=str(tiny_model), name="check", device="cpu")
    made = make_plan(study, tmp_path, lambda *_: None, only={})
    return replace(made, registry=registry.installed())


def recipe(**params: object) -> Recipe:
    return Recipe.from_dict({"p": params})  # type: ignore[dict-item]


def test_each_value_is_covered_by_as_few_recipes_as_are_found() -> None:
    every = [recipe(a=a, b=b) for a in (1, 2, 3) for b in ("x", "y")]
    found = covering(every, "p")
    assert len(found) == 3
    assert {r.to_dict()["p"]["a"] for r in found} == {1, 2, 3}
    assert {r.to_dict()["p"]["b"] for r in found} == {"x", "y"}
    assert covering([], "p") == []


def test_every_plugin_has_choices_or_reasons(plan: Plan) -> None:
    for name, plugin in plan.registry.plugins.items():
        tried, refused = choices(plan, name)
        assert tried or refused, name
        assert all(one.words for one in refused), name
        for param, kind in plugin.params.items():
            seen = {choice.params[param] for choice in tried if param in choice.params}
            seen |= {one.params[param] for one in refused if param in one.params}
            on = {v for v in kind.values() if v != kind.default or len(plugin.params) > 1}
            whole = any(not one.params for one in refused)
            assert whole or on - {kind.default} <= seen, (name, param)


def test_what_recovers_is_tried_beside_what_takes_away(plan: Plan) -> None:
    tried, _ = choices(plan, "distill")
    assert tried
    assert all("prune" in choice.beside for choice in tried)


def test_pairs_are_each_tried_once_or_refused(plan: Plan) -> None:
    every = list(plan.registry.plugins)
    small = ["precision", "quantize", "batch", "distill"]
    tried, refused = pairs(plan, small)
    seen = [frozenset((c.plugin, *c.beside)) for c in tried if len(c.beside) == 1]
    assert len(seen) == len(set(seen))
    found = {(c.plugin, other) for c in tried for other in c.beside}
    found |= {(one.plugin, one.beside) for one in refused}
    wanted = {(a, b) for i, a in enumerate(small) for b in every if b not in small[: i + 1]}
    assert wanted <= found
    assert all(one.words for one in refused)
    for choice in tried:
        if choice.plugin == "distill":
            assert "prune" in choice.beside
            assert choice.params["steps"] == 50, "the shortest training"


@pytest.mark.slow
def test_a_sample_of_the_pairs_works_together(plan: Plan) -> None:
    """``autotune plugins check --all --pairs`` tries all of them."""
    tried, _ = pairs(plan, ["precision", "embedding", "batch"])
    wanted = {("precision", "embedding"), ("embedding", "speculative"), ("batch", "prune")}
    sample = [c for c in tried if (c.plugin, *c.beside) in wanted]
    assert len(sample) == 3
    quick = plan.study.model_copy(update={"measure": MeasureSettings(block_seconds=0.05)})
    found = list(try_all(replace(plan, study=quick), sample, lambda _: None))
    assert [(one.verdict, one.words) for one in found] == [(Verdict.OK, "")] * 3


class TestJudge:
    choice = Choice("precision", Recipe.from_dict({"precision": {"dtype": "bfloat16"}}))

    def judged(self, plan: Plan, outcome: Outcome = Outcome.OK, **metrics: float) -> object:
        result = fake_result(fake_spec(1), outcome, **metrics)
        found = judge(plan, self.choice, result, BASELINE)
        return found.verdict, found.words

    def test_effect_that_is_stated_and_seen(self, plan: Plan) -> None:
        found = judge(plan, self.choice, fake_result(fake_spec(1), weights_bytes=0.5e6), BASELINE)
        assert (found.verdict, found.words) == (Verdict.OK, "")
        assert found.ratios == {"weights_bytes": 0.5}
        assert found.values == "bfloat16"

    def test_effect_that_is_stated_and_not_seen(self, plan: Plan) -> None:
        words = "states 0.50 of the weights' bytes, measured are 1.00"
        assert self.judged(plan, weights_bytes=1e6) == (Verdict.FAILED, words)

    def test_nothing_is_expected_where_one_adds_weights_and_another_shrinks_them(
        self, plan: Plan
    ) -> None:
        draft = {"method": "assistant", "tokens": 4, "assistant_layers": 0.5}
        both = Recipe.from_dict({"precision": {"dtype": "bfloat16"}, "speculative": draft})
        ran = fake_result(fake_spec(1), weights_bytes=1.3e6)
        assert judge(plan, Choice("precision", both), ran, BASELINE).verdict is Verdict.OK
        alone = Recipe.from_dict({"speculative": draft})
        unchanged = fake_result(fake_spec(1), weights_bytes=1e6)
        found = judge(plan, Choice("speculative", alone), unchanged, BASELINE)
        assert found.verdict is Verdict.FAILED

    def test_fallback_that_the_baseline_has_not(self, plan: Plan) -> None:
        words = ("asked for a, ran b", "of the machine")
        own = BASELINE.model_copy(update={"fallbacks": words[1:]})
        ran = fake_result(fake_spec(1), weights_bytes=0.5e6)
        found = judge(plan, self.choice, ran.model_copy(update={"fallbacks": words}), own)
        assert (found.verdict, found.words) == (Verdict.FELL_BACK, "asked for a, ran b")

    def test_refusal_in_the_bench_process(self, plan: Plan) -> None:
        words = "made to end as unsupported"
        assert self.judged(plan, Outcome.UNSUPPORTED) == (Verdict.REFUSED, words)

    def test_crash(self, plan: Plan) -> None:
        words = "crashed: made to end as crashed"
        assert self.judged(plan, Outcome.CRASHED) == (Verdict.FAILED, words)
