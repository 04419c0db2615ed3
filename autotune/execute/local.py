"""Runs trials in child processes of this machine: no service to start."""

from __future__ import annotations

import queue
import threading

from autotune.execute.base import OnProgress
from autotune.execute.slot import DeviceSlot
from autotune.messages import TrialResult, TrialSpec
from autotune.registry import Registry


class LocalExecutor:
    """One thread for one device; it starts and owns the device's bench sessions."""

    def __init__(self, registry: Registry, on_progress: OnProgress) -> None:
        self._slot = DeviceSlot(registry, on_progress)
        self._waiting: queue.SimpleQueue[TrialSpec | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[TrialResult | BaseException] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="device-slot", daemon=True)
        self._thread.start()

    @property
    def slots(self) -> int:
        """One device, one trial at a time."""
        return 1

    def submit(self, spec: TrialSpec) -> None:
        """Queues a trial for the device."""
        self._waiting.put(spec)

    def wait(self) -> TrialResult:
        """Blocks until the next trial has ended.

        Raises:
            Exception: Whatever went wrong in the slot itself, outside the trial.
        """
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def warm_setup(self) -> str | None:
        """The ``setup_key`` of the session that is ready."""
        return self._slot.warm_setup()

    def close(self) -> None:
        """Stops the running trial, if any, and ends the bench sessions."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._waiting.put(None)
        self._slot.terminate()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        try:
            while (spec := self._waiting.get()) is not None and not self._closed.is_set():
                self._results.put(self._slot.run(spec))
        except BaseException as error:
            self._results.put(error)
        finally:
            self._slot.close()
