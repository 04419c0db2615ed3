"""An engine of several processes, as rank 0 drives it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch

from autotune.bench.group import Group
from autotune.bench.ranks import Answered, Arrays
from autotune.engine import Batch, Engine, Timing
from autotune.errors import BenchError
from autotune.outcome import Outcome
from autotune.plugin import Unsupported

_SAME = 1e-2
"""Replicas differ by no more than this, relative to the largest number: they compute the same in
the same way, and need not do so bit by bit."""


class ParallelEngine(Engine):
    """Runs this process's engine, and has the others run theirs at the same time.

    Processes that hold parts of one model get the same sequences; replicas get their shares of
    them. A request is over when the last process has told its tokens.
    """

    def __init__(self, own: Engine, group: Group) -> None:
        self._own = own
        self._group = group
        # One prompt for each replica, where no plugin says how many there are.
        self.run_args = {**own.run_args, "batch_size": group.processes.replicas}
        self._finite = True

    @property
    def last_finite(self) -> bool:
        """Whether the latest request gave only finite numbers in all processes."""
        return self._finite

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As this process's engine, and refuses batches that leave a replica without work."""
        replicas = self._group.processes.replicas
        found = self._own.resolve({"batch_size": replicas, **given})
        if found["batch_size"] < replicas:
            raise Unsupported(
                f"a batch of {found['batch_size']} cannot be divided among {replicas} models: "
                f"batch.size must be {replicas} or more"
            )
        return found

    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One request in all processes; a token is there when every replica's is."""
        start = time.perf_counter()
        shares = self._divide(prompts)
        with self._group.blaming():
            followers = self._order("request", shares, run_args)
            own = self._own.request(shares[0], run_args)
            self.last_tokens = self._gather(self._own.last_tokens, shares)
            answers: list[Answered] = self._group.answers(followers)
        self._finite = self._own.last_finite and all(answer.finite for answer in answers)
        return merged(start, time.perf_counter(), [own, *(a.timing for a in answers)], prompts)

    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """Those of all replicas, in the order of the sequences."""
        shares = self._divide(batch)
        with self._group.blaming():
            followers = self._order("outputs", shares, run_args)
            gathered = self._gather(self._own.outputs(shares[0], run_args), shares)
            self._group.answers(followers)
        assert gathered is not None
        return gathered

    def check_replicas(self, prompt: Batch) -> None:
        """Gives all replicas the same prompt.

        Raises:
            BenchError: One of them computes other numbers.
        """
        replicas = self._group.processes.replicas
        same = {name: tensor[:1].expand(replicas, -1) for name, tensor in prompt.items()}
        outputs = self.outputs(same, self.resolve({}))
        limit = _SAME * float(outputs[0].abs().max())
        for number, other in enumerate(outputs):
            difference = float((other - outputs[0]).abs().max())
            if difference > limit:
                raise BenchError(
                    Outcome.INVALID_OUTPUT,
                    f"replica {number} of the model computes other numbers than the first one: "
                    f"they differ by {difference:.3g}",
                )

    def alters_outputs(self, run_args: Mapping[str, Any]) -> bool:
        """As this process's engine."""
        return self._own.alters_outputs(run_args)

    def plain_steps(self, run_args: Mapping[str, Any]) -> bool:
        """As this process's engine."""
        return self._own.plain_steps(run_args)

    def forget(self) -> None:
        """In all processes."""
        self._group.ask_all("forget")
        self._own.forget()

    def _divide(self, batch: Batch) -> list[dict[str, torch.Tensor]]:
        """Each replica's share; the first ones get what is left over."""
        replicas = self._group.processes.replicas
        parts = {name: tensor.tensor_split(replicas) for name, tensor in batch.items()}
        shares = [{name: part[i] for name, part in parts.items()} for i in range(replicas)]
        return [share for share in shares if len(share["input_ids"])]

    def _order(
        self, name: str, shares: Sequence[Batch], run_args: Mapping[str, Any]
    ) -> Sequence[Any]:
        arrays: list[Arrays] = [
            {key: tensor.cpu().numpy() for key, tensor in share.items()} for share in shares
        ]
        followers = self._group.of_replicas(len(shares))
        self._group.order(followers, name, lambda replica: (arrays[replica], run_args))
        return followers

    def _gather(self, own: torch.Tensor | None, shares: Sequence[Batch]) -> torch.Tensor | None:
        """One tensor of all replicas' results."""
        if own is None:
            return None
        sizes = [len(share["input_ids"]) for share in shares[1:]]
        leaders = self._group.leaders()[: len(sizes)]
        pairs = zip(sizes, leaders, strict=True)
        return torch.cat([own, *(self._group.receive(own, n, leader) for n, leader in pairs)])


def merged(start: float, last: float, timings: Sequence[Timing], prompts: Batch) -> Timing:
    """The timing of a request that ran in several processes of one host, whose clock is the same.

    Args:
        start: When the request was there, before it was divided.
        last: When all was there again.
        timings: Of all processes.
        prompts: All of them.
    """
    sequences, tokens = prompts["input_ids"].shape
    first = max(timing.first for timing in timings)
    ticks = [tuple(accumulate(t.gaps, initial=t.first)) for t in timings]
    latest = [max(moments) for moments in zip(*ticks, strict=True)]
    gaps = tuple(later - earlier for earlier, later in pairwise(latest))
    return Timing(start, first, last, sequences, tokens, timings[0].output_tokens, gaps)
