"""One device: its lock, and the life of a trial on it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from autotune import constraints, roof
from autotune.bench.protocol import PROBE_SECONDS, Operation, Reply, reference_files
from autotune.device import Device, free_bytes
from autotune.energy import energy_source, idle_power
from autotune.errors import BenchError
from autotune.execute.base import OnProgress
from autotune.execute.contention import ContentionRecorder
from autotune.execute.grade import drift_ratio, graded
from autotune.execute.paired import alternate, speed_metrics
from autotune.execute.session import BenchSession
from autotune.execute.trial import Stop, TrialUnderWay
from autotune.execute.warm import WarmSessions, session_log
from autotune.messages import TrialResult, TrialSpec
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome
from autotune.plugin import Unsupported
from autotune.registry import Registry


def device_lock(device: Device) -> FileLock:
    """Held while a trial measures: one at a time per device, across processes."""
    name = f"autotune-{os.getuid()}-device-{device.uuid or device.kind}.lock"
    return FileLock(Path(tempfile.gettempdir()) / name)


_ROOM_RATIO = 1.2
"""A session takes this many times its weights, at least, where its peak is not known yet."""


class _ReferenceLost(Exception):
    """The baseline's session died; the candidate is not to blame."""


class DeviceSlot:
    """Runs one trial at a time, all on one thread, which must outlive it; ``terminate`` is for
    others.

    It keeps two bench sessions: the baseline's, which every candidate is measured beside, and
    the latest candidate's, which stays warm for recipes with the same ``setup_key``. Where both
    do not fit into memory, a probe of the device takes the baseline's place.
    """

    def __init__(self, registry: Registry, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._sessions = WarmSessions(registry)

    def run(self, spec: TrialSpec) -> TrialResult:
        """Carries one trial to its end, whatever that is."""
        if spec.confirmation:
            self.close()
        trial = TrialUnderWay(spec, self._on_progress)
        try:
            with trial.phase("lock"):
                lock = self._locked(spec.device)
            try:
                self._run_beside_baseline(trial)
            finally:
                lock.release()
        except Stop:
            pass  # the trial holds its outcome
        except Unsupported as error:
            trial.fail(Outcome.UNSUPPORTED, str(error))
        except BenchError as error:
            trial.fail(error.outcome, error.explanation)
            self._sessions.drop("candidate")
        return trial.result()

    def _locked(self, device: Device) -> FileLock:
        """Waits for the device; gives up when the slot is terminated."""
        lock = device_lock(device)
        while True:
            self._sessions.refuse_if_terminated()
            try:
                lock.acquire(timeout=1.0)
                return lock
            except Timeout:
                continue

    def _run_beside_baseline(self, trial: TrialUnderWay) -> None:
        """Runs the trial beside the baseline's session; without it where memory runs out."""
        try:
            self._run(trial)
        except _ReferenceLost as lost:
            if _is_out_of_memory(lost.__cause__) and trial.spec.settings.reference == "auto":
                self._run_alone(trial)
            else:
                self._run_again(trial, lost)
        except BenchError as error:
            if not (_is_out_of_memory(error) and self._baseline_takes_room(trial.spec)):
                raise
            self._run_alone(trial)

    def _baseline_takes_room(self, spec: TrialSpec) -> bool:
        """Whether the candidate might have had more memory without the baseline's session."""
        # A limit of its own is not shared.
        shares = spec.settings.reference == "auto" and spec.settings.memory_limit_bytes is None
        return shares and self._sessions.holds_baseline

    def _run_alone(self, trial: TrialUnderWay) -> None:
        self._sessions.close()
        trial.alone = True
        try:
            if _lacks_reference(trial.spec):
                with trial.phase("baseline"):
                    self._ask_reference(Operation.SCORE, trial.spec)
                self._sessions.close()
            self._run(trial)
        except _ReferenceLost as lost:
            raise BenchError(
                Outcome.CRASHED, f"the baseline's session failed: {lost.__cause__}"
            ) from lost

    def _run_again(self, trial: TrialUnderWay, lost: _ReferenceLost) -> None:
        self._sessions.drop("candidate")
        trial.notes.append(f"started again: the baseline's session failed: {lost.__cause__}")
        try:
            with trial.phase("baseline"):
                self._reference(trial.spec)
            self._run(trial)
        except _ReferenceLost as again:
            raise BenchError(
                Outcome.CRASHED,
                f"the baseline's session beside it failed twice: {again.__cause__}",
            ) from again

    def _run(self, trial: TrialUnderWay) -> None:
        spec = trial.spec
        if spec.baseline is None and not self._sessions:
            _measure_idle_power(trial)
        with trial.phase("prepare"):
            candidate = self._candidate(trial)
        trial.stop_if_violated()
        if spec.known_accuracy is not None:
            trial.metrics |= spec.known_accuracy
        else:
            self._score(trial, candidate)
        trial.stop_if_violated()
        with trial.phase("warmup"):
            trial.learn(self._ask(candidate, Operation.WARMUP, spec))
        self._measure(trial, candidate)
        trial.stop_if_violated()
        self._measure_tails(trial, candidate)
        trial.learn(self._ask(candidate, Operation.MEMORY, spec))
        self._measure_energy(trial, candidate)

    def _candidate(self, trial: TrialUnderWay) -> BenchSession:
        trial.warm = self._sessions.is_warm("candidate", trial.spec)
        trial.log = str(session_log(trial.spec, "candidate"))  # it may fail before it is a session
        session, reply = self._sessions.get("candidate", trial.spec)
        trial.log = str(session.log)
        trial.learn(reply)
        trial.notes += reply.notes
        trial.environment |= reply.environment
        return session

    def _score(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        if _lacks_reference(trial.spec):
            with trial.phase("baseline"):
                self._ask_reference(Operation.SCORE, trial.spec)
        with trial.phase("score"):
            trial.learn(self._ask(candidate, Operation.SCORE, trial.spec))

    def _measure(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        spec = trial.spec
        headline = speed_headline(spec.objectives, spec.model.task)
        with trial.phase("baseline"):
            beside = self._beside(trial)
            pids = [candidate.pid, beside.pid]
            self._measure_roof(trial, beside)
        recorder = ContentionRecorder(spec.device)
        before = recorder.read(pids)
        with trial.phase("measure"):
            trial.pairs = alternate(
                lambda: self._ask(candidate, Operation.BLOCK, spec).values,
                lambda: self._block_beside(trial),
                spec.settings,
                headline,
                spec.seed + spec.number,
                lambda pairs: trial.report("measure", f"pair {pairs}"),
                lambda pairs: trial.is_violated(
                    speed_metrics(pairs, spec.baseline, spec.settings)
                ),
            )
        seen = recorder.between(before, recorder.read(pids), [*pids, os.getpid()])
        drift = drift_ratio(trial.pairs, PROBE_SECONDS if trial.alone else headline)
        trial.contention = seen.model_copy(
            update={"drift_ratio": drift, "paired": not trial.alone}
        )
        timed = speed_metrics(trial.pairs, spec.baseline, spec.settings)
        trial.metrics |= graded(timed, trial.contention, spec.settings)
        own = trial.metrics if spec.baseline is None else spec.baseline
        trial.metrics |= roof.utilizations(trial.metrics, own, trial.matmul_format)

    def _measure_roof(self, trial: TrialUnderWay, beside: BenchSession) -> None:
        """Once per study, with the baseline, in the process whose memory is not measured."""
        spec = trial.spec
        if spec.baseline is None and not spec.confirmation:
            recorder = ContentionRecorder(spec.device)
            before = recorder.read([beside.pid])
            found = self._ask(beside, Operation.ROOF, spec).metrics
            seen = recorder.between(before, recorder.read([beside.pid]), [beside.pid, os.getpid()])
            rates = {name: rate for name, rate in found.items() if rate.stat == "best"}
            trial.metrics |= found | graded(rates, seen, spec.settings)

    def _measure_tails(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        assert trial.contention is not None
        found = self._ask(candidate, Operation.PERCENTILES, trial.spec).metrics
        trial.metrics |= graded(found, trial.contention, trial.spec.settings)

    def _measure_energy(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        # Where nothing measures it the answer comes at once, and says why.
        if _wants_energy(trial.spec) or not _energy_source(trial.spec):
            with trial.phase("energy"):
                trial.learn(self._ask(candidate, Operation.ENERGY, trial.spec))

    def _beside(self, trial: TrialUnderWay) -> BenchSession:
        """What the candidate's blocks alternate with: the baseline, or a probe where there is no
        room for it."""
        spec = trial.spec
        if spec.settings.reference == "auto" and not self._sessions.holds_baseline:
            trial.alone = trial.alone or _baseline_bytes(trial) > free_bytes(spec.device)
        if spec.settings.reference != "probe" and not trial.alone:
            return self._reference(spec)
        trial.alone = True
        why = "" if spec.settings.reference == "probe" else ": both do not fit into memory"
        trial.notes.append(
            f"measured without the baseline beside it{why}; a probe watched for drift, so the "
            "grade is B at best"
        )
        probe = self._sessions.probe(spec)
        self._ask(probe, Operation.PROBE, spec)  # the first one imports torch
        return probe

    def _block_beside(self, trial: TrialUnderWay) -> dict[str, float]:
        if trial.alone:
            probe = self._sessions.probe(trial.spec)
            return self._ask(probe, Operation.PROBE, trial.spec).values
        return self._ask_reference(Operation.BLOCK, trial.spec).values

    def _reference(self, spec: TrialSpec) -> BenchSession:
        baseline = spec.model_copy(update={"recipe": {}, "setup_key": "", "output_key": ""})
        warm = self._sessions.is_warm("reference", baseline)
        try:
            session, _ = self._sessions.get("reference", baseline)
            if not warm:
                self._ask(session, Operation.WARMUP, baseline)
        except BenchError as error:
            self._sessions.drop("reference")
            raise _ReferenceLost from error
        return session

    def _ask_reference(self, operation: Operation, spec: TrialSpec) -> Reply:
        reference = self._reference(spec)
        try:
            return self._ask(reference, operation, spec)
        except BenchError as error:
            self._sessions.drop("reference")
            raise _ReferenceLost from error

    def _ask(self, session: BenchSession, operation: Operation, spec: TrialSpec) -> Reply:
        return session.ask(operation, spec.settings.step_timeout_seconds, spec)

    def warm_setup(self) -> str | None:
        """The ``setup_key`` of the latest candidate's session."""
        return self._sessions.warm_setup()

    def terminate(self) -> None:
        """Kills the sessions and lets none begin; safe from any thread. A running trial fails."""
        self._sessions.terminate()

    def close(self) -> None:
        """Ends the sessions."""
        self._sessions.close()


def _lacks_reference(spec: TrialSpec) -> bool:
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


def _is_out_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, BenchError) and error.outcome is Outcome.OUT_OF_MEMORY


def _baseline_bytes(trial: TrialUnderWay) -> float:
    """What the baseline's session will take of the device's memory: its measured peak, or from
    its weights while it is the baseline itself that is measured."""
    known = trial.metrics if trial.spec.baseline is None else trial.spec.baseline
    kind = trial.spec.device.kind
    peak = known.get("host_model_peak_bytes" if kind == "cpu" else "device_peak_process_bytes")
    if peak is not None and peak.value is not None:
        return peak.value
    weights = known.get("weights_bytes")
    return _ROOM_RATIO * (weights.value if weights and weights.value else 0.0)


def speed_headline(objectives: tuple[str, ...], task: str) -> str:
    """The speed metric whose interval decides how long to measure."""
    for name in objectives:
        if METRICS[name].family is Family.SPEED:
            return name
    return "output_tokens_per_second" if task == "causal-lm" else "samples_per_second"
