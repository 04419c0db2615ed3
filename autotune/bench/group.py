"""Rank 0's end of several processes that run a model together: start them, ask them, and end with
any of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from autotune import registry
from autotune.bench.meters.memory import MemoryMeter, weights_on_disk
from autotune.bench.prepare import Prepared, prepare
from autotune.bench.ranks import (
    Orders,
    Rank,
    Ready,
    listener,
    patience_seconds,
    require_whole,
)
from autotune.errors import BenchError
from autotune.messages import Measurement, Metrics, TrialSpec
from autotune.outcome import Outcome
from autotune.plugin import Processes, Unsupported
from autotune.space import processes_of

_GRACE_SECONDS = 5.0
"""A process that waited for one that failed hears the reason within this time."""


class _Follower:
    """Another process, and the connection to it."""

    def __init__(self, orders: Orders) -> None:
        self.rank = Rank(orders.number, orders.processes, orders.port)
        self.connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "autotune.bench.follower", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "AUTOTUNE_PARENT_PID": str(os.getpid())},
                pass_fds=[theirs.fileno()],
            )
        self.connection.send(orders)
        threading.Thread(target=self._watch, name=self.rank.words, daemon=True).start()

    def _watch(self) -> None:
        """For a main thread that waits for it on a GPU, where nothing ends the waiting."""
        self._process.wait()
        time.sleep(_GRACE_SECONDS)
        self.die_with_it()

    def die_with_it(self) -> None:
        """Ends this process as the other one ended: the parent explains a death by its signal and
        by the last lines of the log that all of them share."""
        code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"gone with status {code}"
        print(f"{self.rank.words} was {how}; rank 0 ends with it", file=sys.stderr, flush=True)
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code or 1)


class Group:
    """All processes of one prepared model, seen from rank 0."""

    def __init__(self, spec: TrialSpec, processes: Processes) -> None:
        self.processes = processes
        self._spec = spec
        self._patience = patience_seconds(spec)
        self._listening = listener()
        port = self._listening.getsockname()[1]
        self._rank = Rank(0, processes, port)
        self._rank.take_cores(spec.device)
        numbers = range(1, processes.count)
        self._followers = [_Follower(Orders(spec, n, processes, port)) for n in numbers]

    @classmethod
    def of(cls, spec: TrialSpec) -> Group | None:
        """Starts what a recipe asks for; None where that is one process.

        Raises:
            Unsupported: Two plugins ask for several processes, or one needs a whole model.
        """
        plugins = registry.installed().select(spec.recipe).plugins
        processes = processes_of(spec.recipe, plugins)
        if processes.count == 1:
            return None
        if processes.parts > 1:
            require_whole(spec.recipe, plugins)
        return cls(spec, processes)

    def prepare(self, memory: MemoryMeter) -> Prepared:
        """Has all processes prepare at the same time.

        Args:
            memory: Of this process.

        Returns:
            What this process holds, with the metrics of all together.
        """
        self.order(self._followers, "prepare")
        with self.blaming():
            made = prepare(
                self._spec,
                memory,
                lambda: self._rank.join(self._spec, self._listening),
                self.processes,
            )
            limit = self._spec.settings.prepare_timeout_seconds
            own = Ready(made.metrics, weights_on_disk(made.model))
            ready: list[Ready] = [own, *self.answers(self._followers, limit)]
        made.metrics = _together(ready)
        return made

    def leaders(self) -> list[_Follower]:
        """Those that answer for the other replicas, in order."""
        return [follower for follower in self._followers if follower.rank.leads]

    def of_replicas(self, count: int) -> list[_Follower]:
        """All processes of the first ``count`` replicas but this one."""
        return self._followers[: count * self.processes.parts - 1]

    def ask_all(self, name: str) -> list[Any]:
        """Has all others do something that this process need not wait for in between."""
        self.order(self._followers, name)
        return self.answers(self._followers)

    def order(
        self,
        followers: Iterable[_Follower],
        name: str,
        arguments: Callable[[int], tuple[Any, ...]] = lambda replica: (),
    ) -> None:
        """Tells some of them what to do.

        Args:
            followers: Which.
            name: A method of ``Follower``.
            arguments: Of a replica's number.
        """
        for follower in followers:
            replica = follower.rank.number // self.processes.parts
            try:
                follower.connection.send((name, *arguments(replica)))
            except (BrokenPipeError, ConnectionResetError):
                self._hear(follower)  # it has said why, or has died
                raise

    def answers(self, followers: Sequence[_Follower], limit: float | None = None) -> list[Any]:
        """Waits for the results of what they were told to do.

        Raises:
            BenchError: One of them failed, or says nothing.
        """
        deadline = time.monotonic() + (limit or self._patience)
        found: dict[Connection, Any] = {}
        names = {follower.connection: follower for follower in followers}
        while left := [c for c in names if c not in found]:
            ready = wait(left, max(0.0, deadline - time.monotonic()))
            if not ready:
                silent = " and ".join(names[c].rank.words for c in left)
                raise BenchError(
                    Outcome.CRASHED,
                    f"{silent} gave no answer within {limit or self._patience:g} s",
                )
            for connection in ready:
                assert isinstance(connection, Connection)
                found[connection] = self._hear(names[connection])
        return [found[connection] for connection in names]

    def _hear(self, follower: _Follower) -> Any:
        """
        Raises:
            BenchError: It failed.
        """
        try:
            reply, result = follower.connection.recv()
        except (EOFError, ConnectionResetError):
            follower.die_with_it()
        if reply.outcome is not None:
            raise BenchError(reply.outcome, f"{follower.rank.words}: {reply.explanation}")
        return result

    @contextlib.contextmanager
    def blaming(self) -> Iterator[None]:
        """What fails in here may have waited in vain for a process that failed before: then it is
        that one's failure.

        Raises:
            BenchError: Of the other process.
        """
        try:
            yield
        except (Unsupported, BenchError):
            raise
        except Exception:
            connections = {follower.connection: follower for follower in self._followers}
            while ready := wait(list(connections), _GRACE_SECONDS):
                for connection in ready:
                    assert isinstance(connection, Connection)
                    self._hear(connections.pop(connection))
            raise

    def receive(self, like: Any, sequences: int, source: _Follower) -> Any:
        """The result of another replica's share.

        Args:
            like: This replica's result.
            sequences: Of the other one's share.
            source: Its leader.
        """
        shape = (sequences, *like.shape[1:])
        return self._rank.receive(shape, like.dtype, source.rank.number).to(like.device)


class GroupMemory(MemoryMeter):
    """The peaks of all processes of a group: the sum of each one's own, whenever that was."""

    def __init__(self, spec: TrialSpec, group: Group) -> None:
        super().__init__(spec.device)
        self._group = group

    def start(self) -> None:
        """Begins a new peak in all of them."""
        self._group.ask_all("start_memory")
        super().start()

    def read(self) -> Metrics:
        """The sums of the peaks since ``start``."""
        return _sums([super().read(), *self._group.ask_all("read_memory")])


def _together(ready: Sequence[Ready]) -> Metrics:
    """All begin together, and the last one ends it; what each holds adds up. Replicas and parts of
    one model are saved as one."""
    found = _sums([one.metrics for one in ready])
    for name in ("load_seconds", "transform_seconds"):
        slowest = max(one.metrics[name].value or 0.0 for one in ready)
        found[name] = found[name].model_copy(update={"value": slowest})
    on_disk: dict[str, int] = {}
    for one in ready:
        on_disk |= one.on_disk
    disk = found["weights_disk_bytes"].model_copy(update={"value": float(sum(on_disk.values()))})
    return found | {"weights_disk_bytes": disk}


def _sums(metrics: Sequence[Mapping[str, Measurement]]) -> Metrics:
    source = f"{len(metrics)} processes: "
    sums: Metrics = {}
    for name, own in metrics[0].items():
        values = [one[name].value for one in metrics]
        if all(value is not None for value in values):
            total = sum(value for value in values if value is not None)
            sums[name] = own.model_copy(update={"value": total, "source": source + own.source})
        else:
            sums[name] = Measurement.unavailable(own.unit, "one of the processes does not know")
    return sums
