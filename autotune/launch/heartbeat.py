"""Signs of life where nothing can be redrawn: in a log, a pipe, a CI job."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from autotune.messages import Progress
from autotune.report.format import phase_words

_SECONDS = 15.0


class Heartbeat:
    """Says what goes on once nothing was said for a while; on a terminal it keeps silent."""

    def __init__(self, console: Console, seconds: float = _SECONDS) -> None:
        self._console = console
        self._seconds = seconds
        self._last = time.monotonic()
        self._told_of_lock = False

    def said(self) -> None:
        """Something else was printed."""
        self._last = time.monotonic()

    def beat(self, progress: Progress, what: str = "") -> None:
        """Says the phase, if it is time; that the device is another's at once, and once.

        Args:
            progress: What a trial does now.
            what: The trial in words; by default its number.
        """
        waits = progress.phase == "lock" and bool(progress.detail)
        is_news = waits and not self._told_of_lock
        self._told_of_lock |= waits
        early = time.monotonic() - self._last < self._seconds
        if self._console.is_terminal or (early and not is_news):
            return
        what = what or f"#{progress.number}"
        words = f"{what} {phase_words(progress.phase, progress.detail)}"
        self._console.print(words, markup=False, highlight=False, soft_wrap=True)
        self.said()


@contextmanager
def shown_phases(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Shows what one measurement does: redrawn on a terminal, as heartbeats elsewhere.

    Args:
        console: Where to.
    """
    heart = Heartbeat(console)
    with console.status("starting") as status:

        def show(progress: Progress) -> None:
            status.update(f"#{progress.number} {phase_words(progress.phase, progress.detail)}")
            heart.beat(progress)

        yield show
