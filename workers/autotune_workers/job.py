"""One job on this worker: lease it, run it with a heartbeat, store what came of it."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol

from structlog.contextvars import bound_contextvars

from autotune import registry
from autotune.device import Device
from autotune.errors import AutotuneError, InputError, StoreError
from autotune.execute.base import OnProgress
from autotune.execute.fleet.messages import FleetEvent, RunJob
from autotune.execute.fleet.settings import WorkerSettings
from autotune.execute.slot import DeviceSlot
from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.outcome import Lesson, lesson
from autotune.store.jobs import Jobs
from autotune.workload.paths import cache_directory

_log = logging.getLogger(__name__)


class Slot(Protocol):
    """What carries a trial on this machine: ``DeviceSlot``."""

    def run(self, spec: TrialSpec) -> TrialResult:
        """Carries one trial to its end, whatever that is."""

    def terminate(self) -> None:
        """Makes the running trial fail at once; safe from any thread."""

    def close(self) -> None:
        """Ends what is kept between trials."""


MakeSlot = Callable[[OnProgress], Slot]


def device_slot(on_progress: OnProgress) -> Slot:
    """The slot of this machine's device, with all plugins that are installed here.

    Args:
        on_progress: Told what the running trial does.
    """
    return DeviceSlot(registry.installed(), on_progress)


class Heartbeat:
    """Raises a job's counter from a thread of its own, and ends the trial once nobody wants it."""

    def __init__(
        self, jobs: Jobs, message: RunJob, seconds: float, on_lost: Callable[[], None]
    ) -> None:
        self._jobs = jobs
        self._message = message
        self._seconds = seconds
        self._on_lost = on_lost
        self._over = threading.Event()
        # What it logs says which trial it is.
        beat = partial(contextvars.copy_context().run, self._beat)
        self._thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        self.lost = False

    def _beat(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                ours = self._jobs.beat(self._message.job, self._message.attempt)
            except StoreError as error:
                _log.warning("no beat for job %d: %s", self._message.job, error)
                continue
            if not ours:
                self.lost = True
                self._on_lost()
                return

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()


class JobRunner:
    """Runs the jobs of one worker process, one at a time, all on one thread.

    The device's slot is kept between jobs, and with it the warm bench sessions.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        device: Device,
        jobs: Jobs,
        tell: Callable[[str, FleetEvent], None],
        make_slot: MakeSlot,
    ) -> None:
        """
        Args:
            settings: Of this worker.
            device: What it measures on.
            jobs: Where it finds its work.
            tell: Told what happens, with the name of the study.
            make_slot: What carries the trials.
        """
        self._settings = settings
        self._device = device
        self._jobs = jobs
        self._tell_study = tell
        self._make_slot = make_slot
        self._slot: Slot | None = None
        self._job = 0
        self._study = ""

    def run(self, message: RunJob) -> None:
        """Carries one job to its end, and logs what came of it."""
        spec = self._jobs.lease(message.job, message.attempt, self._settings.name)
        if spec is None:
            _log.info("nobody wants it any more, or somebody else has it")
            return
        with bound_contextvars(study=spec.study, trial=spec.number):
            _log.info("begins")
            _log.info(self._carry_out(message, spec))

    def _carry_out(self, message: RunJob, spec: TrialSpec) -> str:
        self._job, self._study = message.job, spec.study
        try:
            self._require_trust(spec)
            self._require_gpus(spec)
            self._require_files(spec)
            words = self._measure(message, spec)
        except AutotuneError as error:
            words = self._refuse(message, str(error))
        except Exception as error:
            _log.exception("job %d cannot be run here", message.job)
            words = self._refuse(message, f"{type(error).__name__}: {error}")
        self._tell(None)
        return words

    def _refuse(self, message: RunJob, why: str) -> str:
        self._drop_slot()
        self._jobs.refuse(message.job, message.attempt, self._settings.name, why)
        # The others shall have the better chance to take the next one, too.
        time.sleep(self._settings.beat_seconds)
        return f"refused: {why}"

    def _measure(self, message: RunJob, spec: TrialSpec) -> str:
        slot = self._slot = self._slot or self._make_slot(self._tell)
        heart = Heartbeat(self._jobs, message, self._settings.beat_seconds, slot.terminate)
        with heart:
            result = slot.run(self._at_home(spec))
        if heart.lost:
            self._drop_slot()  # what was terminated stays so
            if lesson(result.outcome) is Lesson.REJECT:
                return "called off"
        stored = self._jobs.finish(message.job, result)
        return result.outcome.value if stored else "somebody else was faster"

    def _drop_slot(self) -> None:
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    def _at_home(self, spec: TrialSpec) -> TrialSpec:
        """The trial with this worker's device and folders: the queue says that the device is of
        the same kind, not that it is the same one."""
        folder = self._settings.directory / spec.study / self._settings.name
        own = {
            "device": self._device,
            "directory": str(folder.absolute()),
            "cache_directory": str(cache_directory().absolute()),
        }
        return spec.model_copy(update=own)

    def _require_trust(self, spec: TrialSpec) -> None:
        """
        Raises:
            InputError: The model may do more than is allowed here.
        """
        why_not = spec.model.trust.why_not(self._settings.allows)
        if why_not:
            raise InputError(why_not)

    def _require_gpus(self, spec: TrialSpec) -> None:
        """
        Raises:
            InputError: This host has fewer than the trial takes.
        """
        if spec.gpus > self._device.count:
            raise InputError(f"takes {spec.gpus} GPUs, this worker sees {self._device.count}")

    @staticmethod
    def _require_files(spec: TrialSpec) -> None:
        """
        Raises:
            InputError: A file of the trial is not on this machine.
        """
        workload = spec.workload
        needed = [spec.model.path, workload.evaluation_text, workload.calibration_text]
        needed += [one.path for one in workload.adapters]
        missing = [path for path in needed if not Path(path).exists()]
        if missing:
            raise InputError(
                f"there is no {', '.join(missing)} on this machine; model, texts and adapters "
                "must lie under the same path on every worker"
            )

    def _tell(self, progress: Progress | None) -> None:
        event = FleetEvent(job=self._job, worker=self._settings.name, progress=progress)
        self._tell_study(self._study, event)

    def close(self) -> None:
        """Ends the bench sessions."""
        self._drop_slot()
