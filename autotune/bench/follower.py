"""A further process of one model: ``python -m autotune.bench.follower FD`` does what the bench
process, rank 0, has it do over the connection that it inherited as FD.

Orders are tuples of a method's name and its arguments; each is answered with a ``Reply`` and the
method's result. A failure ends the process, so that whoever waits for its part hears of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch

from autotune.bench import __main__ as bench
from autotune.bench import allocator
from autotune.bench.ahead import import_libraries
from autotune.bench.meters.memory import MemoryMeter, weights_on_disk
from autotune.bench.prepare import Prepared, compile_model, prepare
from autotune.bench.protocol import Reply
from autotune.bench.ranks import Answered, Arrays, Orders, Rank, Ready
from autotune.messages import Metrics
from autotune.processes import die_with_parent


class Follower:
    """Its public methods are what rank 0 may ask for."""

    def __init__(self, orders: Orders) -> None:
        self._rank = Rank(orders.number, orders.processes, orders.port)
        device = self._rank.device(orders.spec.device)
        self._spec = orders.spec.model_copy(update={"device": device})
        self._rank.take_cores(device)
        torch.manual_seed(self._spec.seed)
        self._memory = MemoryMeter(device)
        self._made: Prepared

    def prepare(self) -> Ready:
        """Loads and transforms as rank 0 does at the same time."""
        self._made = prepare(
            self._spec, self._memory, lambda: self._rank.join(self._spec), self._rank.processes
        )
        return Ready(self._made.metrics, weights_on_disk(self._made.model))

    def compile(self) -> None:
        """Applies the transforms of the compile phase."""
        compile_model(self._made, self._spec)

    def request(self, share: Arrays, run_args: Mapping[str, Any]) -> Answered:
        """Runs a request; the leader's tokens go to rank 0."""
        engine = self._made.engine
        timing = engine.request(self._batch(share), run_args)
        if self._rank.leads and engine.last_tokens is not None:
            self._rank.send(engine.last_tokens)
        return Answered(timing, engine.last_finite)

    def outputs(self, share: Arrays, run_args: Mapping[str, Any]) -> None:
        """Computes outputs; the leader's go to rank 0."""
        result = self._made.engine.outputs(self._batch(share), run_args)
        if self._rank.leads:
            self._rank.send(result)

    def forget(self) -> None:
        """As of the engine; the allocator is brought to where rank 0's is."""
        self._made.engine.forget()
        allocator.settle()

    def start_memory(self) -> None:
        """Begins a new peak."""
        self._memory.start()

    def read_memory(self) -> Metrics:
        """The peaks since then."""
        return self._memory.read()

    def _batch(self, share: Arrays) -> dict[str, torch.Tensor]:
        device = self._spec.device.torch_name
        return {name: torch.from_numpy(array).to(device) for name, array in share.items()}


def main() -> None:
    """Follows until the connection ends."""
    if not die_with_parent(int(os.environ["AUTOTUNE_PARENT_PID"])):
        sys.exit("rank 0 is gone")
    bench.quiet_libraries()
    connection = Connection(int(sys.argv[1]))
    try:
        if failed := import_libraries():
            raise failed
        follower = Follower(connection.recv())
        while True:
            name, *arguments = connection.recv()
            connection.send((Reply(), getattr(follower, name)(*arguments)))
    except EOFError:
        pass
    except Exception as error:
        connection.send((bench.failure(error), None))
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
