"""Which kernels compute a prepared model, as notes for a person.

The operators are watched by a dispatch mode rather than by torch's profiler: the profiler keeps
tens of megabytes and, on a GPU, a tracer, which would be measured with the model. Compiled code
cannot be watched so; what is said holds for the model before compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autotune.bench.fallbacks import Asked, dtype_name, is_quantized, linears_to_quantize
from autotune.bench.protocol import Fallback
from autotune.device import Device

Kernel = tuple[str, tuple[str, ...]]
"""An operator's name and the formats of its two operands, e.g. ``aten::_int_mm``, ``int8``."""

_PRODUCTS = ("mm", "matmul", "linear")
_OWN = ("aten", "prims", "torchao")
"""Whose operators are told by name; any other library's operator counts as a kernel."""
_INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def is_product(operator: str) -> bool:
    """Whether an operator such as ``aten::addmm`` multiplies matrices."""
    space, _, name = operator.partition("::")
    return space not in _OWN or any(word in name for word in _PRODUCTS)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operators that run under it, as far as they are wanted."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._wanted = wanted
        self.seen: list[Kernel] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if self._wanted(function.name()):
            tensors = [a for a in args if isinstance(a, torch.Tensor)][:2]
            formats = dict.fromkeys(dtype_name(t.dtype) for t in tensors)
            self.seen.append((function.name().partition(".")[0], tuple(formats)))
        return function(*args, **(kwargs or {}))


def products_of(linear: torch.nn.Linear, rows: int) -> tuple[Kernel, ...]:
    """The matrix products of one call, each once.

    Args:
        linear: A quantized linear.
        rows: How many tokens it is given.
    """
    weight = linear.weight
    zeros = torch.zeros(1, rows, linear.in_features, dtype=weight.dtype, device=weight.device)
    with torch.inference_mode(), _Operators(is_product) as products:
        linear(zeros)
    return tuple(dict.fromkeys(products.seen))


def look_at_linears(
    model: Any, asked: Asked, device: Device, rows: int
) -> tuple[list[str], list[Fallback]]:
    """What multiplies the quantized weights.

    Args:
        model: The transformed model, not yet compiled.
        asked: What the plugins expect; ``matmul`` is the format that products are asked in.
        device: Where it runs.
        rows: Tokens of a prompt; one token is tried as well.

    Returns:
        Notes, and a fallback for each product in another format than asked for.
    """
    if "quantized" not in asked or not isinstance(model, torch.nn.Module):
        return [], []
    kinds = {type(x.weight): x for x in linears_to_quantize(model) if is_quantized(x)}
    notes: dict[str, None] = {}
    fallbacks: dict[Fallback, None] = {}
    for linear in kinds.values():
        for kernels in {products_of(linear, count): None for count in (rows, 1)}:
            notes |= dict.fromkeys(_words(kernel, device) for kernel in kernels)
            fallbacks |= dict.fromkeys(_other_format(kernels, asked.get("matmul")))
    return list(notes), list(fallbacks)


def _other_format(kernels: tuple[Kernel, ...], asked: str | None) -> Iterator[Fallback]:
    """None where no product was seen: then nothing is known."""
    if asked is None or not kernels:
        return
    if not any(found.startswith(asked) for _, formats in kernels for found in formats):
        name, formats = kernels[0]
        ran = " and ".join(formats)
        yield Fallback(what="matmul", asked=asked, ran=ran, reason=f"{name} computes it")


def _words(kernel: Kernel, device: Device) -> str:
    name, formats = kernel
    told = f"quantized linears compute with {name} on {' and '.join(formats)}"
    plain = all("float" in f and "float8" not in f for f in formats)
    if name in ("aten::mm", "aten::linear") and plain:
        return f"{told}: the weights are converted on each call, unless compilation fuses that"
    if device.kind == "cpu" and "int8" in formats and not _INT8_FLAGS & device.cpu_flags:
        return f"{told}: this CPU has no int8 dot products (VNNI, AMX)"
    return told


def look_at_attention(
    model: Any, asked: Asked, device: Device, tokens: int
) -> tuple[list[str], list[Fallback]]:
    """Which of its kernels scaled_dot_product_attention has, where attention goes through it.

    Args:
        model: A transformers model.
        asked: What the plugins expect; ``sdpa`` is the backend that should compute.
        device: Where it runs.
        tokens: Tokens of a prompt.

    Returns:
        On a GPU a note of what may be used; and a fallback where another one computes than asked.
    """
    wanted = asked.get("sdpa")
    if asked.get("attention", "sdpa") != "sdpa" or (device.kind == "cpu" and wanted is None):
        return [], []
    query = _query_of(model, tokens)
    if query is None:
        return [], []
    notes: list[str] = []
    if device.kind == "cuda":
        found = ", ".join(sdpa_backends(query)) or "math only"
        notes.append(f"scaled_dot_product_attention on a prompt may use: {found}")
    if wanted is None or (ran := sdpa_backend(query)) == wanted:
        return notes, []
    reason = "it is what torch takes for a prompt"
    return notes, [Fallback(what="sdpa", asked=wanted, ran=ran, reason=reason)]


def _query_of(model: Any, tokens: int) -> torch.Tensor | None:
    """Zeros in the shape of a prompt's queries; None where the model does not use sdpa."""
    config: Any = getattr(model, "config", None)
    if getattr(config, "_attn_implementation", None) != "sdpa":
        return None
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    size = getattr(text, "head_dim", None) or (heads and text.hidden_size // heads)
    if not isinstance(heads, int) or not isinstance(size, int):
        return None
    return torch.zeros(1, heads, tokens, size, dtype=model.dtype, device=model.device)


def sdpa_backend(query: torch.Tensor) -> str:
    """The kernel that computes causal attention of this shape, as torch.backends.cuda names it.

    Args:
        query: ``[batch, heads, tokens, head_dim]``; keys and values of the same shape.
    """
    from torch.nn.functional import scaled_dot_product_attention

    # Under inference mode the operator would be seen as a whole.
    with torch.no_grad(), _Operators(lambda name: "scaled_dot_product" in name) as fused:
        scaled_dot_product_attention(query, query, query, is_causal=True)
    kinds = (k for k in ("flash", "efficient", "cudnn") for name, _ in fused.seen if k in name)
    return next(kinds, "math")


def sdpa_backends(query: torch.Tensor) -> tuple[str, ...]:
    """The fused kernels that can compute causal attention of this shape.

    Args:
        query: ``[batch, heads, tokens, head_dim]``; keys and values of the same shape.
    """
    from torch.backends import cuda

    params = cuda.SDPAParams(query, query, query, None, 0.0, True, False)
    tests = {
        "flash": cuda.can_use_flash_attention,
        "memory-efficient": cuda.can_use_efficient_attention,
        "cuDNN": cuda.can_use_cudnn_attention,
    }
    return tuple(name for name, usable in tests.items() if usable(params, False))
