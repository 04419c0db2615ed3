"""Memory of several processes that share pages: the sum of their proportional set sizes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import psutil

from autotune.messages import Measurement, Metrics

POLL_SECONDS = 0.02

_NAME = "host_peak_pss_tree_bytes"


def pss_bytes(pid: int) -> int:
    """A process's proportional set size: a page that N processes map counts as 1/N in each.

    Returns:
        Bytes; 0 once the process is gone.

    Raises:
        PermissionError: It is another user's.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line for line in text.splitlines() if line.startswith("Pss:")]
    return int(lines[0].split()[1]) * 1024


def descendants(pid: int) -> list[int]:
    """The children of a process, theirs, and so on."""
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


class TreePoller:
    """Polls the PSS of a process and its descendants while work is running that nobody times.

    The kernel keeps no peak of it, so what lies between two polls is missed; so are processes
    that live shorter than that, those that have left the tree (their parent has ended), and all
    that happens outside the work. Where there is no child when it begins nothing is polled, and
    ``VmHWM`` is exact.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._children = descendants(pid)
        self._peak = 0
        self._polls = 0
        self._reason = ""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pss", daemon=True)

    def __enter__(self) -> TreePoller:
        if self._children:
            self._poll()
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._children:
            self._done.set()
            self._thread.join()
            self._poll()

    def _run(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            self._poll()

    def _poll(self) -> None:
        try:
            found = sum(pss_bytes(pid) for pid in (self._pid, *descendants(self._pid)))
        except PermissionError as error:
            self._reason = f"{error.filename} is not readable by this user"
            return
        self._peak = max(self._peak, found)
        self._polls += 1

    def metrics(self) -> Metrics:
        """The highest sum; nothing for a single process."""
        if not self._children:
            return {}
        if self._reason:
            unknown = Measurement.unavailable("B", self._reason)
            return {_NAME: unknown}
        source = f"smaps_rollup, {self._polls} polls"
        return {_NAME: Measurement(value=float(self._peak), unit="B", source=source)}
