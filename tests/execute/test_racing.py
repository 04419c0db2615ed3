"""Which trials a rival ends, on numbers from a seed, and how often it ends the wrong one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from autotune import looks
from autotune.costs import ends
from autotune.execute.paired import alternate, speed_metrics
from autotune.execute.racing import ENDED_EARLY, Looks, wants_peaks
from autotune.execute.trial import TrialUnderWay
from autotune.front import dominates
from autotune.measure_settings import MeasureSettings
from autotune.messages import BlockPair, Measurement, Metrics, Rivals
from autotune.testing import fake_spec

SPEED, MEMORY, WEIGHTS, KLD = (
    "output_tokens_per_second",
    "host_model_peak_bytes",
    "weights_bytes",
    "kld_mean_nats",
)
OBJECTIVES = (SPEED, MEMORY, WEIGHTS, KLD)
SETTINGS = MeasureSettings(target_half_width_ratio=1e-6)
BASELINE = {SPEED: Measurement(value=100.0, unit="1/s")}


def exact(**values: float) -> Metrics:
    return {name: Measurement(value=value, unit="") for name, value in values.items()}


def known(**change: float) -> Metrics:
    """What is known of a trial before its blocks."""
    return exact(**({MEMORY: 1e9, WEIGHTS: 5e8, KLD: 0.01} | change))


def rival(speed: float = 120.0, width: float = 1.0, **change: float) -> Rivals:
    others = {name: (m.value,) * 3 for name, m in known(**change).items()}
    return {3: {SPEED: (speed, speed - width, speed + width)} | others}  # type: ignore[dict-item]


def trial(metrics: Metrics, **fields: Any) -> TrialUnderWay:
    spec = fake_spec(7, {"batch": {"size": 2}})
    given = {
        "objectives": OBJECTIVES,
        "settings": SETTINGS,
        "baseline": BASELINE,
        "rivals": rival(),
        **fields,
    }
    under_way = TrialUnderWay(spec.model_copy(update=given), lambda _: None)
    under_way.metrics |= metrics
    return under_way


def blocks(speed: float, seed: int = 0, noise: float = 0.05) -> Any:
    draw = random.Random(seed)
    return lambda: {SPEED: speed * draw.lognormvariate(0, noise)}


def measure(under_way: TrialUnderWay, speed: float, seed: int = 0) -> tuple[Looks, int, Metrics]:
    """Blocks beside a baseline of 100 tokens/s."""
    look = Looks(under_way)
    reference = blocks(100.0, seed + 1000)
    settings = under_way.spec.settings
    told: list[int] = []
    args = (settings, SPEED, seed, told.append, look.lost)
    pairs = alternate(blocks(speed, seed), reference, *args)
    return look, len(pairs), look.metrics(pairs)


def test_trial_that_is_slower_and_no_better_elsewhere_is_ended() -> None:
    look, pairs, timed = measure(trial(known()), 80.0)
    assert look.notes == [
        f"{ENDED_EARLY} after {pairs} pairs: trial 3 is at least as good in everything and better "
        f"in {SPEED}"
    ]
    assert pairs == 7, "six of sixteen have no interval that allows for looks"
    assert timed[SPEED].n == pairs
    assert not timed[SPEED].converged


def test_its_interval_is_the_one_that_allows_for_looks() -> None:
    under_way = trial(known(), settings=SETTINGS.model_copy(update={"max_pairs": 60}))
    look, pairs, timed = measure(under_way, 112.0)
    assert look.notes
    assert pairs > 10
    plain = speed_metrics(_pairs(112.0, pairs), BASELINE, SETTINGS)[SPEED]
    assert timed[SPEED].value == plain.value
    assert (timed[SPEED].ci_low or 0) < (plain.ci_low or 0)
    assert (timed[SPEED].ci_high or 0) > (plain.ci_high or 0)


def _pairs(speed: float, count: int, seed: int = 0) -> list[BlockPair]:
    candidate, reference = blocks(speed, seed), blocks(100.0, seed + 1000)
    return [
        BlockPair(candidate=candidate(), reference=reference(), candidate_first=True)
        for _ in range(count)
    ]


@pytest.mark.parametrize("change", [{MEMORY: 9e8}, {WEIGHTS: 4e8}, {KLD: 0.005}])
def test_trial_that_is_better_in_one_objective_is_not_ended(change: dict[str, float]) -> None:
    look, pairs, _ = measure(trial(known(**change)), 50.0)
    assert (look.notes, pairs) == ([], SETTINGS.max_pairs)


def test_trial_as_fast_is_not_ended_though_it_needs_more_memory() -> None:
    look, pairs, _ = measure(trial(known(**{MEMORY: 2e9})), 121.0)
    assert (look.notes, pairs) == ([], SETTINGS.max_pairs)


def test_slower_trial_is_beaten_in_what_is_better_beyond_noise() -> None:
    look, _, _ = measure(trial(known(**{MEMORY: 2e9, WEIGHTS: 5.001e8})), 80.0)
    assert look.notes[0].endswith(f"better in {SPEED}, {MEMORY}"), "weights tie at 0.1 %"


def test_losses_under_the_baselines_own_noise_are_ties() -> None:
    floor = exact(kld_self_floor_nats=0.02)
    other = known(**{KLD: 0.012})
    look, _, _ = measure(trial(other, baseline=BASELINE | floor), 80.0)
    assert look.notes
    look, _, _ = measure(trial(known(), rivals=rival(**{KLD: 0.012})), 80.0)
    assert look.notes == []


@pytest.mark.parametrize(
    ("fields", "metrics"),
    [
        ({"settings": SETTINGS.model_copy(update={"racing": False})}, known()),
        ({"rivals": {}}, known()),
        ({"objectives": (*OBJECTIVES, "energy_per_output_token_joules")}, known()),
        ({"objectives": (*OBJECTIVES, "ttft_p90_seconds")}, known()),
        ({"rivals": {3: {SPEED: (120.0, 119.0, 121.0)}}}, known()),
        ({}, exact(**{WEIGHTS: 5e8, KLD: 0.01})),
    ],
    ids=["switched off", "no rivals", "energy", "percentile", "rival lacks one", "no peak"],
)
def test_trial_is_not_raced_where_something_might_save_it(
    fields: dict[str, Any], metrics: Metrics
) -> None:
    look, pairs, _ = measure(trial(metrics, **fields), 50.0)
    assert (look.notes, pairs) == ([], SETTINGS.max_pairs)


def test_trial_without_the_baseline_beside_it_is_not_raced() -> None:
    under_way = trial(known())
    under_way.alone = True
    assert measure(under_way, 50.0)[1] == SETTINGS.max_pairs


def test_broken_limit_on_speed_ends_a_trial_by_the_interval_for_looks() -> None:
    under_way = trial(known(), rivals={}, constraints=(f"{SPEED}>=120",))
    look, pairs, timed = measure(under_way, 80.0)
    assert (look.notes, pairs) == ([], 7)
    assert under_way.is_violated(timed)
    kept = trial(known(), rivals={}, constraints=(f"{SPEED}>=80",))
    assert measure(kept, 80.0)[1] == SETTINGS.max_pairs


def test_peaks_are_asked_for_where_they_can_end_the_trial() -> None:
    assert wants_peaks(trial({}))
    assert not wants_peaks(trial({}, rivals={}))
    assert wants_peaks(trial({}, rivals={}, constraints=(f"{MEMORY}<=1",)))
    assert not wants_peaks(trial({}, objectives=(SPEED, KLD)))
    assert not wants_peaks(trial({}, confirmation=1)), "repetitions are measured whole"
    assert not wants_peaks(trial({}, recipe={})), "and so is the baseline"


def test_what_is_ended_is_dominated_by_the_fronts_own_rule() -> None:
    """Whatever the noise: what ends a trial is the stricter rule."""
    ended = 0
    for seed in range(20):
        look, _, timed = measure(trial(known()), 110.0 + seed % 10, seed)
        if look.notes:
            ended += 1
            (values,) = rival().values()
            theirs = {
                n: Measurement(value=v[0], unit="", ci_low=v[1], ci_high=v[2])
                for n, v in values.items()
            }
            assert dominates(theirs, known() | timed, OBJECTIVES)
    assert 3 < ended < 20


@pytest.mark.parametrize("limits", [(), (f"{SPEED}>=1",)])
def test_trial_as_fast_as_its_rival_is_lost_as_seldom_as_promised(
    limits: Sequence[str],
) -> None:
    """The hardest case: as fast as the worse end of every rival's interval, and equal elsewhere.
    300 simulations have a standard error of 0.9 %."""
    rivals = {n: rival(120.0 + n, width=float(n))[3] for n in range(8)}
    lost = 0
    for seed in range(300):
        under_way = trial(known(), rivals=rivals, constraints=tuple(limits))
        lost += bool(measure(under_way, 120.0, seed)[0].notes)
    assert lost / 300 <= looks.ERROR + 0.01


CURVE = 10
"""Recipes of a simulated study that belong to its front; twice as many are 5 % or more behind."""


def simulated(seed: int, *, racing: bool) -> tuple[int, int]:
    """A study as it goes.

    Returns:
        How many of the curve are not on its front in the end, and how many pairs it took.
    """
    draw = random.Random(seed)
    true = [(100.0 * 1.06**i, 1e9 * 1.1**i) for i in range(CURVE)]
    behind = [(s * draw.uniform(0.5, 0.95), m) for s, m in true * 2]
    everyone = [*enumerate([*true, *behind])]
    draw.shuffle(everyone)
    front: dict[int, Metrics] = {}
    used = 0
    for number, (speed, memory) in everyone:
        rivals = {n: _values(m) for n, m in front.items()} if racing else {}
        before = known(**{MEMORY: memory})
        _, pairs, timed = measure(trial(before, rivals=rivals), speed, 1000 * seed + number)
        mine, used = before | timed, used + pairs
        if not any(dominates(m, mine, OBJECTIVES) for m in front.values()):
            front = {n: m for n, m in front.items() if not dominates(mine, m, OBJECTIVES)}
            front[number] = mine
    return CURVE - sum(number < CURVE for number in front), used


def test_members_of_a_front_are_kept_however_many_trials_are_measured() -> None:
    """Racing loses hardly more of the curve than noise takes from whole measurements."""
    raced = [simulated(seed, racing=True) for seed in range(6)]
    whole = [simulated(seed, racing=False) for seed in range(6)]
    lost, lost_anyway = (sum(n for n, _ in runs) for runs in (raced, whole))
    assert lost - lost_anyway <= 0.02 * 6 * CURVE
    assert all(used < 0.85 * every for (_, used), (_, every) in zip(raced, whole, strict=True))


def _values(metrics: Metrics) -> dict[str, tuple[float, float, float]]:
    return {
        name: (value, *ends(metrics[name], value))
        for name in OBJECTIVES
        if (value := metrics[name].value) is not None
    }
