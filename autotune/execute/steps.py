"""The steps of a trial, in the order of its life."""

from __future__ import annotations

import os

from autotune import constraints, roof
from autotune.bench.protocol import PROBE_SECONDS, Operation, Reply, item_file, reference_files
from autotune.energy import energy_source, idle_power
from autotune.errors import BenchError
from autotune.execute.beside import Beside, baseline_of
from autotune.execute.contention import ContentionRecorder
from autotune.execute.grade import drift_ratio, graded, lost_speed_ratio
from autotune.execute.paired import alternate
from autotune.execute.racing import Looks, wants_peaks
from autotune.execute.session import BenchSession
from autotune.execute.trial import TrialUnderWay
from autotune.execute.warm import WarmSessions, ask, session_log
from autotune.messages import TrialSpec
from autotune.metrics import METRICS, Family


class TrialSteps:
    """Carries a trial through bench sessions; what it learns goes into the trial."""

    def __init__(self, sessions: WarmSessions, beside: Beside) -> None:
        self._sessions = sessions
        self._beside = beside

    def run(self, trial: TrialUnderWay) -> None:
        """Prepares, scores and measures.

        Raises:
            Stop: The trial is over before its end.
            Unsupported: The recipe cannot work here.
            BenchError: The candidate failed.
            ReferenceLost: The baseline's session failed.
        """
        spec = trial.spec
        if spec.baseline is None and self._sessions.is_empty:
            _measure_idle_power(trial)
        with trial.phase("prepare"):
            if spec.confirmation:
                # Both of its processes are new: while one imports, so does the other.
                self._sessions.begin("candidate", spec)
                self._beside.begin(trial)
            candidate = self._candidate(trial)
        trial.stop_if_violated()
        if spec.known_accuracy is not None:
            trial.metrics |= spec.known_accuracy
        else:
            self._score(trial, candidate)
        trial.stop_if_violated()
        with trial.phase("warmup"):
            trial.learn(_ask(trial, candidate, Operation.WARMUP))
            if wants_peaks(trial):
                trial.learn(ask(candidate, Operation.PEAKS, spec))
        trial.stop_if_violated()
        self._measure(trial, candidate)
        trial.stop_if_violated()
        with trial.phase("measure"):
            self._measure_tails(trial, candidate)
            trial.learn(ask(candidate, Operation.MEMORY, spec))
        self._measure_energy(trial, candidate)

    def run_tasks(self, trial: TrialUnderWay) -> None:
        """In a process of its own, since lm-eval's memory would count as the model's; after the
        baseline's if it is not known which items that has right."""
        spec = trial.spec
        known = all(item_file(spec, task).exists() for task in spec.workload.tasks)
        if spec.recipe and not known:
            with trial.phase("baseline"):
                session, _ = self._sessions.get("reference", baseline_of(spec))
                ask(session, Operation.TASKS, spec)
                self._sessions.drop("reference")
        with trial.phase("prepare"):
            candidate = self._candidate(trial)
        with trial.phase("tasks"):
            trial.learn(ask(candidate, Operation.TASKS, spec))
        self._sessions.drop("candidate")

    def _candidate(self, trial: TrialUnderWay) -> BenchSession:
        trial.warm = self._sessions.is_warm("candidate", trial.spec)
        trial.log = str(session_log(trial.spec, "candidate"))  # it may fail before it is a session
        with trial.applied():
            session, reply = self._sessions.get("candidate", trial.spec)
        trial.log = str(session.log)
        trial.learn(reply)
        trial.environment |= reply.environment
        return session

    def _score(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        if lacks_reference(trial.spec):
            with trial.phase("baseline"):
                self._beside.ask_reference(Operation.SCORE, trial.spec)
        with trial.phase("score"):
            reply = ask(candidate, Operation.SCORE, trial.spec)
        trial.learn(reply)
        trial.stop_if_violated(
            next((m.source for m in reply.metrics.values() if not m.converged), "")
        )

    def _measure(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        spec = trial.spec
        headline = speed_headline(spec.objectives, spec.model.task)
        with trial.phase("baseline"):
            beside = self._measure_roof(trial, self._beside.start(trial))
            pids = [*candidate.pids, *beside.pids]
        looks = Looks(trial)
        recorder = ContentionRecorder(spec.device)
        before = recorder.read(pids)
        with trial.phase("measure"):
            trial.pairs = alternate(
                lambda: _ask(trial, candidate, Operation.BLOCK).values,
                lambda: self._beside.block(trial),
                spec.settings,
                headline,
                spec.seed + spec.number,
                lambda pairs: trial.report("measure", f"pair {pairs}"),
                looks.lost,
            )
        seen = recorder.between(before, recorder.read(pids), [*pids, os.getpid()])
        drift = drift_ratio(trial.pairs, PROBE_SECONDS if trial.alone else headline)
        stored = spec.baseline.get(headline) if spec.baseline and not trial.alone else None
        lost = lost_speed_ratio(trial.pairs, headline, stored.value if stored else None)
        trial.contention = seen.model_copy(
            update={"drift_ratio": drift, "lost_speed_ratio": lost, "paired": not trial.alone}
        )
        trial.notes += looks.notes
        timed = looks.metrics(trial.pairs)
        trial.metrics |= graded(timed, trial.contention, spec.settings)
        if not spec.confirmation:  # there the first trial's shares follow the new timings
            own = trial.metrics if spec.baseline is None else spec.baseline
            trial.metrics |= roof.utilizations(trial.metrics, own, trial.matmul_format)

    def _measure_roof(self, trial: TrialUnderWay, beside: BenchSession) -> BenchSession:
        """Once per study, with the baseline, in the process whose memory is not measured. It only
        explains: should the process die of it, another one is started.

        Returns:
            The process that is beside the candidate now.
        """
        spec = trial.spec
        if spec.baseline is not None or spec.confirmation:
            return beside
        recorder = ContentionRecorder(spec.device)
        before = recorder.read([beside.pid])
        try:
            found = ask(beside, Operation.ROOF, spec).metrics
        except BenchError as error:
            trial.notes.append(f"the device's rates could not be measured: {error.explanation}")
            self._sessions.drop("reference")
            return self._beside.start(trial)
        seen = recorder.between(before, recorder.read([beside.pid]), [beside.pid, os.getpid()])
        rates = {name: rate for name, rate in found.items() if rate.stat == "best"}
        trial.metrics |= found | graded(rates, seen, spec.settings)
        return beside

    def _measure_tails(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        assert trial.contention is not None
        found = ask(candidate, Operation.PERCENTILES, trial.spec).metrics
        trial.metrics |= graded(found, trial.contention, trial.spec.settings)

    def _measure_energy(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        if not _energy_source(trial.spec):  # the answer comes at once, and says why
            trial.learn(ask(candidate, Operation.ENERGY, trial.spec))
        elif _wants_energy(trial.spec):
            with trial.phase("energy"):
                trial.learn(_ask(trial, candidate, Operation.ENERGY))


def _ask(trial: TrialUnderWay, candidate: BenchSession, operation: Operation) -> Reply:
    """Asks for what is timed, with the recipe's settings of the device: they hold for nothing that
    runs beside it."""
    with trial.applied():
        return ask(candidate, operation, trial.spec)


def lacks_reference(spec: TrialSpec) -> bool:
    """Whether the baseline must be scored before this recipe can be."""
    return bool(spec.recipe) and not all(file.exists() for file in reference_files(spec))


def _wants_energy(spec: TrialSpec) -> bool:
    limits = [c.metric for c in constraints.parse_all(spec.constraints)]
    return any(METRICS[n].family is Family.ENERGY for n in (*spec.objectives, *limits))


def _energy_source(spec: TrialSpec) -> str:
    return energy_source(spec.device, spec.settings.cpu_watts_per_core)[0]


def _measure_idle_power(trial: TrialUnderWay) -> None:
    """Once in a study, with the baseline, before anything is started."""
    spec = trial.spec
    if _wants_energy(spec) and not spec.recipe and not spec.confirmation:
        with trial.phase("energy"):
            settings = spec.settings
            trial.metrics |= idle_power(
                spec.device, settings.cpu_watts_per_core, settings.energy_window_seconds
            )


def speed_headline(objectives: tuple[str, ...], task: str) -> str:
    """The speed metric whose interval decides how long to measure."""
    for name in objectives:
        if METRICS[name].family is Family.SPEED:
            return name
    return "output_tokens_per_second" if task == "causal-lm" else "samples_per_second"
