"""CPU counters that zeus reads and we do not: through its daemon, which needs no root, or where a
container mounts them."""

from __future__ import annotations

import importlib.util
import selectors
import subprocess
import sys

from autotune.energy.base import Counter, Reading
from autotune.errors import AutotuneError

_COMMAND = (sys.executable, "-m", "autotune.energy.zeus_process")
_ANSWER_SECONDS = 60.0
_CLOSE_SECONDS = 5.0


class ZeusCounter(Counter):
    """The parent's end of a process that reads zeus' counters."""

    source = "measured:counter:zeus"

    def __init__(self, command: tuple[str, ...] = _COMMAND) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what matters is in the answer
            text=True,
        )
        self.reason = self._answer()
        """Why there is no counter; empty if there is one."""

    def now(self) -> Reading:
        """Each package's counter, added up."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return (float(self._answer()),)

    def _answer(self) -> str:
        """The next line.

        Raises:
            AutotuneError: The process has ended or hangs.
        """
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            ready = selector.select(_ANSWER_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.close()
            raise AutotuneError("the process that reads zeus' energy counters gives no answer")
        return line.strip()

    def close(self) -> None:
        """Ends the process; by itself, so that zeus ends those that it has started."""
        if self._process.returncode is not None:
            return
        try:
            self._process.communicate(timeout=_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def find_zeus() -> ZeusCounter | str:
    """zeus' counter, or why there is none; empty where zeus is not installed."""
    if importlib.util.find_spec("zeus") is None:
        return ""
    try:
        counter = ZeusCounter()
    except AutotuneError as error:
        return str(error)
    if counter.reason:
        counter.close()
        return f"zeus: {counter.reason}"
    return counter
