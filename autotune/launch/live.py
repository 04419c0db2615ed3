"""What a running search shows: a live panel on a terminal, one line per trial elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.spinner import Spinner
from rich.text import Text

from autotune.constraints import parse_all
from autotune.execute.racing import ENDED_EARLY
from autotune.front import FrontPoint, RunningFront, bounds_of, front, front_points
from autotune.launch.heartbeat import Heartbeat
from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.metrics import Family
from autotune.outcome import Outcome
from autotune.recipe import Recipe, describe
from autotune.report.format import counted, duration, measured, phase_words
from autotune.report.summary import StudySummary
from autotune.search.budget import Clock
from autotune.search.observer import Observer
from autotune.search.past import Past
from autotune.search.plan import Plan
from autotune.store.records import StudyRecord, TrialRecord


class LiveDisplay(Observer):
    """Shows current recipe and phase, counts, front, hypervolume and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heart = Heartbeat(console)
        self._lock = threading.Lock()
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._front: RunningFront | None = None
        self._baseline: TrialRecord | None = None
        self._hypervolume = 0.0
        self._next_volume = 0.0
        self._counts: Counter[Outcome] = Counter()
        self._running: dict[int, str] = {}
        self._phases: dict[int, str] = {}
        self._status = ""
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        self._task = self._bar.add_task("trials")
        self._begun = time.monotonic()
        self._before = 0
        self._clock: Clock | None = None
        self._shares_before: list[float] = []
        self._second_chance = ""
        """What becomes of a disturbed baseline, after what is said of it."""
        self._confirming = 0
        self._since = 0.0

    def __enter__(self) -> LiveDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def on_started(self, plan: Plan, past: Past, clock: Clock) -> None:
        """Says what is about to happen."""
        self._counts += past.outcomes
        self._baseline = past.baseline
        self._front = _front(plan.objectives, plan.study.constraints, past.whole)
        self._before = self._counts.total()
        self._clock, self._shares_before = clock, clock.shares(self._before)
        self._say(
            f"study [bold]{escape(plan.name)}[/]: {escape(plan.model.name)} on "
            f"{escape(plan.device.name)}, {counted(len(plan.registry.plugins), 'plugin')}, "
            f"{counted(len(plan.pool.recipes), 'recipe')}, budget {clock.describe()}"
            f"{_repetitions(plan)}"
        )
        for recipe in _untried(plan, past):
            self._say(f"right after the baseline: {escape(str(recipe))}")
        self._say(f"objectives: {', '.join(plan.objectives)}")
        if plan.constraints:
            self._say(f"constraints: {', '.join(escape(str(c)) for c in plan.constraints)}")
        for note in plan.notes:
            self._say(f"[yellow]note:[/] {escape(note)}")
        if self._before:
            self._say(f"going on after {_trials(self._before)}")
        else:
            self._say("measuring the baseline first: all others are compared with it")
        if plan.study.confirm.processes:
            self._second_chance = ", or let it go on: it is measured again at the end"
        self._say("[green]*[/] marks trials that are on the front so far")
        self._bar.update(self._task, completed=max(self._shares_before), total=1.0)

    def on_confirming(self, count: int) -> None:
        """Repetitions begin."""
        repeated = counted(count, "repetition")
        if self._confirming:
            self._say(f"these changed what the result rests on: {repeated} more")
        else:
            self._say(f"confirming the result in fresh processes: {repeated}")
        self._confirming, self._since = count, time.monotonic()

    def on_confirmed(self, result: TrialResult, left: int) -> None:
        """A repetition is in; one that failed is said."""
        if result.outcome is not Outcome.OK:
            self._say(f"[yellow]repetition of #{result.number}:[/] {_why(result)}")
        done = self._confirming - left
        left_seconds = (time.monotonic() - self._since) / done * left
        soon = f", about {duration(left_seconds)} left" if left else ""
        self._show_done(f"confirming: {done} of {self._confirming} repetitions done{soon}", done)

    def _show_done(self, status: str, done: int) -> None:
        quarters = [4 * count // self._confirming for count in (done - 1, done)]
        if not self._console.is_terminal and quarters[0] < quarters[1]:
            self._say(status)
        with self._lock:
            self._status = status
            self._bar.update(self._task, completed=done / self._confirming, total=1.0)
            self._phases.clear()
        self._refresh()

    def on_judging(self, count: int) -> None:
        """The tasks begin."""
        outputs = "1 recipe" if count == 1 else f"{count} recipes of different outputs"
        self._say(f"running the study's tasks for {outputs}")
        self._confirming = count

    def on_judged(self, result: TrialResult, left: int) -> None:
        """The tasks were run for one output; a failure is said."""
        if not result.tasks:
            self._say(f"[yellow]tasks of #{result.number} failed:[/] {_why(result)}")
        done = self._confirming - left
        self._show_done(f"tasks: {done} of {self._confirming} runs done", done)

    def on_stopped(self, reason: str, begun: int) -> None:
        """Says so where there was nothing to do."""
        if not begun:
            self._say(
                f"nothing to do: {reason} reached already, {_trials(self._before)}; "
                "to go on, give a larger --trials (in all), --minutes (of this run) or "
                "--patience, or raise the budget in the study file"
            )

    def on_trial_started(self, spec: TrialSpec) -> None:
        """A recipe begins."""
        with self._lock:
            self._running[spec.number] = describe(spec.recipe)
        self._refresh()

    def on_progress(self, progress: Progress) -> None:
        """A phase begins; called by the executor's thread."""
        with self._lock:
            self._phases[progress.number] = phase_words(progress.phase, progress.detail)
            recipe = self._running.get(progress.number)
            number = f"#{progress.number}"
            self._heart.beat(
                progress, f"{number} {recipe}:" if recipe else f"repetition: {number}"
            )
        self._refresh()

    def on_trial_finished(self, study: StudyRecord, trial: TrialRecord) -> None:
        """A result is in: one line, and new totals."""
        if not trial.recipe:
            self._baseline = trial
        shown = {t.number: t for t in (self._baseline, trial) if t is not None}
        summary = StudySummary.of(study, shown.values())
        if self._front is None:
            self._front = _front(study.objectives, study.constraints)
        point = summary.by_number.get(trial.number)
        on_front = point is not None and self._front.add(point)
        self._count(trial)
        with self._lock:
            self._running.pop(trial.number, None)
            self._phases.pop(trial.number, None)
            self._status = self._totals(self._front)
        self._say(_line(trial, summary, on_front))
        if not trial.recipe:
            for warning in summary.warnings:
                self._say(f"  [yellow]{escape(warning)}{self._second_chance}[/]")
        self._refresh()

    def _count(self, trial: TrialRecord) -> None:
        if trial.result is not None:
            self._counts[trial.result.outcome] += 1

    def _volume(self, front: RunningFront) -> float:
        """Takes a twentieth of the time at most, and none where it is not shown."""
        begun = time.monotonic()
        if self._console.is_terminal and begun >= self._next_volume:
            self._hypervolume = front.hypervolume()
            now = time.monotonic()
            self._next_volume = now + 20 * (now - begun)
        return self._hypervolume

    def _totals(self, front: RunningFront) -> str:
        counts, finished = self._counts, self._counts.total()
        failed = finished - counts[Outcome.OK] - counts[Outcome.INFEASIBLE]
        spent = time.monotonic() - self._begun
        shares = self._clock.shares(finished) if self._clock else [0.0]
        left = self._seconds_left(shares, spent)
        self._bar.update(self._task, completed=max(shares), total=1.0)
        return (
            f"{finished} done · {counts[Outcome.INFEASIBLE]} infeasible · {failed} failed · "
            f"front {front.size} · hypervolume {self._volume(front):.3f} · "
            f"{duration(spent)} so far, about {duration(left)} left"
        )

    def _seconds_left(self, shares: Sequence[float], spent: float) -> float:
        """Until the first limit is reached, if all go on as in this run."""
        grown = [(now, now - then) for now, then in zip(shares, self._shares_before, strict=False)]
        return min((spent * (1 - now) / done for now, done in grown if done > 0), default=0.0)

    def _say(self, markup: str) -> None:
        self._console.print(Text.from_markup(markup), soft_wrap=True, highlight=False)
        self._heart.said()

    def _refresh(self) -> None:
        if self._console.is_terminal:
            self._live.update(self._panel())

    def _panel(self) -> RenderableType:
        with self._lock:
            rows: list[RenderableType] = [
                Spinner("dots", Text(f"#{n} {recipe} {self._phases.get(n, 'begins')}"))
                for n, recipe in self._running.items()
            ]
            rows += [
                Spinner("dots", Text(f"repetition: #{n} {phase}"))
                for n, phase in self._phases.items()
                if n not in self._running
            ]
            return Group(*rows, Text(self._status), self._bar)


def _repetitions(plan: Plan) -> str:
    """What follows after the budget is used up."""
    confirm = plan.study.confirm
    if not confirm.processes:
        return ""
    times = "once" if confirm.processes == 1 else f"{confirm.processes} times"
    return f", then the baseline and the {confirm.points} {times} more in fresh processes"


def _front(
    objectives: Sequence[str], constraints: Sequence[str], trials: Sequence[TrialRecord] = ()
) -> RunningFront:
    found = RunningFront(objectives, bounds_of(constraints))
    points = front_points(trials, parse_all(constraints))
    found.add_all(point for point in points if point.is_baseline)
    found.add_all(point for point in front(points, objectives) if not point.is_baseline)
    return found


def _trials(count: int) -> str:
    return f"{count} finished trial" if count == 1 else f"{count} finished trials"


def _figures(point: FrontPoint, summary: StudySummary) -> Iterator[str]:
    for kind in summary.columns:
        found = point.metrics.get(kind.name)
        if found is not None and found.value is not None and kind.family is not Family.ACCURACY:
            yield f"{kind.label} {measured(kind.name, found)}"


def _why(result: TrialResult) -> str:
    """Why a trial gave no numbers, in one line; some libraries explain themselves in fifty."""
    first, *more = result.explanation.strip().splitlines() or [""]
    return escape(f"{result.outcome}: {first}" + (f" (more in {result.log})" if more else ""))


def _line(trial: TrialRecord, summary: StudySummary, on_front: bool) -> str:
    """One trial in words, with the baseline that it is compared with in the summary."""
    result = trial.result
    assert result is not None
    point = summary.by_number.get(trial.number)
    words = summary.against_baseline(point) if point and trial.recipe else ""
    if point and not trial.recipe:
        words = ", ".join(_figures(point, summary))
    if result.outcome is not Outcome.OK:
        words = f"[yellow]{_why(result)}[/]"
    words += "".join(f", {escape(note)}" for note in result.notes if note.startswith(ENDED_EARLY))
    for fallback in result.fallbacks:
        words += f" [yellow]fallback:[/] {escape(fallback)}"
    star = "[green]*[/] " if on_front else "  "
    return f"{star}#{trial.number} {escape(describe(trial.recipe))}: {words}"


def _untried(plan: Plan, past: Past) -> list[Recipe]:
    """Of the recipes that are to be tried first those that were not."""
    tried = set(past.recipes) if plan.try_first else set()
    return [recipe for recipe in plan.try_first if recipe not in tried]
