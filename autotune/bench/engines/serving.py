"""Traffic through a model: which requests go together, and when each of their tokens came."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from autotune.bench.caches import growing_cache
from autotune.bench.engines.intake import INTAKE, Ahead, Intake
from autotune.bench.engines.reuse import Answers, Prefixes
from autotune.bench.engines.rows import Rows
from autotune.engine import Request, TextRequest, Timing
from autotune.plugin import Unsupported

SERVING: Mapping[str, Any] = {
    "batching": "arrival",
    "batching_window": 4,
    "prefix_entries": 0,
    "result_entries": 0,
    "adapters": "switched",
    **INTAKE,
}
"""Run arguments that only traffic has: how requests are put into batches, how many batches' worth
are sorted at a time, how many prompts and answers are kept for those that come later, whether
requests for different adapters share a batch, and how text becomes tokens."""


def check_serving(run_args: Mapping[str, Any], model: Any) -> None:
    """Refuses what cannot be driven with rows of different lengths.

    Raises:
        Unsupported: And why.
    """
    if run_args["cache"] != "dynamic" or run_args["draft_tokens"]:
        raise Unsupported(
            "sequences of different lengths run together with the dynamic key-value cache and "
            "without guesses only"
        )
    if run_args["batching"] == "packed":
        _check_packing(run_args, model)
    kernel, device = model.config._attn_implementation, model.device.type
    if run_args["batching"] == "continuous" and (kernel, device) == ("flex_attention", "cpu"):
        # torch 2.13: "cur_kvSplitSize0 was not declared in this scope"
        raise Unsupported(
            "torch's C++ of flex_attention for CPUs does not compile where the rows of a batch "
            "begin at different places, as in continuous batching"
        )
    layers = growing_cache(model.config, run_args).layers
    if others := {type(layer).__name__ for layer in layers if type(layer) is not DynamicLayer}:
        raise Unsupported(
            "sequences of different lengths run together where all layers attend to all tokens; "
            f"this model's cache has {', '.join(sorted(others))}"
        )
    plain = getattr(model, "_orig_mod", model)
    if "position_ids" not in inspect.signature(type(plain).forward).parameters:
        raise Unsupported(
            f"{type(plain).__name__} takes no position_ids, which sequences of different lengths "
            "need to run together"
        )


def _check_packing(run_args: Mapping[str, Any], model: Any) -> None:
    kernel = model.config._attn_implementation
    if kernel not in ("sdpa", "flash_attention_2"):
        raise Unsupported(
            f"prompts packed into one row need the attention kernel sdpa or flash_attention_2, "
            f"not {kernel}"
        )
    if run_args["prefix_entries"]:
        raise Unsupported("prompts packed into one row are computed whole, known prefixes or not")
    if run_args["adapters"] == "mixed":
        raise Unsupported(
            "prompts packed into one row go through the weights together, and so with one adapter"
        )


class Answer:
    """What has come of one request so far."""

    def __init__(self, request: Request, start: float) -> None:
        self.request = request
        self._start = start
        self._seconds: list[float] = []
        self.tokens: list[int] = []

    def add(self, token: int, now: float) -> bool:
        """Takes in the next token; whether it was the last one."""
        self.tokens.append(token)
        self._seconds.append(now)
        return self.is_done

    @property
    def is_done(self) -> bool:
        return len(self.tokens) == self.request.new_tokens

    def timing(self) -> Timing:
        """Its clock readings; an answer that came whole has no gaps between its tokens."""
        first, last = self._seconds[0], self._seconds[-1]
        pairs = pairwise(self._seconds) if last > first else ()
        gaps = tuple(later - earlier for earlier, later in pairs)
        size = len(self.request.prompt), len(self.tokens)
        return Timing(self._start, first, last, 1, *size, gaps)


class Server:
    """Serves traffic once, to its end. A request is handed over, and its clock begins, when the
    server takes it: alone, with its batch, with the window that is sorted, or when a row is free.

    No policy looks at how long an answer will be: who serves real requests does not know.
    """

    def __init__(
        self,
        new_rows: Callable[[], Rows],
        device: torch.device,
        attention: str,
        run_args: Mapping[str, Any],
        ahead: Ahead,
    ) -> None:
        """
        Args:
            new_rows: Makes empty rows.
            device: The model's.
            attention: transformers' name of the kernel.
            run_args: ``batch_size`` and those of ``SERVING``.
            ahead: Who tokenizes requests before they are taken, if the run arguments say so.
        """
        self._known_answers = Answers(run_args["result_entries"])
        self._known_prefixes = Prefixes(run_args["prefix_entries"])
        self._keeps_prefixes = run_args["prefix_entries"] > 0
        self._new_rows = new_rows
        self._device = device
        self._size = int(run_args["batch_size"])
        self._window = int(run_args["batching_window"])
        self._policy = {
            "arrival": self._in_order_of_arrival,
            "sorted": self._in_sorted_batches,
            "continuous": self._continuously,
            "packed": self._in_order_of_arrival,
        }[run_args["batching"]]
        self._packs = run_args["batching"] == "packed"
        self._switches = run_args["adapters"] == "switched"
        self._mask_needed = attention == "sdpa"
        self._run_args = run_args
        self._ahead = ahead
        self._pins = run_args["transfer"] == "pinned"
        self._waiting = Intake((), run_args, ahead)
        self.answers: list[Answer] = []
        """Of the latest traffic, in its order."""
        self.logits = torch.empty(0)
        """Of the latest pass."""

    def serve(self, requests: Sequence[Request | TextRequest]) -> list[Timing]:
        """Serves all; returns when the last answer is there."""
        self._waiting = Intake(requests, self._run_args, self._ahead)
        self.answers = []
        self._policy()
        return [answer.timing() for answer in self.answers]

    def _take(
        self, most: int, of_one_adapter: bool, beside: Sequence[Answer] = ()
    ) -> list[Answer]:
        """The next requests that have to be computed, in their order; none where none wait.

        Args:
            most: So many, where there are.
            of_one_adapter: Only those before the first one with another adapter.
            beside: Those that they join, of one adapter too.
        """
        taken: list[Answer] = []
        while self._waiting and len(taken) < most:
            others = [*beside, *taken]
            if of_one_adapter and others and others[0].request.adapter != self._waiting.adapter:
                break
            now = time.perf_counter()  # those that are taken together wait for one another's text
            together = self._waiting.take(most - len(taken), of_one_adapter=of_one_adapter)
            answers = [Answer(request, now) for request in together]
            self.answers += answers
            taken += [answer for answer in answers if not self._is_known(answer)]
        return taken

    def _is_known(self, answer: Answer) -> bool:
        """Whether it is there already, and complete now."""
        known = self._known_answers.find(answer.request)
        now = time.perf_counter()
        for token in known or ():
            answer.add(token, now)
        return known is not None

    def _in_order_of_arrival(self) -> None:
        """Batches as they come, padded to the longest prompt."""
        while batch := self._take(self._size, self._switches):
            self._run(batch)

    def _in_sorted_batches(self) -> None:
        """Several batches' worth at a time, those of about the same length together; those of one
        adapter, where adapters are switched."""
        most = self._size * self._window
        while window := self._take(most, of_one_adapter=False):
            window.sort(key=lambda answer: len(answer.request.prompt))
            groups: dict[int | None, list[Answer]] = {}
            for answer in window:
                adapter = answer.request.adapter if self._switches else None
                groups.setdefault(adapter, []).append(answer)
            for group in groups.values():
                for batch in _parts(group, self._size):
                    self._run(batch)

    def _continuously(self) -> None:
        """A row is free again as soon as its answer is done: iteration-level scheduling (Yu et
        al., Orca, 2022). Prompts have a pass of their own, between those of the answers."""
        rows, going = self._new_rows(), list[Answer]()
        while True:
            left = [i for i, answer in enumerate(going) if not answer.is_done]
            if len(left) < len(going):
                rows.keep(left)
                going = [going[i] for i in left]
            if new := self._take(self._size - len(going), self._switches, going):
                rows.join(self._begin(new))
                going += new
            elif going:
                self._advance(rows, going)
            else:
                return

    def _run(self, batch: Sequence[Answer]) -> None:
        """One batch, until its longest answer is done."""
        rows = self._begin(batch)
        while not all(answer.is_done for answer in batch):
            self._advance(rows, batch)

    def _begin(self, batch: Sequence[Answer]) -> Rows:
        """Reads the prompts of some requests, and says their first tokens."""
        rows = self._new_rows()
        asked = [answer.request for answer in batch]
        prompts = [one.prompt.to(self._device, non_blocking=self._pins) for one in asked]
        if self._packs:
            said = rows.prefill_packed(prompts, asked[0].adapter, self._mask_needed)
        else:
            known = [self._known_prefixes.find(one) for one in asked]
            said = rows.prefill(prompts, known, [one.adapter for one in asked])
        self._note(batch, said, rows)
        if self._keeps_prefixes:
            for row, request in enumerate(asked):
                self._known_prefixes.put(request, rows.held(row))
        return rows

    def _advance(self, rows: Rows, batch: Sequence[Answer]) -> None:
        self._note(batch, rows.decode(), rows)

    def _note(self, batch: Sequence[Answer], said: Sequence[int], rows: Rows) -> None:
        """Rows of a batch that are done go on until its longest answer is: that is dropped."""
        now = time.perf_counter()
        self.logits = rows.logits
        for answer, token in zip(batch, said, strict=True):
            if not answer.is_done and answer.add(token, now):
                self._known_answers.put(answer.request, answer.tokens)


def _parts(whole: Sequence[Answer], size: int) -> Iterator[Sequence[Answer]]:
    return (whole[i : i + size] for i in range(0, len(whole), size))
