"""One device: its lock, its warm bench sessions, and the life of a trial on it."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from autotune import constraints
from autotune.bench.protocol import Operation, Reply, item_file, reference_files
from autotune.device import Device
from autotune.energy import find_counter
from autotune.errors import BenchError
from autotune.execute.base import OnProgress
from autotune.execute.contention import ContentionRecorder
from autotune.execute.grade import drift_ratio, graded
from autotune.execute.paired import alternate, speed_metrics
from autotune.execute.session import BenchSession
from autotune.execute.trial import Stop, TrialUnderWay
from autotune.hashing import sha256_json
from autotune.messages import TrialResult, TrialSpec
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome
from autotune.params import Params
from autotune.plugin import Plugin, Unsupported
from autotune.registry import Registry
from autotune.space import merge


def device_lock(device: Device) -> FileLock:
    """Held while a trial measures: one at a time per device, across processes."""
    name = f"autotune-{os.getuid()}-device-{device.uuid or device.kind}.lock"
    return FileLock(Path(tempfile.gettempdir()) / name)


class _ReferenceLost(Exception):
    """The baseline's session died; the candidate is not to blame."""


class DeviceSlot:
    """Runs one trial at a time, all on one thread, which must outlive it; ``terminate`` is for
    others.

    It keeps two bench sessions: the baseline's, which every candidate is measured beside, and
    the latest candidate's, which stays warm for recipes with the same ``setup_key``.
    """

    def __init__(self, registry: Registry, on_progress: OnProgress) -> None:
        self._plugins = registry.plugins
        self._on_progress = on_progress
        self._sessions: dict[str, tuple[str, BenchSession, Reply]] = {}
        self._terminated = threading.Event()

    def run(self, spec: TrialSpec) -> TrialResult:
        """Carries one trial to its end, whatever that is."""
        if spec.confirmation or spec.tasks_only:
            self.close()
        trial = TrialUnderWay(spec, self._on_progress)
        try:
            with trial.phase("lock"):
                lock = self._locked(spec.device)
            try:
                if spec.tasks_only:
                    self._run_tasks(trial)
                else:
                    self._run_beside_baseline(trial)
            finally:
                lock.release()
        except Stop:
            pass  # the trial holds its outcome
        except Unsupported as error:
            trial.fail(Outcome.UNSUPPORTED, str(error))
        except BenchError as error:
            trial.fail(error.outcome, error.explanation)
            self._drop("candidate")
        return trial.result()

    def _locked(self, device: Device) -> FileLock:
        """Waits for the device; gives up when the slot is terminated."""
        lock = device_lock(device)
        while True:
            self._refuse_if_terminated()
            try:
                lock.acquire(timeout=1.0)
                return lock
            except Timeout:
                continue

    def _refuse_if_terminated(self) -> None:
        if self._terminated.is_set():
            raise BenchError(Outcome.CRASHED, "the executor was closed")

    def _run_beside_baseline(self, trial: TrialUnderWay) -> None:
        """Runs the trial; if the baseline's session dies, both are started again, once."""
        try:
            self._run(trial)
        except _ReferenceLost as lost:
            self._drop("candidate")
            trial.notes.append(f"started again: the baseline's session failed: {lost.__cause__}")
            try:
                with trial.phase("baseline"):
                    self._reference(trial.spec)
                self._run(trial)
            except _ReferenceLost as again:
                raise BenchError(
                    Outcome.CRASHED,
                    f"the baseline's session beside it failed twice: {again.__cause__}; both must "
                    "fit into memory",
                ) from again

    def _run(self, trial: TrialUnderWay) -> None:
        spec = trial.spec
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
        trial.learn(self._ask(candidate, Operation.MEMORY, spec))
        self._measure_energy(trial, candidate)

    def _run_tasks(self, trial: TrialUnderWay) -> None:
        """In a process of its own, since lm-eval's memory would count as the model's; after the
        baseline's if it is not known which items that has right."""
        spec = trial.spec
        known = all(item_file(spec, task).exists() for task in spec.workload.tasks)
        if spec.recipe and not known:
            with trial.phase("baseline"):
                session, _ = self._session("reference", _baseline_of(spec))
                self._ask(session, Operation.TASKS, spec)
                self._drop("reference")
        with trial.phase("prepare"):
            candidate = self._candidate(trial)
        with trial.phase("tasks"):
            trial.learn(self._ask(candidate, Operation.TASKS, spec))
        self._drop("candidate")

    def _candidate(self, trial: TrialUnderWay) -> BenchSession:
        key = session_key(trial.spec)
        trial.warm = "candidate" in self._sessions and self._sessions["candidate"][0] == key
        trial.log = str(_log(trial.spec, "candidate"))  # it may fail before it is a session
        session, reply = self._session("candidate", trial.spec)
        trial.log = str(session.log)
        trial.learn(reply)
        trial.notes += reply.notes
        trial.environment |= reply.environment
        return session

    def _score(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        if trial.spec.recipe and not all(f.exists() for f in reference_files(trial.spec)):
            with trial.phase("baseline"):
                self._ask_reference(Operation.SCORE, trial.spec)
        with trial.phase("score"):
            trial.learn(self._ask(candidate, Operation.SCORE, trial.spec))

    def _measure(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        spec = trial.spec
        headline = speed_headline(spec.objectives, spec.model.task)
        with trial.phase("baseline"):
            pids = [candidate.pid, self._reference(spec).pid]
        recorder = ContentionRecorder(spec.device)
        before = recorder.read(pids)
        with trial.phase("measure"):
            trial.pairs = alternate(
                lambda: self._ask(candidate, Operation.BLOCK, spec).values,
                lambda: self._ask_reference(Operation.BLOCK, spec).values,
                spec.settings,
                headline,
                spec.seed + spec.number,
                lambda pairs: trial.report("measure", f"pair {pairs}"),
            )
        seen = recorder.between(before, recorder.read(pids), [*pids, os.getpid()])
        drift = drift_ratio(trial.pairs, headline)
        trial.contention = seen.model_copy(update={"drift_ratio": drift})
        timed = speed_metrics(trial.pairs, spec.baseline, spec.settings)
        trial.metrics |= graded(timed, trial.contention, spec.settings)

    def _measure_energy(self, trial: TrialUnderWay, candidate: BenchSession) -> None:
        limits = [c.metric for c in constraints.parse_all(trial.spec.constraints)]
        asked_for = (*trial.spec.objectives, *limits)
        wanted = any(METRICS[name].family is Family.ENERGY for name in asked_for)
        # Without a counter the answer comes at once, and says why.
        if wanted or isinstance(find_counter(trial.spec.device), str):
            with trial.phase("energy"):
                trial.learn(self._ask(candidate, Operation.ENERGY, trial.spec))

    def _reference(self, spec: TrialSpec) -> BenchSession:
        baseline = _baseline_of(spec)
        warm = self._sessions.get("reference")
        if warm is not None and warm[0] == session_key(baseline):
            return warm[1]
        try:
            session, _ = self._session("reference", baseline)
            self._ask(session, Operation.WARMUP, baseline)
        except BenchError as error:
            self._drop("reference")
            raise _ReferenceLost from error
        return session

    def _ask_reference(self, operation: Operation, spec: TrialSpec) -> Reply:
        reference = self._reference(spec)
        try:
            return self._ask(reference, operation, spec)
        except BenchError as error:
            self._drop("reference")
            raise _ReferenceLost from error

    def _session(self, role: str, spec: TrialSpec) -> tuple[BenchSession, Reply]:
        """The warm session for this spec, or a new one in the place of the old."""
        key = session_key(spec)
        if role in self._sessions:
            warm_key, session, reply = self._sessions[role]
            if warm_key == key:
                return session, reply
            self._drop(role)
        absent = [name for name in spec.recipe if name not in self._plugins]
        if absent:
            raise Unsupported(f"plugins not installed here: {', '.join(absent)}")
        self._refuse_if_terminated()
        environment = merge(spec.recipe, self._plugins, _env_of, "environment variable")
        environment |= spec.device.environment
        limit = spec.settings.memory_limit_bytes
        session = BenchSession(_log(spec, role), environment, limit)
        self._sessions[role] = (key, session, Reply())
        if self._terminated.is_set():  # it was, between the check and the start
            session.terminate()
        try:
            reply = session.ask(Operation.PREPARE, spec.settings.prepare_timeout_seconds, spec)
        except BenchError:
            self._drop(role)
            raise
        self._sessions[role] = (key, session, reply)
        return session, reply

    def _ask(self, session: BenchSession, operation: Operation, spec: TrialSpec) -> Reply:
        settings = spec.settings
        tasks = operation is Operation.TASKS
        limit = settings.tasks_timeout_seconds if tasks else settings.step_timeout_seconds
        return session.ask(operation, limit, spec)

    def warm_setup(self) -> str | None:
        """The ``setup_key`` of the latest candidate's session."""
        warm = self._sessions.get("candidate")
        return warm[0].split(":")[0] if warm else None

    def terminate(self) -> None:
        """Kills the sessions and lets none begin; safe from any thread. A running trial fails."""
        self._terminated.set()
        for _, session, _ in list(self._sessions.values()):
            session.terminate()

    def close(self) -> None:
        """Ends the sessions."""
        for role in list(self._sessions):
            self._drop(role)

    def _drop(self, role: str) -> None:
        dropped = self._sessions.pop(role, None)
        if dropped is not None:
            dropped[1].close()


def _baseline_of(spec: TrialSpec) -> TrialSpec:
    return spec.model_copy(update={"recipe": {}, "setup_key": "", "output_key": ""})


def _log(spec: TrialSpec, role: str) -> Path:
    again = f"-confirmation{spec.confirmation}" if spec.confirmation else ""
    again += "-tasks" if spec.tasks_only else ""
    return Path(spec.directory) / "logs" / f"{spec.number:05d}-{role}{again}.log"


def session_key(spec: TrialSpec) -> str:
    """Trials with the same key can share a bench session; begins with the ``setup_key``."""
    beside = [spec.model, spec.workload, spec.settings, spec.device]
    return f"{spec.setup_key}:{sha256_json([m.model_dump(mode='json') for m in beside])[:16]}"


def speed_headline(objectives: tuple[str, ...], task: str) -> str:
    """The speed metric whose interval decides how long to measure."""
    for name in objectives:
        if METRICS[name].family is Family.SPEED:
            return name
    return "output_tokens_per_second" if task == "causal-lm" else "samples_per_second"


def _env_of(plugin: Plugin, params: Params) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in plugin.env(params).items()}
    except Unsupported:
        raise
    except Exception as error:
        raise BenchError(
            Outcome.CRASHED,
            f"plugin {plugin.name!r} raised in env({dict(params)}): "
            f"{type(error).__name__}: {error}",
        ) from error
