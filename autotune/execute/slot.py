"""One device: its lock, and trials on it, one at a time."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from filelock import FileLock, Timeout

from autotune.bench.protocol import Operation
from autotune.device import Device
from autotune.errors import BenchError
from autotune.execute.base import OnProgress
from autotune.execute.beside import Beside, ReferenceLost
from autotune.execute.steps import TrialSteps, lacks_reference
from autotune.execute.trial import Stop, TrialUnderWay
from autotune.execute.warm import WarmSessions
from autotune.messages import TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.plugin import Unsupported
from autotune.power import PowerHold
from autotune.registry import Registry
from autotune.space import NEEDS_CONSENT, merge

_LOOK_SECONDS = 0.5
"""Between two looks at whether a device that is taken is free, or the wait is over."""


def device_locks(device: Device) -> list[FileLock]:
    """Held while a trial measures: one trial at a time per device, across processes. Always taken
    in this order, so that two trials of several GPUs never wait for each other."""
    folder = Path(tempfile.gettempdir())
    names = [f"autotune-{os.getuid()}-device-{d}.lock" for d in device.uuids or ("cpu",)]
    return [FileLock(folder / name) for name in sorted(names)]


class DeviceSlot:
    """Runs one trial at a time, all on one thread, which must outlive it; ``terminate`` is for
    others.

    It keeps two bench sessions: the baseline's, which every candidate is measured beside, and
    the latest candidate's, which stays warm for recipes with the same ``setup_key``. Where both
    do not fit into memory, a probe of the device takes the baseline's place. A repetition begins
    with new ones.
    """

    def __init__(self, registry: Registry, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._plugins = registry.plugins
        self._sessions = WarmSessions(registry)
        self._beside = Beside(self._sessions)
        self._steps = TrialSteps(self._sessions, self._beside)

    def run(self, spec: TrialSpec) -> TrialResult:
        """Carries one trial to its end, whatever that is."""
        if spec.tasks_only or spec.confirmation:
            self.close()
        spec = spec.model_copy(update={"device": spec.device.with_gpus(spec.gpus)})
        trial = TrialUnderWay(spec, self._on_progress)
        try:
            with ExitStack() as held:
                with trial.phase("lock"):
                    for lock in device_locks(spec.device):
                        held.enter_context(self._locked(lock, trial))
                self._hold_power(trial, held)
                if spec.tasks_only:
                    self._steps.run_tasks(trial)
                else:
                    self._run_beside_baseline(trial)
                if spec.gpus > 1:
                    self._sessions.drop("candidate")  # the others are somebody else's again
        except Stop:
            pass  # the trial holds its outcome
        except Unsupported as error:
            trial.fail(Outcome.UNSUPPORTED, str(error))
        except BenchError as error:
            trial.fail(error.outcome, error.explanation)
            self._sessions.drop("candidate")
        return trial.result()

    def _hold_power(self, trial: TrialUnderWay, held: ExitStack) -> None:
        """Has what the recipe sets of the device set while its own work runs.

        Raises:
            Unsupported: It cannot be set, or must not be.
        """
        spec = trial.spec
        known = {n: p for n, p in spec.recipe.items() if n in self._plugins}
        asked = merge(known, self._plugins, lambda p, v: p.device_settings(v), "device setting")
        if asked:
            if not spec.model.trust.allow_power_changes:
                raise Unsupported(NEEDS_CONSENT)
            trial.applied = held.enter_context(PowerHold(asked, spec.device.uuids)).applied
            words = ", ".join(f"{name}={value}" for name, value in asked.items())
            trial.notes.append(f"set while it was measured and restored since: {words}")

    def _locked(self, lock: FileLock, trial: TrialUnderWay) -> AbstractContextManager[object]:
        """Waits for a device, and says so once; gives up when the slot is terminated."""
        waits = False
        while True:
            self._sessions.refuse_if_terminated()
            try:
                return lock.acquire(timeout=_LOOK_SECONDS)
            except Timeout:
                if not waits:
                    trial.report("lock", f"another process measures: it holds {lock.lock_file}")
                waits = True

    def _run_beside_baseline(self, trial: TrialUnderWay) -> None:
        """Runs the trial beside the baseline's session; without it where memory runs out."""
        try:
            self._steps.run(trial)
        except ReferenceLost as lost:
            auto = trial.spec.settings.reference == "auto" and not trial.alone
            if auto and _is_out_of_memory(lost.__cause__):
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
            if lacks_reference(trial.spec):
                with trial.phase("baseline"):
                    self._beside.ask_reference(Operation.SCORE, trial.spec)
                self._sessions.close()
            self._steps.run(trial)
        except ReferenceLost as lost:
            raise BenchError(
                Outcome.CRASHED, f"what ran beside it failed: {lost.__cause__}"
            ) from lost

    def _run_again(self, trial: TrialUnderWay, lost: ReferenceLost) -> None:
        self._sessions.drop("candidate")
        what = "the probe" if trial.alone else "the baseline's session"
        trial.notes.append(f"started again: {what} failed: {lost.__cause__}")
        try:
            with trial.phase("baseline"):
                self._beside.start(trial)
            self._steps.run(trial)
        except ReferenceLost as again:
            raise BenchError(
                Outcome.CRASHED, f"{what} beside it failed twice: {again.__cause__}"
            ) from again

    def warm_setup(self) -> str | None:
        """The ``setup_key`` of the latest candidate's session."""
        return self._sessions.warm_setup()

    def terminate(self) -> None:
        """Kills the sessions and lets none begin; safe from any thread. A running trial fails."""
        self._sessions.terminate()

    def close(self) -> None:
        """Ends the sessions."""
        self._sessions.close()


def _is_out_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, BenchError) and error.outcome is Outcome.OUT_OF_MEMORY
