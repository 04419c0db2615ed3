"""Which finished trials are repeated in fresh processes, and in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence

from autotune.front import Candidates, HypervolumeScale, bounds_of, front, front_points, picks
from autotune.messages import TASK_RUN, TrialSpec
from autotune.recipe import Recipe
from autotune.search.plan import Plan
from autotune.search.single import make_spec
from autotune.store.records import TrialRecord

Repetition = tuple[int, TrialRecord]
"""The number of a repetition (from 1 on), and its trial."""


def targets(plan: Plan, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials whose numbers will be looked at: the baseline, the picks, what would be a pick
    if it had not been disturbed, and the front.

    Args:
        plan: The search; its study file says whether the front is wanted.
        trials: All its trials, with the repetitions they have.
    """
    points = front_points(trials, plan.constraints)
    baseline = next((p for p in points if p.is_baseline), None)
    if baseline is None:
        return []
    best = front(points, plan.objectives)
    bounds = bounds_of(plan.study.constraints)
    scale = HypervolumeScale.of(baseline.metrics, plan.objectives, bounds)
    chosen = [
        point
        for among in (Candidates.CONFIRMED, Candidates.WORTH_CONFIRMING)
        for point in picks(best, plan.objectives, scale, baseline=baseline, among=among).values()
    ]
    if plan.study.confirm.points == "front":
        chosen += best
    if not chosen:  # nothing keeps the constraints: there is no result to confirm
        return []
    numbers = dict.fromkeys([baseline.number, *(p.number for p in chosen)])
    by_number = {trial.number: trial for trial in trials}
    return [by_number[number] for number in numbers]


def repetitions(plan: Plan, trials: Sequence[TrialRecord]) -> list[Repetition]:
    """What is still to be repeated: round by round, each round in its own random order, so that
    no recipe has the quiet hours for itself.

    Args:
        plan: The search.
        trials: All its trials, with the repetitions they have.
    """
    wanted = targets(plan, trials)
    order = random.Random(plan.study.seed)
    missing: list[Repetition] = []
    for number in range(1, plan.study.confirm.processes + 1):
        shuffled = order.sample(wanted, len(wanted))
        missing += [(number, trial) for trial in shuffled if number not in trial.confirmations]
    return missing


def unjudged(plan: Plan, trials: Sequence[TrialRecord]) -> list[list[TrialRecord]]:
    """The trials whose tasks are still to be run, in groups of one ``output_key``: their outputs
    are the same. The baseline's group is the first, if its run is missing too.

    Args:
        plan: The search; empty without task files.
        trials: All its trials, with the runs of tasks they have.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for trial in targets(plan, trials) if plan.workload.tasks else []:
        groups.setdefault(trial.output_key, []).append(trial)
    return [g for g in groups.values() if any(TASK_RUN not in t.confirmations for t in g)]


def task_spec(plan: Plan, trial: TrialRecord) -> TrialSpec:
    """A run of the tasks as the executor gets it: nothing is timed, nothing is limited."""
    spec = make_spec(plan, trial.number, Recipe.from_dict(trial.recipe))
    return spec.model_copy(update={"tasks_only": True, "constraints": ()})


def confirmation_spec(plan: Plan, repetition: Repetition, baseline: TrialRecord) -> TrialSpec:
    """One repetition as the executor gets it: measured longer, accuracy known.

    Args:
        plan: The search.
        repetition: What is repeated.
        baseline: The study's baseline, finished.
    """
    number, trial = repetition
    assert trial.result is not None
    assert baseline.result is not None
    confirm = plan.study.confirm
    settings = plan.study.measure.model_copy(
        update={
            "target_half_width_ratio": confirm.target_half_width_ratio,
            "max_pairs": max(confirm.max_pairs, plan.study.measure.min_pairs),
        }
    )
    spec = make_spec(
        plan,
        trial.number,
        Recipe.from_dict(trial.recipe),
        baseline=baseline.result.metrics if trial.recipe else None,
        known_accuracy=trial.result.accuracy,
    )
    return spec.model_copy(update={"settings": settings, "confirmation": number})
