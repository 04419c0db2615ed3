"""Repetitions in fresh processes: how they are combined, and what is made of them."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass, field

import pytest

from autotune import constraints
from autotune.front import (
    Candidates,
    confirmed_metrics,
    front_points,
    is_confirmed,
    picks,
    study_spreads,
)
from autotune.front.hypervolume import HypervolumeScale
from autotune.messages import (
    BlockPair,
    Contention,
    Grade,
    Measurement,
    Metrics,
    RecipeDict,
    TrialResult,
)
from autotune.outcome import Outcome
from autotune.statistics import (
    Spread,
    hierarchical_mean,
    pooled_spread,
    repeatable_mean,
    typical_spread,
)

SPEED, MEMORY, LOSS = "output_tokens_per_second", "host_peak_rss_bytes", "kld_mean_nats"


def result(
    number: int,
    ratio: float,
    *,
    memory: float = 1000.0,
    outcome: Outcome = Outcome.OK,
    grade: Grade = Grade.A,
) -> TrialResult:
    noise = random.Random(number)
    blocks = tuple(
        BlockPair(
            candidate={SPEED: 100 * ratio * noise.uniform(0.99, 1.01)},
            reference={SPEED: 100.0},
            candidate_first=True,
        )
        for _ in range(12)
    )
    metrics = {
        SPEED: Measurement(value=100 * ratio, unit="1/s", ratio=ratio, grade=grade),
        MEMORY: Measurement(value=memory, unit="B", source="VmHWM"),
        LOSS: Measurement(value=0.01, unit="nat"),
    }
    return TrialResult(number=number, outcome=outcome, metrics=metrics, blocks=blocks)


BASELINE: Metrics = {SPEED: Measurement(value=100.0, unit="1/s")}
RECIPE: RecipeDict = {"batch": {"size": 8}}


@dataclass
class Trial:
    number: int
    recipe: RecipeDict
    result: TrialResult | None
    confirmations: dict[int, TrialResult] = field(default_factory=dict)


def test_speed_is_the_mean_over_processes_of_the_median_ratio() -> None:
    again = [result(1, 2.0), result(2, 2.2), result(3, 2.1)]
    found = confirmed_metrics(result(0, 3.0).metrics, again, BASELINE, {})[SPEED]
    assert found.value == pytest.approx(210, rel=0.01)
    assert found.ratio == pytest.approx(2.1, rel=0.01)
    assert found.ratio_ci_low is not None
    assert found.ratio_ci_high is not None
    assert 1.97 < found.ratio_ci_low < 2.1 < found.ratio_ci_high < 2.23
    assert (found.stat, found.grade) == ("confirmed_ratio", Grade.A)
    assert "3 fresh processes" in found.source


def test_memory_is_the_mean_and_at_least_the_range_of_the_processes() -> None:
    again = [result(1, 2.0, memory=10), result(2, 2.0, memory=36), result(3, 2.0, memory=20)]
    found = confirmed_metrics(result(0, 2.0).metrics, again, BASELINE, {})[MEMORY]
    assert (found.value, found.ci_low, found.ci_high, found.n) == (22, 10, 36, 3)
    wide = confirmed_metrics(result(0, 2.0).metrics, again, BASELINE, {MEMORY: Spread(100.0, 9)})
    assert wide[MEMORY].value == 22
    assert wide[MEMORY].ci_low == 0
    # Student's t with 9 degrees of freedom, for a difference of two means of three.
    assert wide[MEMORY].ci_high == pytest.approx(22 + 2.262 * 100 * math.sqrt(2 / 3), rel=1e-3)


def test_spread_of_ratios_counts_the_search_and_that_of_memory_does_not() -> None:
    again = {1: result(1, 2.0, memory=10), 2: result(2, 2.0, memory=30)}
    calm = study_spreads([Trial(1, RECIPE, result(0, 2.6, memory=500), again)])
    logs = [math.log(2.6), math.log(2.0), math.log(2.0)]
    assert calm[SPEED].deviation == pytest.approx(statistics.stdev(logs), rel=0.05)
    assert calm[SPEED].degrees_of_freedom == 2
    # The variance of two values is below 0.455 of the true one as often as above.
    expected = math.sqrt(statistics.variance([10, 30]) / 0.4549)
    assert calm[MEMORY] == Spread(pytest.approx(expected, rel=1e-3), 1)
    disturbed = result(0, 2.6, grade=Grade.C)
    assert study_spreads([Trial(1, RECIPE, disturbed, again)])[SPEED].degrees_of_freedom == 1
    assert study_spreads([Trial(1, RECIPE, result(0, 2.6))]) == {}


def test_accuracy_is_deterministic_and_stays() -> None:
    searched = result(0, 2.0).metrics
    assert confirmed_metrics(searched, [result(1, 2.0)], BASELINE, {})[LOSS] == searched[LOSS]


def alone(found: TrialResult) -> TrialResult:
    """The same without the baseline beside it."""
    blocks = tuple(
        pair.model_copy(update={"reference": {"probe_seconds": 0.1}}) for pair in found.blocks
    )
    contention = Contention(seconds=1, paired=False)
    return found.model_copy(update={"blocks": blocks, "contention": contention})


def test_repetitions_without_the_baseline_keep_grade_ratio_and_width() -> None:
    again = [alone(result(i, ratio, grade=Grade.C)) for i, ratio in enumerate((1.9, 2.0, 2.1))]
    own = {SPEED: Measurement(value=100.0, unit="1/s", ci_low=90.0, ci_high=110.0)}
    found = confirmed_metrics(again[0].metrics, again, own, {})[SPEED]
    assert found.value == pytest.approx(200, rel=0.02)
    assert found.ratio == pytest.approx(2.0, rel=0.02)
    assert (found.stat, found.grade) == ("confirmed_unpaired", Grade.C)
    assert found.ci_low is not None
    assert found.ci_high is not None
    # Student's t with 2 degrees of freedom is wide: the processes differ by 5 %.
    assert found.ci_low < 170
    assert found.ci_high > 235
    assert found.ratio_ci_low == pytest.approx(found.ci_low / 110)
    assert "without the baseline" in found.source


def test_pairs_count_more_than_repetitions_without_the_baseline() -> None:
    again = [result(1, 2.0), alone(result(2, 9.0)), result(3, 2.0)]
    found = confirmed_metrics(again[0].metrics, again, BASELINE, {})[SPEED]
    assert found.ratio == pytest.approx(2.0, rel=0.01)
    assert "2 fresh processes" in found.source


def test_constraint_that_breaks_in_fresh_processes_makes_infeasible() -> None:
    limits = constraints.parse_all([f"{SPEED}>=190"])
    baseline = Trial(0, {}, result(0, 3.0), {1: result(0, 3.0)})
    lucky = Trial(1, RECIPE, result(1, 2.0), {1: result(1, 0.5)})
    _, point = front_points([baseline, lucky], limits)
    assert not point.feasible
    assert SPEED in point.violation
    assert front_points([baseline, lucky])[1].feasible


def test_repetition_that_was_stopped_by_a_constraint_makes_infeasible() -> None:
    stopped = TrialResult(number=1, outcome=Outcome.INFEASIBLE, explanation="load took 9 s")
    trials = [
        Trial(0, {}, result(0, 1.0)),
        Trial(1, RECIPE, result(1, 2.0), {1: result(1, 2.0), 2: stopped}),
    ]
    _, point = front_points(trials)
    assert (point.feasible, point.violation) == (False, "load took 9 s")


def test_failed_repetitions_are_left_out() -> None:
    searched = result(0, 2.0).metrics
    failed = result(1, 9.0, outcome=Outcome.CRASHED)
    assert confirmed_metrics(searched, [failed], BASELINE, {}) == searched
    found = confirmed_metrics(searched, [failed, result(2, 2.0)], BASELINE, {})[SPEED]
    assert found.ratio == pytest.approx(2.0, rel=0.01)


def test_one_disturbed_process_of_three_is_outvoted() -> None:
    grades = (Grade.A, Grade.C, Grade.A)
    again = [result(i, 2.0, grade=grade) for i, grade in enumerate(grades)]
    assert confirmed_metrics(again[0].metrics, again, BASELINE, {})[SPEED].grade is Grade.A
    again[2] = result(2, 2.0, grade=Grade.C)
    assert confirmed_metrics(again[0].metrics, again, BASELINE, {})[SPEED].grade is Grade.C


def test_one_disturbed_process_of_two_is_not() -> None:
    again = [result(i, 2.0, grade=grade) for i, grade in enumerate((Grade.C, Grade.A))]
    assert confirmed_metrics(again[0].metrics, again, BASELINE, {})[SPEED].grade is Grade.C


def test_points_compare_with_the_confirmed_baseline() -> None:
    baseline = Trial(0, {}, result(0, 1.0), {1: result(0, 1.0)})
    candidate = Trial(1, RECIPE, result(1, 3.0), {1: result(1, 2.0)})
    points = front_points([baseline, candidate, Trial(2, RECIPE, None)])
    assert [p.number for p in points] == [0, 1]
    assert all(is_confirmed(p) for p in points)
    assert points[1].value(SPEED) == pytest.approx(200, rel=0.02)


def test_values_of_trials_that_were_not_repeated_stand_on_the_confirmed_baseline() -> None:
    searched = result(2, 1.5)
    speed = searched.metrics[SPEED].model_copy(
        update={"stat": "median_ratio", "ratio_ci_low": 1.4, "ratio_ci_high": 1.6}
    )
    searched = searched.model_copy(update={"metrics": searched.metrics | {SPEED: speed}})
    again = result(0, 1.0)
    slow = tuple(
        pair.model_copy(update={"candidate": {SPEED: 50.0}, "reference": {SPEED: 50.0}})
        for pair in again.blocks
    )
    trials = [
        Trial(0, {}, result(0, 1.0), {1: again.model_copy(update={"blocks": slow})}),
        Trial(2, RECIPE, searched),
    ]
    _, point = front_points(trials)
    found = point.metrics[SPEED]
    assert (found.value, found.ci_low, found.ci_high) == (
        pytest.approx(75),
        pytest.approx(70),
        pytest.approx(80),
    )


def test_lucky_search_number_is_no_pick_once_others_are_confirmed() -> None:
    trials = [
        Trial(0, {}, result(0, 1.0), {1: result(0, 1.0)}),
        Trial(1, RECIPE, result(1, 2.0), {1: result(1, 2.0)}),
        Trial(2, {"batch": {"size": 4}}, result(2, 5.0)),
    ]
    points = front_points(trials)
    scale = HypervolumeScale.of(points[0].metrics, (SPEED, MEMORY))
    assert picks(points, (SPEED, MEMORY), scale)["fastest"].number == 1
    for among in (Candidates.MEASURED, Candidates.WORTH_CONFIRMING):
        assert picks(points, (SPEED, MEMORY), scale, among=among)["fastest"].number == 2


def test_picks_before_the_confirmation_is_over_keep_to_the_grades() -> None:
    trials = [
        Trial(0, {}, result(0, 1.0), {1: result(0, 1.0)}),
        Trial(1, RECIPE, result(1, 2.0)),
        Trial(2, {"batch": {"size": 4}}, result(2, 5.0, grade=Grade.C)),
    ]
    points = front_points(trials)
    scale = HypervolumeScale.of(points[0].metrics, (SPEED, MEMORY))
    found = picks(points, (SPEED, MEMORY), scale, among=Candidates.MEASURED)
    assert found["fastest"].number == 1
    assert picks(points, (SPEED, MEMORY), scale)["fastest"].number == 0, "the one confirmed"


def test_grade_c_is_never_a_pick() -> None:
    trials = [
        Trial(0, {}, result(0, 1.0)),
        Trial(1, RECIPE, result(1, 9.0, grade=Grade.C)),
        Trial(2, {"batch": {"size": 4}}, result(2, 2.0)),
    ]
    points = front_points(trials)
    scale = HypervolumeScale.of(points[0].metrics, (SPEED, MEMORY))
    found = picks(points, (SPEED, MEMORY), scale)
    assert found["fastest"].number == 2
    assert found["balanced"].number == 2
    again = picks(points, (SPEED, MEMORY), scale, among=Candidates.WORTH_CONFIRMING)
    assert again["fastest"].number == 1, "it deserves to be measured again"


def test_grade_c_that_was_measured_again_is_no_provisional_pick() -> None:
    poor = result(1, 9.0, grade=Grade.C)
    trials = [
        Trial(0, {}, result(0, 1.0)),
        Trial(1, RECIPE, poor, {1: poor}),
        Trial(2, {"batch": {"size": 4}}, result(2, 2.0)),
    ]
    points = front_points(trials)
    scale = HypervolumeScale.of(points[0].metrics, (SPEED, MEMORY))
    found = picks(points, (SPEED, MEMORY), scale, among=Candidates.WORTH_CONFIRMING)
    assert found["fastest"].number == 2


def test_hierarchical_interval_covers_the_truth() -> None:
    """Five processes, each with its own luck: nominal 95 %, the bootstrap over five gives less,
    a plain interval over all blocks would give far less."""
    noise, covered = random.Random(1), 0
    for _ in range(200):
        groups = []
        for _ in range(5):
            luck = noise.gauss(0, 0.05)
            groups.append([luck + noise.gauss(0, 0.02) for _ in range(20)])
        found = hierarchical_mean(groups, resamples=400)
        covered += found.low <= 0 <= found.high
    assert covered >= 0.8 * 200


def test_repeatable_interval_holds_the_next_repetition() -> None:
    """Two processes of each of five recipes; what two new processes of the first give."""
    noise, covered = random.Random(2), 0

    def process() -> list[float]:
        luck = noise.gauss(0, 0.08)
        return [luck + noise.gauss(0, 0.03) for _ in range(8)]

    def medians(groups: list[list[float]]) -> list[float]:
        return [statistics.median(group) for group in groups]

    for _ in range(200):
        recipes = [[process(), process()] for _ in range(5)]
        spread = pooled_spread([medians(groups) for groups in recipes])
        found = repeatable_mean(recipes[0], spread)
        covered += found.low <= statistics.fmean(medians([process(), process()])) <= found.high
    assert covered >= 0.93 * 200


def test_fewer_new_processes_fall_into_a_wider_interval() -> None:
    groups = [[0.0] * 8, [0.1] * 8, [0.05] * 8]
    spread = Spread(0.05, 10)

    def width(again: int | None) -> float:
        found = repeatable_mean(groups, spread, again)
        return found.high - found.low

    assert width(None) == width(3)
    assert width(1) == pytest.approx(width(3) * math.sqrt((1 / 3 + 1) / (2 / 3)))


def test_typical_spread_ignores_one_restless_group() -> None:
    draw = random.Random(0)
    groups = [[draw.gauss(0, 2) for _ in range(3)] for _ in range(401)]
    found = typical_spread(groups)
    assert found is not None
    assert found.deviation == pytest.approx(2, rel=0.1)
    assert found.degrees_of_freedom == 802
    assert typical_spread([*groups, [0.0, 1e6, 0.0]]) == Spread(
        pytest.approx(found.deviation, rel=0.02), 804
    )
    assert typical_spread([[1.0]]) is None


def test_pooled_spread_by_hand() -> None:
    assert pooled_spread([[1.0, 3.0], [10.0, 10.0], [5.0]]) == Spread(1.0, 2)
    assert pooled_spread([[1.0], [2.0]]) is None


def test_interval_is_never_narrower_than_its_own_processes_ask_for() -> None:
    groups = [[0.0] * 8, [1.0] * 8]
    calm = Spread(0.001, 10)
    found = repeatable_mean(groups, calm)
    # Student's t with 10 degrees of freedom at 97.5 % is 2.228139; the deviation is sqrt(1/2).
    assert found.high - found.value == pytest.approx(2.228139 * math.sqrt(0.5), rel=1e-6)


def test_processes_of_one_recipe_widen_the_intervals_of_all() -> None:
    steady = {i: result(i, 2.0) for i in (1, 2)}
    baseline = Trial(0, {}, result(0, 1.0), {1: result(1, 1.0), 2: result(2, 1.0)})
    unsteady = Trial(
        2, {"batch": {"size": 4}}, result(0, 1.5), {1: result(1, 1.2), 2: result(2, 1.8)}
    )

    def width(*trials: Trial) -> float:
        found = {p.number: p.metrics[SPEED] for p in front_points(trials)}[1]
        assert found.ratio_ci_low is not None
        assert found.ratio_ci_high is not None
        return found.ratio_ci_high - found.ratio_ci_low

    one = Trial(1, RECIPE, result(0, 2.0), steady)
    assert width(baseline, one, unsteady) > 5 * width(baseline, one)


def test_hierarchical_interval_is_the_same_for_the_same_data() -> None:
    groups = [[1.0, 2.0, 3.0], [2.0, 2.5]]
    assert hierarchical_mean(groups) == hierarchical_mean(groups)
    assert hierarchical_mean([[5.0]]).value == 5.0


def test_fallback_that_the_baseline_shares_is_the_machines() -> None:
    def fell(number: int, *words: str) -> TrialResult:
        return result(number, 1.0 + number).model_copy(update={"fallbacks": words})

    trials = [
        Trial(0, {}, fell(0, "slow CPU")),
        Trial(1, RECIPE, fell(1, "slow CPU")),
        Trial(2, {"batch": {"size": 4}}, fell(2, "slow CPU", "plain linears")),
    ]
    points = front_points(trials)
    assert [p.fallbacks for p in points] == [(), (), ("plain linears",)]
    scale = HypervolumeScale.of(points[0].metrics, (SPEED, MEMORY))
    assert picks(points, (SPEED, MEMORY), scale)["fastest"].number == 1
