"""The work of a request's passes: floating-point operations and bytes that must be read.

Operations are the model's, not the hardware's: 2*m*n*k of each matrix product, and attention's
two products over the whole square, causal or not (Chowdhery et al., PaLM, 2022, appendix B). They
are counted while a real pass runs, so that pruned models count as what is left of them. A linear
layer counts by the shapes that go in and come out, whatever kernel multiplies quantized weights;
everything else by torch's own formulas.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from autotune.bench.fallbacks import dtype_name
from autotune.bench.kernels import is_product
from autotune.bench.meters.memory import plain_parts
from autotune.engine import Passes
from autotune.messages import Measurement, Metrics


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    shapes = query.shape, key.shape, value.shape
    return int(sdpa_flop_count(*shapes))  # type: ignore[no-untyped-call]


_FORMULAS: dict[Any, Callable[..., int]] = {
    # torch's registry leaves out the CPU's fused attention.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    **flop_registry,
}


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the products that run under it, by the number format of their left operand."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[str] = Counter()
        self._model = model
        self._hooks: list[Any] = []
        self._linear: str | None = None
        """The format of the linear layer that is running; None outside of one."""

    def __enter__(self) -> FlopCounter:
        for module in self._model.modules():
            if isinstance(module, torch.nn.Linear):
                self._hooks.append(module.register_forward_pre_hook(self._before_linear))
                self._hooks.append(module.register_forward_hook(self._after_linear))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _before_linear(self, module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        self._linear = _format(inputs[0].dtype)

    def _after_linear(
        self, module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> None:
        assert self._linear is not None
        self.flops[self._linear] += 2 * inputs[0].numel() * output.shape[-1]
        self._linear = None

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        result = function(*args, **given)
        if self._linear is not None:
            if is_product(function.name()) and isinstance(args[0], torch.Tensor):
                self._linear = _format(_left(function, args).dtype)
        elif (formula := _FORMULAS.get(function.overloadpacket)) is not None:
            self.flops[_format(_left(function, args).dtype)] += formula(
                *args, **given, out_val=result
            )
        return result


def _left(function: Any, args: Any) -> torch.Tensor:
    """The left operand of a product; ``addmm`` and its like begin with what they add to."""
    adds = function.overloadpacket in (torch.ops.aten.addmm, torch.ops.aten.baddbmm)
    left: torch.Tensor = args[1 if adds else 0]
    return left


def _format(dtype: torch.dtype) -> str:
    name = dtype_name(dtype)
    if name == "uint8":  # activations where the CPU's VNNI multiplies them by int8 weights
        return "int8"
    return "float8" if name.startswith("float8") else name


@dataclass(frozen=True)
class Work:
    """Of one sequence; counted once for each prepared model."""

    prompt_flops: float
    step_flops: float | None
    """At the mean length; None where a request has no decode steps."""
    weights_bytes: int
    """Read once in each pass, however many sequences."""
    row_bytes: int
    """Read of embedding tables for each token that goes in."""
    cache_bytes: float
    """Keys and values that a step reads, at the mean length."""
    matmul_format: str
    """The number format in which most of the prompt's operations are computed."""

    def metrics(self, batch: int, prompt_tokens: int, *, plain_steps: bool = True) -> Metrics:
        """The work of the passes of one request.

        Args:
            batch: Sequences of the request.
            prompt_tokens: Of each.
            plain_steps: See ``Engine.plain_steps``; what others do and read is not known.
        """
        rows = batch * prompt_tokens * self.row_bytes
        found = {
            "prompt_flops": _flops(self.prompt_flops * batch),
            "prompt_bytes": _bytes(self.weights_bytes + rows),
        }
        if self.step_flops is None:
            return found
        if not plain_steps:
            unknown = {"decode_step_flops": _unknown("FLOP"), "decode_step_bytes": _unknown("B")}
            return found | unknown
        moved = self.weights_bytes + batch * (self.row_bytes + self.cache_bytes)
        return found | {
            "decode_step_flops": _flops(self.step_flops * batch),
            "decode_step_bytes": _bytes(moved),
        }


def _flops(value: float) -> Measurement:
    return Measurement(value=float(value), unit="FLOP", source="counted in one pass")


def _bytes(value: float) -> Measurement:
    return Measurement(value=float(value), unit="B", source="unique storages, cache")


def _unknown(unit: str) -> Measurement:
    reason = "counted for one token a step, with all keys and values as they are"
    return Measurement.unavailable(unit, reason)


def count_work(model: Any, passes: Passes | None) -> Work | None:
    """Counts what one request's passes do.

    Args:
        model: Prepared, not yet compiled.
        passes: Of one sequence; each is run. None from an engine that cannot say.

    Returns:
        None where nothing can be counted: the engine does not run the model in torch.
    """
    if passes is None or not isinstance(model, torch.nn.Module):
        return None
    # Inference mode would hide composite operators' parts.
    with torch.no_grad(), _attention_in_sight(model):
        prompt = _count(model, passes.prompt)
        steps = [_step(model, passes) for _ in range(min(2, passes.steps))]
    if not prompt:
        return None
    weights, row = read_bytes(model)
    return Work(
        prompt_flops=prompt.total(),
        step_flops=_mean(passes.steps, [flops for flops, _ in steps]),
        weights_bytes=weights,
        row_bytes=row,
        cache_bytes=_mean(passes.steps, [held for _, held in steps]) or 0.0,
        matmul_format=prompt.most_common(1)[0][0],
    )


@contextlib.contextmanager
def _attention_in_sight(model: Any) -> Iterator[None]:
    """flex_attention compiles itself on its first call, which fails while operators are watched,
    and torch remembers the failure: another kernel with the same operations stands in."""
    own = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if own != "flex_attention":
        yield
        return
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def _count(model: torch.nn.Module, run: Callable[[], object]) -> Counter[str]:
    with FlopCounter(model) as counter:
        run()
    return counter.flops


def _step(model: torch.nn.Module, passes: Passes) -> tuple[int, int]:
    """Operations of the next decode step, and the bytes of the cache after it."""
    return _count(model, passes.step).total(), passes.cache_bytes()


def _mean(steps: int, first: list[int]) -> float | None:
    """The mean over all steps of what grows by the same amount in each.

    Args:
        steps: How many there are.
        first: The values of the first two of them, or of the only one, or of none.
    """
    if not first:
        return None
    return first[0] + (first[-1] - first[0]) * (steps - 1) / 2


def read_bytes(model: torch.nn.Module) -> tuple[int, int]:
    """What a pass reads of the weights that are held.

    Returns:
        Bytes of the unique storages of all parameters and buffers but embedding tables, which are
        read by rows (a table that the output head shares is read whole); and the bytes of one
        row of each table. Of a mixture of experts all experts are counted.
    """
    whole: dict[tuple[str, int], int] = {}
    tables: dict[tuple[str, int], int] = {}
    for module in model.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        for part in (part for tensor in own for part in plain_parts(tensor)):
            storage = part.untyped_storage()
            place = (str(part.device), storage.data_ptr())
            if isinstance(module, torch.nn.Embedding):
                tables[place] = storage.nbytes() // module.num_embeddings
            else:
                whole[place] = storage.nbytes()
    rows = sum(row for place, row in tables.items() if place not in whole)
    return sum(whole.values()), rows
