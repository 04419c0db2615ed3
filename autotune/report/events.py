"""What happened in a study between two looks: for those who watch it from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from autotune.outcome import Outcome
from autotune.recipe import describe
from autotune.report.format import phase_words
from autotune.store.records import StudyState, TrialState
from autotune.store.watch import Look, SeenPhase, SeenTrial


class StudyEvent(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """``state``, ``trial``, ``phase`` or ``repetitions``."""
    data: dict[str, Any]


def events(before: Look | None, after: Look) -> Iterator[StudyEvent]:
    """What is new.

    Args:
        before: The look before; None tells everything that was there already.
        after: The look now.
    """
    if before is None or before.state is not after.state:
        yield _event("state", state=after.state.value, reason=after.convergence_reason)
    known = {trial.number: trial for trial in before.trials} if before else {}
    for trial in after.trials:
        if known.get(trial.number) != trial:
            yield _trial(trial)
    if after.repetitions and (before is None or before.repetitions != after.repetitions):
        yield _event("repetitions", done=after.repetitions)
    if after.state is StudyState.RUNNING:
        yield from _phases(before, after)


def _phases(before: Look | None, after: Look) -> Iterator[StudyEvent]:
    known = before.phases if before else ()
    for phase in after.phases:
        if phase not in known and _goes_on(phase, after):
            yield StudyEvent(kind="phase", data=phase.model_dump(mode="json"))


def _goes_on(phase: SeenPhase, look: Look) -> bool:
    """What was said by a trial that is not over; or by a repetition, when all trials are."""
    running = {t.number for t in look.trials if t.state is TrialState.RUNNING}
    ends = [t.finished_at for t in look.trials if t.finished_at]
    repeated = not running and bool(ends) and phase.updated_at > max(ends)
    return phase.number in running or repeated


def _trial(trial: SeenTrial) -> StudyEvent:
    data = trial.model_dump(mode="json", exclude={"explanation"})
    if trial.outcome not in (None, Outcome.OK):
        data["explanation"] = (trial.explanation or "").strip()
    return StudyEvent(kind="trial", data={**data, "words": describe(trial.recipe)})


def _event(kind: str, **data: Any) -> StudyEvent:
    return StudyEvent(kind=kind, data=data)


def line(event: StudyEvent) -> str:
    """An event for a person, in one line.

    Args:
        event: From ``events``.
    """
    data = event.data
    if event.kind == "state":
        return f"study {data['state']}" + (f": {data['reason']}" if data["reason"] else "")
    if event.kind == "phase":
        return f"#{data['number']} {phase_words(data['phase'], data['detail'])}"
    if event.kind == "repetitions":
        return f"{data['done']} repetitions in fresh processes are stored"
    ended = data["outcome"] or "running"
    why = (data.get("explanation") or "").splitlines()
    return f"#{data['number']} {data['words']}: {ended}" + (f": {why[0]}" if why else "")
