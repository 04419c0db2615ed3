"""One process of several that run a model together: its place among them, and its channels."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from autotune.device import Device
from autotune.engine import Timing
from autotune.messages import Metrics, TrialSpec
from autotune.plugin import Phase, Plugin, Processes, Unsupported

_HOST = "127.0.0.1"
_PATIENCE = 0.9
"""Of the time that a step may take: then a process says for whom it waits, before the parent ends
them all."""


Arrays = Mapping[str, Any]
"""A batch on its way: numpy arrays."""


@dataclass(frozen=True)
class Orders:
    """The first message."""

    spec: TrialSpec
    number: int
    processes: Processes
    port: int


@dataclass(frozen=True)
class Ready:
    """What a process has prepared."""

    metrics: Metrics
    on_disk: Mapping[str, int]
    """See ``weights_on_disk``."""


@dataclass(frozen=True)
class Answered:
    """What came of a process's share of a request."""

    timing: Timing
    finite: bool


def patience_seconds(spec: TrialSpec) -> float:
    """How long a process waits for another one's part of an operation."""
    return _PATIENCE * spec.settings.step_timeout_seconds


def listener() -> socket.socket:
    """A socket on a free port of this machine alone, for rank 0's store."""
    found = socket.socket()
    found.bind((_HOST, 0))
    found.listen()
    return found


class Rank:
    """A process's number among all; 0 is the bench process."""

    def __init__(self, number: int, processes: Processes, port: int) -> None:
        self.number = number
        self.processes = processes
        self._port = port
        self._results: Any = None

    @property
    def words(self) -> str:
        """For a person."""
        return f"rank {self.number} of {self.processes.count}"

    @property
    def leads(self) -> bool:
        """Whether it answers for those that hold parts of the same model."""
        return self.number % self.processes.parts == 0

    def device(self, device: Device) -> Device:
        """The one of a trial's GPUs that is this process's own; the CPU is everybody's."""
        return device.model_copy(update={"index": self.number}) if device.kind != "cpu" else device

    def take_cores(self, device: Device) -> None:
        """Computes with this process's share of the cores, unless somebody has said how many.

        Raises:
            Unsupported: Threads are bound to cores, and all processes would take the same ones.
        """
        if os.environ.get("OMP_PROC_BIND", "false").lower() != "false":
            raise Unsupported("several processes would bind their threads to the same cores")
        if device.kind == "cpu" and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, device.cores // self.processes.count))

    def join(self, spec: TrialSpec, listening: socket.socket | None = None) -> None:
        """Connects this process with all others; returns when all have.

        Args:
            spec: The trial, with this process's own device.
            listening: Of rank 0, whose store the others find on its port.
        """
        count, parts = self.processes.count, self.processes.parts
        wait = timedelta(seconds=patience_seconds(spec))
        own = {} if listening is None else {"master_listen_fd": listening.detach()}
        long = timedelta(seconds=spec.settings.prepare_timeout_seconds)
        store = dist.TCPStore(
            *(_HOST, self._port, count, listening is not None, long),
            wait_for_workers=False,
            **own,
        )
        store.set(f"rank{self.number}", "here")
        store.wait([f"rank{number}" for number in range(count)], long)
        # All are on this machine: nobody else need reach them.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ["LOCAL_RANK"] = str(self.number)  # transformers takes the GPU of this number
        results = dist.PrefixStore("results", store)
        self._results = dist.ProcessGroupGloo(results, self.number, count, wait)
        if parts > 1:
            # To libraries, those that hold parts of one model are the whole world.
            model = dist.PrefixStore(f"model{self.number // parts}", store)
            world = {"rank": self.number % parts, "world_size": parts, "timeout": wait}
            dist.init_process_group(store=model, **world, **_backend(spec.device))

    def send(self, result: torch.Tensor) -> None:
        """Sends a tensor to rank 0, through the host's memory."""
        self._results.send([result.cpu().contiguous()], 0, 0).wait()

    def receive(self, shape: tuple[int, ...], dtype: torch.dtype, source: int) -> torch.Tensor:
        """What another rank sends; on the host."""
        result = torch.empty(shape, dtype=dtype)
        self._results.recv([result], source, 0).wait()
        return result


def _backend(device: Device) -> dict[str, Any]:
    if device.kind == "cpu":
        if torch.accelerator.is_available():
            raise Unsupported(
                "transformers divides models among accelerators wherever there are any: set "
                "CUDA_VISIBLE_DEVICES='' to have it on the CPU"
            )
        return {"backend": "gloo"}
    place = torch.device(device.torch_name)
    torch.cuda.set_device(place)
    return {"backend": "nccl", "device_id": place}


def require_whole(recipe: Mapping[str, Any], plugins: Mapping[str, Plugin]) -> None:
    """
    Raises:
        Unsupported: A plugin looks at a whole model, and no process holds one.
    """
    for name in recipe:
        if plugins[name].phase in (Phase.STRUCTURE, Phase.RECOVER, Phase.COMPILE):
            raise Unsupported(
                f"plugin {name!r} works on a whole model, and each process holds a part of one"
            )


def require_plan(model: Any, wanted: Mapping[str, Any] | None) -> None:
    """
    Args:
        model: Of transformers, empty.
        wanted: The ``distributed_config`` with which it is to be loaded, if any.

    Raises:
        Unsupported: Nobody has written down how to divide this kind of model.
    """
    for short, long in (("tp", "tensor"), ("pp", "pipeline")):
        divided = (wanted or {}).get(f"{short}_size", 1) > 1
        if divided and not getattr(model, f"supports_{short}_plan", False):
            raise Unsupported(
                f"transformers has no plan for {long} parallelism of {type(model).__name__}"
            )
