"""The ask-measure-tell loop: safe to kill at any moment, and to go on with."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from autotune.errors import AutotuneError, Interrupted
from autotune.execute.base import Executor, OnProgress
from autotune.messages import TASK_RUN, Metrics, TrialResult
from autotune.outcome import Outcome
from autotune.recipe import Recipe
from autotune.search.budget import Clock
from autotune.search.confirm import Repetition, confirmation_spec, repetitions, task_spec, unjudged
from autotune.search.ledger import Ledger
from autotune.search.observation import Observation
from autotune.search.observer import Observer
from autotune.search.past import Past, without_collecting
from autotune.search.patience import Patience
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.search.quantity import quantities_of
from autotune.search.rivals import RivalFront
from autotune.search.sampler import PoolSampler, make_chooser
from autotune.search.single import make_spec
from autotune.search.spending import Spending
from autotune.search.warm_start import Earlier, find_earlier
from autotune.store.lock import StudyLock, study_lock
from autotune.store.records import StudyRecord, StudyState, TrialRecord
from autotune.store.rows import finished_record
from autotune.store.store import Store

MAX_ATTEMPTS = 3
"""A trial on this machine during which the coordinator died so often is given up as lost."""

_CONFIRMATION_PASSES = 3
"""How often confirmed numbers may make new picks that have to be confirmed themselves."""

MakeExecutor = Callable[[OnProgress], Executor]


class Search:
    """One run of a study, from its first or next trial until a reason to stop."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        url: str,
        make_executor: MakeExecutor,
        observer: Observer,
        lock: StudyLock | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
    ) -> None:
        """
        Args:
            plan: What to search.
            store: Where trials are kept.
            url: Of the same database, for Optuna.
            make_executor: Makes what carries the trials.
            observer: Told what happens.
            lock: Keeps other coordinators out; by default the study's.
            max_attempts: A trial during which so many coordinators died is lost; None where trials
                run on other machines and cannot have been the reason.
        """
        code = PoolCode(plan.pool.recipes, plan.registry.plugins)
        earlier = _find_earlier(plan, store, code)
        self._plan = plan = replace(plan, notes=(*plan.notes, *filter(None, [earlier.note])))
        self._store = store
        self._lock = lock or study_lock(url, plan.name, store.patience_seconds)
        self._observer = observer
        self._make_executor = make_executor
        self._max_attempts = math.inf if max_attempts is None else max_attempts
        self._clock = _clock_of(plan)
        plan.directory.mkdir(parents=True, exist_ok=True)
        # After a resume the draws must not repeat those of the first run.
        seed = (plan.study.seed + 1000 * store.trial_count(plan.name)) % 2**32
        quantities = quantities_of(plan.objectives, plan.constraints)
        chooser = make_chooser(
            plan.study.sampler,
            code,
            quantities,
            plan.model_config,
            seed,
            earlier.observations,
            plan.memory,
            len(plan.try_first),
        )
        self._sampler = PoolSampler(code, chooser, plan.try_first)
        self._ledger = Ledger(plan, store, url, code)
        self._begun = 0
        self._running: dict[int, TrialRecord] = {}
        self._latest: TrialRecord | None = None
        """The latest trial that was measured: its process may be there still."""
        self._baseline: Metrics | None = None
        self._front = RivalFront(plan)

    def run(self) -> StudyRecord:
        """Runs until the budget or the pool is used up.

        Raises:
            InputError: Another process runs this study.
            Interrupted: Ctrl-C or SIGTERM; running trials are repeated by the next run.
            AutotuneError: The baseline itself cannot be measured.
        """
        self._lock.acquire()
        try:
            return self._run_locked()
        finally:
            self._ledger.close()
            self._lock.release()

    def _run_locked(self) -> StudyRecord:
        name = self._plan.name
        # Those of earlier runs stay: what was measured elsewhere is still there.
        study = self._study = self._store.study(name)
        notes = tuple(dict.fromkeys((*study.notes, *self._plan.notes)))
        # Why the latest run ended says nothing of this one.
        self._store.update_study(
            name, state=StudyState.RUNNING, notes=notes, convergence_reason=""
        )
        try:
            reason = self._run_trials()
        except KeyboardInterrupt as interrupt:
            self._store.update_study(name, state=StudyState.INTERRUPTED)
            self._store.give_back_attempts(name)
            raise Interrupted(
                "stopped; every finished trial is kept, the one that ran is measured again"
            ) from interrupt
        except BaseException:
            self._store.update_study(name, state=StudyState.INTERRUPTED)
            raise
        # A run that had nothing to do does not change why the search ended.
        ended = reason if self._begun else study.convergence_reason or reason
        self._store.update_study(name, state=StudyState.FINISHED, convergence_reason=ended)
        self._observer.on_stopped(reason, self._begun)
        return self._store.study(name)

    def _run_trials(self) -> str:
        """Runs until there is a reason to stop, and returns it."""
        begun, waiting = self._take_up()
        with closing(self._make_executor(self._observer.on_progress)) as executor:
            reason = self._loop(executor, begun, waiting)
            self._confirm(executor)
            self._judge(executor)
        return reason

    def _take_up(self) -> tuple[int, deque[TrialRecord]]:
        """Goes on where the latest run ended. What it reads is not kept: blocks are long.

        Returns:
            How many trials were begun, and which of them are run again.
        """
        running = self._store.running_trials(self._plan.name)
        with without_collecting():
            past = Past(self._plan, self._store)
            past.count(self._clock)
            self._sampler.take(Recipe.from_dict(trial.recipe) for trial in running)
            self._sampler.observe_all(past.recipes, past.observations())
        self._observer.on_started(self._plan, past, self._clock)
        self._baseline = past.baseline_metrics
        self._front.take(past.whole)
        begun = {*past.trials.numbers, *(trial.number for trial in running)}
        return len(begun), self._reconcile(running, begun)

    def _reconcile(self, running: Sequence[TrialRecord], begun: set[int]) -> deque[TrialRecord]:
        """Takes up the trials that ran when the coordinator died.

        Args:
            running: Those that have no result.
            begun: Numbers of all trials.

        Returns:
            Those that are run again under their number.
        """
        for number in self._ledger.open_trials():
            if number not in begun:
                self._ledger.give_up(number)
            elif result := self._store.trial(self._plan.name, number).result:
                self._ledger.tell(result)  # an older version told it afterwards
        again: deque[TrialRecord] = deque()
        for trial in running:
            if trial.recipe and trial.attempts >= self._max_attempts:
                self._finish(trial, _lost(trial))
            else:
                again.append(trial)
        return again

    def _loop(self, executor: Executor, begun: int, waiting: deque[TrialRecord]) -> str:
        running = 0
        while True:
            reason = self._clock.stop_reason(begun, self._sampler.left)
            while running < self._slots(executor) and (waiting or not reason):
                if waiting:
                    self._start(executor, *self._ledger.begin_again(waiting.popleft()))
                else:
                    self._start(executor, *self._ledger.begin(self._choose(executor)))
                    begun += 1
                running += 1
                reason = self._clock.stop_reason(begun, self._sampler.left)
            if running == 0:
                return reason
            result = executor.wait()
            self._finish(self._running.pop(result.number), result)
            running -= 1

    def _confirm(self, executor: Executor) -> None:
        """Repeats what the result rests on in fresh processes. New numbers may make new picks,
        which are then repeated too."""
        for _ in range(_CONFIRMATION_PASSES):
            missing = repetitions(self._plan, self._store.trials(self._plan.name, blocks=False))
            if not missing:
                return
            self._observer.on_confirming(len(missing))
            self._repeat(executor, missing)

    def _repeat(self, executor: Executor, missing: Sequence[Repetition]) -> None:
        name = self._plan.name
        baseline = next(t for t in self._store.trials(name, blocks=False) if not t.recipe)
        running: dict[int, int] = {}
        waiting = deque(missing)
        while waiting or running:
            while waiting and len(running) < executor.slots:
                number, trial = waiting[0]
                if trial.number in running:  # never beside itself
                    break
                executor.submit(confirmation_spec(self._plan, waiting.popleft(), baseline))
                running[trial.number] = number
            result = executor.wait()
            self._lock.keep()
            self._store.confirm_trial(name, running.pop(result.number), result)
            self._observer.on_confirmed(result, len(waiting) + len(running))

    def _judge(self, executor: Executor) -> None:
        """Runs the study's tasks for what the result rests on. The baseline comes first: without
        its items there are no pairs. A run that failed is not kept: the next one tries again."""
        groups = unjudged(self._plan, self._store.trials(self._plan.name, blocks=False))
        if groups:
            self._observer.on_judging(len(groups))
        for i, group in enumerate(groups):
            runs = (t.confirmations.get(TASK_RUN) for t in group)
            result = next(filter(None, runs), None) or self._run_tasks(executor, group[0])
            for trial in group if result.tasks else ():
                # They share the answers, and not what else was seen of the process.
                own = {"number": trial.number, "fallbacks": (), "notes": ()}
                run = result.model_copy(update=own)
                self._store.confirm_trial(self._plan.name, TASK_RUN, run)
            self._observer.on_judged(result, len(groups) - 1 - i)
            if not group[0].recipe and not result.tasks:
                return

    def _run_tasks(self, executor: Executor, trial: TrialRecord) -> TrialResult:
        executor.submit(task_spec(self._plan, trial))
        return executor.wait()

    def _slots(self, executor: Executor) -> int:
        """The baseline is measured before anything runs beside it."""
        return executor.slots if self._baseline is not None else 1

    def _choose(self, executor: Executor) -> Recipe:
        """The next recipe; the sampler is told whose prepared process is there."""
        latest = self._latest
        warm = latest is not None and executor.warm_setup() == latest.setup_key
        self._sampler.warm = Recipe.from_dict(latest.recipe) if latest and warm else None
        return self._sampler.next_recipe()

    def _learn(self, recipe: Recipe, result: TrialResult) -> None:
        self._sampler.observe(recipe, Observation.of(result, self._plan.constraints))

    def _start(self, executor: Executor, trial: TrialRecord, known: Metrics | None) -> None:
        self._running[trial.number] = trial
        spec = make_spec(
            self._plan,
            trial.number,
            Recipe.from_dict(trial.recipe),
            baseline=self._baseline,
            known_accuracy=known,
            rivals=self._front.rivals() if self._plan.study.measure.racing else None,
        )
        self._begun += 1
        self._observer.on_trial_started(spec)
        executor.submit(spec)

    def _finish(self, trial: TrialRecord, result: TrialResult) -> None:
        """Keeps a result, and says so."""
        self._lock.keep()
        if not trial.recipe:
            self._accept_baseline(result)
        finished = finished_record(trial, result)
        self._clock.add(finished, self._plan.gpus(trial.recipe))
        self._ledger.finish(trial, result)
        self._learn(Recipe.from_dict(trial.recipe), result)
        self._latest = trial
        self._front.take([finished])
        self._observer.on_trial_finished(self._study, finished)

    def _accept_baseline(self, result: TrialResult) -> None:
        """Nothing can be compared without the baseline: its failure ends the search.

        Its result is then not stored, so that a resume measures it again.
        """
        if result.outcome not in (Outcome.OK, Outcome.INFEASIBLE) or not result.blocks:
            raise AutotuneError(
                f"the baseline cannot be measured ({result.outcome}): {result.explanation}; see "
                f"{result.log or 'the log'}, mend it and go on with --resume"
            )
        self._baseline = result.metrics


def _find_earlier(plan: Plan, store: Store, code: PoolCode) -> Earlier:
    wanted = plan.study.warm_start and plan.study.sampler == "autotune"
    return find_earlier(plan, store, code) if wanted else Earlier()


def _clock_of(plan: Plan) -> Clock:
    budget, patience = plan.study.budget, None
    if budget.patience_trials is not None:
        ratio = budget.patience_growth_ratio
        patience = Patience(budget.patience_trials, ratio, plan.objectives, plan.constraints)
    spent = Spending(counts_energy=budget.kwh is not None)
    return Clock(budget, len(plan.pool.recipes), spent, patience)


def _lost(trial: TrialRecord) -> TrialResult:
    return TrialResult(
        number=trial.number,
        outcome=Outcome.LOST,
        explanation=f"the search died {trial.attempts} times while this recipe was running",
    )
