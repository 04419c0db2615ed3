"""The parent's end of the templates that bench processes are forked from.

Importing torch and transformers takes seconds of every process, and often more than all the rest
of a trial. Where it is safe, a search imports them once for each environment that libraries read.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO

from autotune.bench.protocol import ForkRequest
from autotune.errors import BenchError
from autotune.execute.process import Process
from autotune.outcome import Outcome

_READ_BY_NO_LIBRARY = ("AUTOTUNE_", "PYTEST_")
"""Environment variables with these prefixes may differ between a process and its template."""

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.2
_CLOSE_SECONDS = 5.0
_KEPT = 4
"""Templates: each holds the libraries in memory."""


class ForkedProcess:
    """A process that the template forked, with those parts of ``subprocess.Popen`` that a bench
    session uses."""

    def __init__(
        self,
        stdin: IO[bytes],
        stdout: IO[bytes],
        status: socket.socket,
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """
        Raises:
            EOFError: The template is gone.
            TimeoutError: It did not fork in time, or nobody wants it any more.
        """
        self.stdin, self.stdout, self._status = stdin, stdout, status
        self.returncode: int | None = None
        self.pid = int(self._born(given_up))

    def _born(self, given_up: Callable[[], bool]) -> bytes:
        deadline = time.monotonic() + _START_SECONDS  # it may have to finish its imports
        self._status.settimeout(_LOOK_SECONDS)
        while True:
            try:
                return self._told()
            except TimeoutError:
                if given_up() or time.monotonic() > deadline:
                    raise

    def _told(self) -> bytes:
        told = self._status.recv(64)
        if not told:
            raise EOFError
        return told

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = int(self._told())
            except TimeoutError:
                raise subprocess.TimeoutExpired("autotune.bench", timeout or 0.0) from None
            except EOFError:  # the kernel kills it with the template
                self.returncode = -signal.SIGKILL
            self._end()
        return self.returncode

    def _end(self) -> None:
        """Lets the template take the dead process off the kernel's list, and waits for it."""
        with self._status, contextlib.suppress(OSError):  # the template may be gone
            self._status.shutdown(socket.SHUT_WR)
            self._status.settimeout(_CLOSE_SECONDS)
            self._status.recv(1)


class Template:
    """One ``python -m autotune.bench.template``."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self._environment = _read_by_libraries(environment)
        self._forked: list[ForkedProcess] = []
        self.claims = 0
        """Threads that are about to fork from it."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "autotune.bench.template", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def suits(self, environment: Mapping[str, str]) -> bool:
        """Whether the libraries it has loaded would have read the same."""
        return self._environment == _read_by_libraries(environment)

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    @property
    def idle(self) -> bool:
        """Whether nobody would miss it now."""
        return not self.claims and all(p.returncode is not None for p in self._forked)

    def fork(
        self,
        log: Path,
        environment: Mapping[str, str],
        given_up: Callable[[], bool] = lambda: False,
    ) -> ForkedProcess:
        """
        Raises:
            EOFError: The template is gone.
            TimeoutError: It did not fork in time, or nobody wants it any more.
        """
        request = ForkRequest(directory=os.getcwd(), environment=dict(environment))
        stdin, to_child = os.pipe()
        from_child, stdout = os.pipe()
        ours, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        streams = os.fdopen(to_child, "wb"), os.fdopen(from_child, "rb")
        try:
            with log.open("ab") as stream, status:
                files = [stdin, stdout, stream.fileno(), status.fileno()]
                socket.send_fds(self._socket, [request.model_dump_json().encode()], files)
            forked = ForkedProcess(*streams, ours, given_up)
        except BaseException as error:
            for end in (*streams, ours):
                end.close()
            if isinstance(error, BrokenPipeError):
                raise EOFError from error
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        with _lock:
            self._forked = [p for p in self._forked if p.returncode is None] + [forked]
        return forked

    def close(self) -> None:
        """Ends it, and with it all that it forked."""
        self._socket.close()
        self._process.kill()  # it holds nothing, and its libraries take seconds to unload
        self._process.wait()


_lock = threading.Lock()
_shared: list[Template] = []
"""The templates of this process, the latest used at the end."""


def fork(
    log: Path, environment: Mapping[str, str], given_up: Callable[[], bool] = lambda: False
) -> Process:
    """A bench process with its imports done, forked from a template of this process that has read
    the same environment, which is begun where there is none.

    Not for a device whose driver cannot be used after a fork, and not where processes must not
    have a layout of memory in common (see ``WarmSessions``).

    Raises:
        BenchError: The template has ended.
    """
    template = _claim(log, environment)
    try:
        return template.fork(log, environment, given_up)
    except (EOFError, TimeoutError) as error:
        if given_up():
            raise BenchError(Outcome.CRASHED, "it was stopped before it began") from error
        template.close()
        raise BenchError(
            Outcome.CRASHED,
            f"the process that bench processes are forked from is gone or does not answer "
            f"({type(error).__name__}); the next one gets a new one",
        ) from error
    finally:
        with _lock:
            template.claims -= 1


def _claim(log: Path, environment: Mapping[str, str]) -> Template:
    with _lock:
        _close_those([t for t in _shared if not t.alive])
        template = next((t for t in _shared if t.suits(environment)), None)
        if template is None:
            template = Template(log, environment)
        else:
            _shared.remove(template)
        template.claims += 1
        _shared.append(template)
        _close_those([t for t in _shared[:-_KEPT] if t.idle])
        return template


def _close_those(templates: Iterable[Template]) -> None:
    for template in templates:
        _shared.remove(template)
        template.close()


@atexit.register
def end_templates() -> None:
    """Ends this process's templates, and with them what they forked."""
    with _lock:
        _close_those(list(_shared))


def _read_by_libraries(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if not k.startswith(_READ_BY_NO_LIBRARY)}
