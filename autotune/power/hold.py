"""The end of the guardian's pipe: asks it to apply and to restore."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from autotune.errors import BenchError
from autotune.outcome import Outcome
from autotune.plugin import Unsupported
from autotune.power.journal import journals, restore_leftovers

SETTLE_SECONDS = 0.2
"""Until clocks have followed a new limit; a guess, generous for drivers and governors."""

_END_SECONDS = 30.0


class PowerHold:
    """Settings of the device's power that are in force only within ``applied``.

    A context manager: at its end the guardian has restored what was set before it.
    """

    def __init__(
        self,
        asked: Mapping[str, Any],
        uuids: Sequence[str] = (),
        root: Path = Path("/"),
        folder: Path | None = None,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """
        Args:
            asked: Keys of ``autotune.power.changes``.
            uuids: Of the trial's GPUs.
            root: The folder that holds ``sys``.
            folder: Where the old values are kept.
            settle_seconds: Waited after each change.

        Raises:
            Unsupported: They cannot be set here.
        """
        self._folder = folder or journals()
        self._settle_seconds = settle_seconds
        restore_leftovers(self._folder)  # or a dead run's values would be taken for the old ones
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "autotune.power.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # what is sent to the search's group does not reach it
        )
        request = {"asked": dict(asked), "uuids": list(uuids), "root": str(root)}
        try:
            self._tell(json.dumps(request | {"journals": str(self._folder)}))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The guardian's process id."""
        return self._guardian.pid

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Sets them, and restores what was set before.

        Raises:
            Unsupported: The device did not take them.
            BenchError: The guardian is gone; what it held is restored.
        """
        try:
            self._tell("apply")
            time.sleep(self._settle_seconds)
            yield
        finally:
            self._tell("restore")
            time.sleep(self._settle_seconds)

    def _tell(self, line: str) -> None:
        stdin, stdout = self._guardian.stdin, self._guardian.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(line + "\n")
            stdin.flush()
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._guardian.wait()
            restore_leftovers(self._folder)
            raise BenchError(Outcome.CRASHED, "the process that holds the power settings is gone")
        if reason := json.loads(answer):
            raise Unsupported(reason)

    def close(self) -> None:
        """Ends the guardian, which restores.

        Raises:
            BenchError: It could not.
        """
        for pipe in (self._guardian.stdin, self._guardian.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # it is gone, and said so
                pipe.close()
        if self._guardian.wait(_END_SECONDS) > 0:
            restore_leftovers(self._folder)

    def __enter__(self) -> PowerHold:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
