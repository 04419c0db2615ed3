"""The parent's end of one bench process: start it, ask it, and explain its death."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from pydantic import ValidationError

from autotune.bench.meters.process_tree import descendants
from autotune.bench.protocol import Operation, Reply, Request
from autotune.errors import BenchError
from autotune.execute.process import Start, bench_environment, spawn
from autotune.messages import TrialSpec
from autotune.outcome import Outcome

Tokens = tuple[tuple[int, ...], ...]
"""Token ids of several sequences."""

OnTokens = Callable[[Tokens], bool]
"""Is told the next tokens of each sequence; says whether to go on."""

_CLOSE_SECONDS = 5.0
_TAIL_LINES = 5
_KERNEL_COUNTERS = Path("/proc/vmstat")


class BenchSession:
    """One bench process.

    Created and used by one thread, which must outlive it.
    """

    def __init__(
        self,
        log: Path,
        environment: Mapping[str, str],
        memory_limit_bytes: int | None = None,
        start: Start = spawn,
    ) -> None:
        """
        Args:
            log: What the process prints is appended to it.
            environment: Variables besides those that every bench process has.
            memory_limit_bytes: Of its data segment.
            start: How it begins.

        Raises:
            BenchError: It could not begin.
        """
        self.log = log
        self._oom_kills = _oom_kills()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._process = start(log, bench_environment(environment))
        if memory_limit_bytes is not None:
            limit = (memory_limit_bytes, memory_limit_bytes)
            resource.prlimit(self._process.pid, resource.RLIMIT_DATA, limit)
        self._buffer = b""

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The child's process id and those of its own children."""
        return [self.pid, *descendants(self.pid)]

    def ask(self, operation: Operation, timeout_seconds: float, spec: TrialSpec | None) -> Reply:
        """Sends one request and waits, without polling, for its reply.

        Raises:
            BenchError: The operation failed, took too long, or the process died. After the
                latter two the process is gone.
        """
        return self._ask(Request(operation=operation, spec=spec), timeout_seconds)

    def generate(
        self, spec: TrialSpec, prompts: Tokens, new_tokens: int, on_tokens: OnTokens | None = None
    ) -> Reply:
        """Asks for answers to prompts, within the time limit of a step; raises as ``ask``.

        Args:
            spec: What is driven; prepared and warm.
            prompts: Token ids, all of one length.
            new_tokens: To be generated for each.
            on_tokens: Is told tokens as they are made, if the engine can tell, and says whether to
                go on. The time limit is then that of each step from one to the next.

        Returns:
            A reply with all tokens, or with none where ``on_tokens`` has ended it.
        """
        request = Request(
            operation=Operation.GENERATE,
            spec=spec,
            prompts=prompts,
            new_tokens=new_tokens,
            stream=on_tokens is not None,
        )
        return self._ask(request, spec.settings.step_timeout_seconds, on_tokens)

    def export(self, spec: TrialSpec, folder: Path, max_shard_bytes: int) -> Reply:
        """Asks for the prepared model as files, within the time limit of preparing; raises as
        ``ask``.

        Args:
            spec: The trial.
            folder: Empty.
            max_shard_bytes: Of a file that holds several weights.
        """
        request = Request(
            operation=Operation.EXPORT,
            spec=spec,
            path=str(folder),
            max_shard_bytes=max_shard_bytes,
        )
        return self._ask(request, spec.settings.prepare_timeout_seconds)

    def outputs(self, spec: TrialSpec, prompts: tuple[tuple[int, ...], ...], file: Path) -> Reply:
        """Asks for the outputs on token ids, within the time limit of a step; raises as ``ask``.

        Args:
            spec: What is driven; prepared.
            prompts: Token ids, all of one length.
            file: Is written, as safetensors with the tensor ``outputs``, unless the reply has
                tokens, of an engine that tells nothing else.
        """
        request = Request(operation=Operation.OUTPUTS, spec=spec, prompts=prompts, path=str(file))
        return self._ask(request, spec.settings.step_timeout_seconds)

    def _ask(
        self, request: Request, timeout_seconds: float, on_tokens: OnTokens | None = None
    ) -> Reply:
        operation = request.operation
        if self._process.returncode is not None:
            raise BenchError(Outcome.CRASHED, f"the bench process was gone before {operation}")
        try:
            self._send(request)
            reply = self._receive(operation, timeout_seconds)
            goes_on = True
            while reply.more and on_tokens is not None:
                if not on_tokens(reply.tokens) and goes_on:
                    self._send(Request(operation=Operation.STOP))
                    goes_on = False
                reply = self._receive(operation, timeout_seconds)
        except TimeoutError:
            self.kill()
            raise BenchError(
                Outcome.TIMEOUT,
                f"{operation} took longer than {timeout_seconds:g} s and was stopped; the limit "
                "is set in the study's measure section",
            ) from None
        except (BrokenPipeError, EOFError):
            raise self._explain_death(operation) from None
        if reply.outcome is not None:
            raise BenchError(reply.outcome, reply.explanation)
        return reply

    def _send(self, request: Request) -> None:
        _pipe(self._process.stdin).write(request.model_dump_json().encode() + b"\n")
        _pipe(self._process.stdin).flush()

    def _receive(self, operation: Operation, timeout_seconds: float) -> Reply:
        return self._checked(operation, self._read_line(time.monotonic() + timeout_seconds))

    def _checked(self, operation: Operation, line: bytes) -> Reply:
        try:
            return Reply.model_validate_json(line)
        except ValidationError as error:
            self.kill()
            raise BenchError(
                Outcome.CRASHED,
                f"the bench process gave an unreadable reply to {operation}: {error}",
            ) from error

    def _read_line(self, deadline: float) -> bytes:
        with selectors.DefaultSelector() as selector:
            stdout = _pipe(self._process.stdout)
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                chunk = os.read(stdout.fileno(), 1 << 16)
                if not chunk:
                    raise EOFError
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _explain_death(self, operation: Operation) -> BenchError:
        self.kill()
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        outcome = Outcome.CRASHED
        if code == -signal.SIGKILL and _oom_kills() > self._oom_kills:
            outcome, how = Outcome.OUT_OF_MEMORY, "was killed by the kernel: out of memory"
        tail = " | ".join(tail_of(self.log)) or "nothing in its log"
        return BenchError(
            outcome, f"the bench process {how} during {operation}; last words: {tail}"
        )

    def close(self) -> None:
        """Asks the child to end, and makes it."""
        try:
            _pipe(self._process.stdin).close()
            self._process.wait(_CLOSE_SECONDS)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass  # it is killed just below
        self.kill()

    def kill(self) -> None:
        """Ends the child's whole process group at once."""
        self.terminate()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                _pipe(stream).close()

    def terminate(self) -> None:
        """Only sends the signal; safe from any thread. The owner's ``ask`` then fails."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> BenchSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _oom_kills() -> int:
    """How often the kernel has killed a process for lack of memory, in control groups or not."""
    fields = dict(line.split() for line in _KERNEL_COUNTERS.read_text().splitlines())
    return int(fields.get("oom_kill", 0))


def tail_of(log: Path, lines: int = _TAIL_LINES) -> list[str]:
    """The last lines of a log that are not empty."""
    text = log.read_bytes()[-16_384:].decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]
