"""The template of bench processes: ``python -m autotune.bench.template FD`` imports what every one
of them needs, and then forks one for each message that comes.

A message, on the socket that it inherited as FD, is a ``ForkRequest`` with four file descriptors:
the new process's standard input, output and error, and a socket on which its parent is told its
process id and, at the end, its exit status (negative for a signal). The dead stay zombies until
that socket is closed, so that nobody can signal a stranger that was given their id.

Everything ends with the parent: the socket is closed then, this process goes, and the kernel kills
the forked ones.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from functools import partial

from autotune.bench import __main__ as bench
from autotune.bench.ahead import import_libraries
from autotune.bench.code_pages import map_pages, mapped_pages
from autotune.bench.protocol import ForkRequest

_MESSAGE_BYTES = 1 << 20
_FILES = 4


class Template:
    """Forks on request, and reports deaths."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, self._fork)
        self._statuses: set[socket.socket] = set()

    def serve(self) -> None:
        """Returns in every forked process, once it is what its parent asked for; ends the template
        itself when the parent is gone."""
        while True:
            for key, _ in self._selector.select():
                if key.data():
                    return

    def _fork(self) -> bool:
        """Whether this is the forked process."""
        message, files, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES, _FILES)
        if not message:
            sys.exit()  # the parent is gone
        request, template = ForkRequest.model_validate_json(message), os.getpid()
        status = socket.socket(fileno=files.pop())
        pid = os.fork()
        if pid == 0:
            self._forget()
            _become(request, template, files)
            with status:
                status.send(str(os.getpid()).encode())
            return True
        for file in files:
            os.close(file)
        self._statuses.add(status)
        ended = os.pidfd_open(pid)
        self._selector.register(
            ended, selectors.EVENT_READ, partial(self._report, ended, pid, status)
        )
        return False

    def _forget(self) -> None:
        """Closes what is the template's; its descriptors of other processes die with an exec."""
        self._selector.close()
        self._control.close()
        for status in self._statuses:
            status.close()

    def _report(self, ended: int, pid: int, status: socket.socket) -> None:
        self._selector.unregister(ended)
        os.close(ended)
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            status.send(str(code).encode())
        self._selector.register(status, selectors.EVENT_READ, partial(self._reap, pid, status))

    def _reap(self, pid: int, status: socket.socket) -> None:
        self._selector.unregister(status)
        self._statuses.remove(status)
        os.waitpid(pid, 0)
        status.close()  # which tells the parent that the id is free


def _become(request: ForkRequest, template: int, files: Sequence[int]) -> None:
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request.directory)
    os.environ.clear()
    os.environ.update(request.environment, AUTOTUNE_PARENT_PID=str(template))
    importlib.invalidate_caches()


def main() -> None:
    """Serves until the parent is gone; in a forked process, does what that is asked to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bench.quiet_libraries()
    import_libraries()
    pages = mapped_pages()
    Template(socket.socket(fileno=int(sys.argv[1]))).serve()
    map_pages(pages)
    bench.main()


if __name__ == "__main__":
    main()
