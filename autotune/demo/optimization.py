"""The training loop of the demo model, driven by the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from transformers import LlamaForCausalLM

from autotune.demo.muon import Muon

Progress = Callable[[float, str], None]

_TOKENS_PER_STEP = 2048
_WINDOW_TOKENS, _LONG_WINDOW_TOKENS = 128, 512
_LONG_FROM = 0.75
"""Share of the training after which windows are long, for positions that short ones lack."""
_MIXTURE = {"code": 0.4, "prose": 0.45, "own": 0.15}
_MUON_LR, _ADAM_LR = 0.02, 0.01


class Clock:
    """Tells how much of the budget is spent, and passes it on."""

    def __init__(self, budget_seconds: float, progress: Progress | None) -> None:
        self.start = time.monotonic()
        self.end = self.start + budget_seconds
        self._total_seconds = budget_seconds * 1.05  # evaluation and saving come after the budget
        self._progress = progress

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self.start

    def tell(self, message: str) -> None:
        if self._progress:
            self._progress(min(0.99, self.elapsed_seconds / self._total_seconds), message)


def fastest_dtype() -> torch.dtype:
    """Times a small product: bfloat16 is twice as fast on some CPUs, 30 times slower on others."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(256, 256, dtype=dtype)
        x @ x
        start = time.perf_counter()
        for _ in range(5):
            x @ x
        seconds[dtype] = time.perf_counter() - start
    is_worth_it = seconds[torch.bfloat16] < 0.7 * seconds[torch.float32]
    return torch.bfloat16 if is_worth_it else torch.float32


def optimise(
    model: LlamaForCausalLM,
    streams: dict[str, torch.Tensor],
    clock: Clock,
    dtype: torch.dtype,
    fewest_steps: int,
) -> int:
    """Trains until the clock says stop.

    Args:
        model: Changed in place.
        streams: Token ids of each kind of text, shape (tokens,).
        clock: Runs since the start of the whole job.
        dtype: Of the matrix products.
        fewest_steps: Taken even if the clock has run out.

    Returns:
        The number of steps.
    """
    optimizers = _optimizers(model)
    start = clock.elapsed_seconds
    seconds = max(clock.end - clock.start - start, 0.5 * (clock.end - clock.start))
    steps, fraction = 0, 0.0
    model.train()
    while fraction < 1.0:
        loss = _step(model, optimizers, _batch(streams, fraction), _lr_scale(fraction), dtype)
        steps += 1
        clock.tell(f"step {steps}, loss {loss:.2f}")
        fraction = min((clock.elapsed_seconds - start) / seconds, steps / fewest_steps)
    model.train(False)
    return steps


def _optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        is_hidden_matrix = weight.ndim == 2 and "embed" not in name
        (matrices if is_hidden_matrix else rest).append(weight)
    adam = torch.optim.AdamW(rest, lr=_ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [Muon(matrices, lr=_MUON_LR), adam]


def _lr_scale(fraction: float) -> float:
    """Warms up for 5 % of the time, holds to 30 %, falls in a line to 2 %."""
    if fraction < 0.05:
        return 0.05 + fraction / 0.05 * 0.95
    return 1.0 if fraction < 0.3 else max(0.02, 1.0 - 0.98 * (fraction - 0.3) / 0.7)


def _batch(streams: dict[str, torch.Tensor], fraction: float) -> torch.Tensor:
    """Draws windows from the kinds of text at random; shape (sequences, tokens)."""
    length = _WINDOW_TOKENS if fraction < _LONG_FROM else _LONG_WINDOW_TOKENS
    kinds = list(streams)
    weights = torch.tensor([_MIXTURE[kind] for kind in kinds])
    draws = torch.multinomial(weights, _TOKENS_PER_STEP // length, replacement=True)
    return torch.stack([_window(streams[kinds[draw]], length) for draw in draws.tolist()])


def _window(stream: torch.Tensor, length: int) -> torch.Tensor:
    first = int(torch.randint(0, len(stream) - length + 1, ()))
    return stream[first : first + length]


def _step(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    batch: torch.Tensor,
    lr_scale: float,
    dtype: torch.dtype,
) -> float:
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr_scale * (_MUON_LR if isinstance(optimizer, Muon) else _ADAM_LR)
        optimizer.step()
        optimizer.zero_grad()
    return float(loss)
