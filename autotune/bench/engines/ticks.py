"""When the steps of a request ended, on the host and on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import torch


def synchroniser(device: torch.device) -> Callable[[], None]:
    """Waits until the device has done all that was asked of it."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


class HostTicks:
    """When each step ended, where a step is over as soon as its call is."""

    def __init__(self) -> None:
        self._seconds = [time.perf_counter()]

    def tick(self, tokens: int = 1) -> None:
        """Several tokens of one step come at the same moment."""
        self._seconds += [time.perf_counter()] * tokens

    def gaps(self) -> tuple[float, ...]:
        return tuple(later - earlier for earlier, later in pairwise(self._seconds))


class DeviceTicks:
    """When each step ended on the GPU, by events in its stream: nothing waits for them before
    the request is over."""

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self.tick()

    def tick(self, tokens: int = 1) -> None:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._events += [event] * tokens

    def gaps(self) -> tuple[float, ...]:
        milliseconds = (earlier.elapsed_time(later) for earlier, later in pairwise(self._events))
        return tuple(value / 1000 for value in milliseconds)


Ticks = HostTicks | DeviceTicks
