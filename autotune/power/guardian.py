"""The process that holds the old values: ``python -m autotune.power.guardian`` restores them when
its input ends, so also after a ``kill -9`` of whoever gives it.

It reads one JSON line that says what is asked for, and then ``apply`` and ``restore`` as often as
they come; each is answered with a JSON line: empty, or the reason why it could not be done.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from autotune.plugin import Unsupported
from autotune.power.changes import Change, Denied, plan_changes, write
from autotune.power.journal import written_down


def main() -> None:
    """Serves until its input ends."""
    # What ends the search ends its input too; dying of the same signal would restore nothing.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    request = json.loads(sys.stdin.readline())
    try:
        changes = plan_changes(request["asked"], request["uuids"], Path(request["root"]))
    except (Unsupported, OSError) as error:
        _answer(str(error))
        return
    guardian = Guardian(changes)
    with written_down(changes, Path(request["journals"])):
        try:
            _answer("")
            for line in iter(sys.stdin.readline, ""):
                _answer(guardian.carry_out(line.strip()))
        finally:
            guardian.restore()


class Guardian:
    """Knows what is set now."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes
        self._set: list[Change] = []

    def carry_out(self, command: str) -> str:
        """Does what is asked for; returns why it could not."""
        try:
            if command == "apply":
                self.apply()
            else:
                self.restore()
        except (Unsupported, OSError) as error:
            return str(error)
        return ""

    def apply(self) -> None:
        """
        Raises:
            Unsupported: The device did not take something.
        """
        for change in self._changes:
            self._set.append(change)
            try:
                write(change, change.value)
            except Denied:
                self._set.pop()
                raise

    def restore(self) -> None:
        """
        Raises:
            Unsupported: The device did not take something back.
        """
        while self._set:
            write(self._set[-1], self._set[-1].before)
            self._set.pop()


def _answer(reason: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # who asked is dead: the input ends next
        print(json.dumps(reason), flush=True)


if __name__ == "__main__":
    main()
