"""Fixed work of the two kinds that serving consists of, to see whether the device drifts."""

from __future__ import annotations

import functools
import statistics
import time

import torch

from autotune.bench.protocol import PROBE_SECONDS

_PROBE_SECONDS = 0.1
"""A block of the probe lasts at least this long."""


class Probe:
    """A matrix times a vector (bound by memory, as decoding is) and a matrix times a matrix
    (bound by arithmetic, as a prefill is), in float32."""

    def __init__(self, device: str) -> None:
        """
        Args:
            device: As torch names it.
        """
        size, tall = (4096, 16_384) if device.startswith("cuda") else (768, 4096)
        generator = torch.Generator().manual_seed(0)
        self._square = torch.rand(size, size, generator=generator).to(device)
        self._tall = torch.rand(tall, size, generator=generator).to(device)
        self._vector = torch.rand(size, generator=generator).to(device)
        self._cuda = device.startswith("cuda")
        self.block_seconds()  # the first calls load kernels

    @torch.inference_mode()
    def block_seconds(self) -> float:
        """The median time of one round, in seconds."""
        rounds: list[float] = []
        while sum(rounds) < _PROBE_SECONDS or len(rounds) < 3:
            self._synchronise()
            began = time.perf_counter()
            self._tall @ self._vector
            self._square @ self._square
            self._synchronise()
            rounds.append(time.perf_counter() - began)
        return statistics.median(rounds)

    def _synchronise(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()


@functools.cache
def _probe(device: str) -> Probe:
    return Probe(device)


def probe_values(device: str) -> dict[str, float]:
    """One block of the probe.

    Args:
        device: As torch names it.
    """
    return {PROBE_SECONDS: _probe(device).block_seconds()}
