"""What a recipe asked for against what runs: libraries fall back with no more than a log line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

import torch

from autotune.bench.adapters import lora_layers
from autotune.bench.protocol import Fallback
from autotune.device import Device
from autotune.engine import Engine

Asked = Mapping[str, str]
"""What the recipe's plugins expect, merged: see ``Plugin.expects``."""

_CAPABILITIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("AVX512", frozenset({"avx512f", "avx512vl", "avx512bw", "avx512dq", "fma"})),
    ("AVX2", frozenset({"avx2", "fma"})),
)
"""torch's kernel sets for x86, the best one first, and the CPU flags with which it takes them."""

_OWN_MAPS = Path("/proc/self/maps")
_OWN_SUM = Path("/proc/self/smaps_rollup")
"""See proc(5)."""

_LEVELS = {"DEFAULT": 0, "NO AVX": 0, "AVX2": 1, "AVX512": 2}


def find_in_model(model: Any, asked: Asked, device: Device) -> Iterator[Fallback]:
    """What is known once the model is loaded and transformed.

    Args:
        model: A ``torch.nn.Module``; anything else is left alone.
        asked: What the plugins expect.
        device: Where it runs.
    """
    if isinstance(model, torch.nn.Module):
        yield from find_dtype(model, asked.get("dtype"))
        yield from find_attention(model, asked.get("attention"))
        yield from find_plain_linears(model, asked.get("quantized"))
    if device.kind == "cpu":
        yield from find_capability(device.cpu_flags, asked.get("cpu_capability"))
        yield from find_allocator(asked.get("allocator"))
        yield from find_huge_pages(asked.get("huge_pages"))


_OF_A_MODEL = ("dtype", "attention", "sdpa", "quantized", "matmul", "compiled", "cuda_graphs")
"""What is looked for in torch's model, and nobody but the engine knows once that is gone."""


def find_in_engine(engine: Engine, asked: Asked) -> Iterator[Fallback]:
    """Where an engine runs something else than asked, or does not say what.

    Args:
        engine: Ready to run.
        asked: What the plugins expect.
    """
    ran, name = engine.ran(), type(engine).__name__
    unknown = _OF_A_MODEL if engine.own_weights() else ()
    for what, wanted in asked.items():
        if what in ran and ran[what] != wanted:
            reason = f"it is what {name} says of itself"
            yield Fallback(what=what, asked=wanted, ran=ran[what], reason=reason)
        elif what not in ran and what in (*unknown, "engine"):
            yield Fallback(what=what, asked=wanted, ran="unknown", reason=f"{name} does not say")


def find_dtype(model: torch.nn.Module, asked: str | None) -> Iterator[Fallback]:
    """Whether most of the floating-point weights are in another format.

    Args:
        model: The transformed model; a quantized weight counts as the format it stands for.
        asked: A torch dtype's name; None and ``auto`` ask for nothing.
    """
    counts: Counter[str] = Counter()
    for weight in model.parameters():
        if weight.is_floating_point():
            counts[dtype_name(weight.dtype)] += weight.numel()
    if asked in (None, "auto") or not counts:
        return
    held, most = counts.most_common(1)[0]
    if held != asked:
        share = f"{most / counts.total():.0%} of the floating-point weights are {held}"
        yield Fallback(what="dtype", asked=str(asked), ran=held, reason=share)


def find_attention(model: torch.nn.Module, asked: str | None) -> Iterator[Fallback]:
    """Whether some layer's configuration names another attention implementation.

    Args:
        model: A transformers model; its layers look their kernel up by this name in each call.
        asked: transformers' name of an implementation; None asks for nothing.
    """
    if asked is None:
        return
    held = Counter(filter(None, map(_attention_of, model.modules())))
    if not held:
        reason = f"{type(model).__name__} does not say how it computes attention"
        yield Fallback(what="attention", asked=asked, ran="unknown", reason=reason)
    elif set(held) != {asked}:
        ran = " and ".join(sorted(set(held)))
        reason = f"it is what the configuration of the loaded {type(model).__name__} says"
        yield Fallback(what="attention", asked=asked, ran=ran, reason=reason)


def _attention_of(module: torch.nn.Module) -> str | None:
    found = getattr(getattr(module, "config", None), "_attn_implementation", None)
    return found if isinstance(found, str) else None


def find_plain_linears(model: torch.nn.Module, asked: str | None) -> Iterator[Fallback]:
    """Whether linears that should be quantized still hold plain floating-point weights.

    Args:
        model: The transformed model.
        asked: The scheme's name; None asks for nothing.
    """
    if asked is None:
        return
    linears = linears_to_quantize(model)
    plain = [linear for linear in linears if not is_quantized(linear)]
    if plain:
        held = " and ".join(sorted({dtype_name(linear.weight.dtype) for linear in plain}))
        weights = sum(linear.weight.numel() for linear in linears)
        share = sum(linear.weight.numel() for linear in plain) / weights
        reason = f"{len(plain)} of {len(linears)} linears, {share:.0%} of their weights, are plain"
        yield Fallback(what="quantized", asked=asked, ran=held, reason=reason)


def linears_to_quantize(model: Any) -> list[torch.nn.Linear]:
    """Every linear but the output head and what shares its weight with the embedding.

    Args:
        model: A model, quantized or not.
    """
    head = _embeddings(model, "get_output_embeddings")
    head = getattr(head, "base_layer", head)  # beside which adapters are
    assistant = getattr(model, "assistant", None)  # it guesses, in a format of its own
    others = set(assistant.modules()) if assistant is not None else set()
    for layer in lora_layers(model):  # adapters stay as they were trained
        others |= {part for part in layer.modules() if part is not layer.base_layer}
    tied = getattr(_embeddings(model, "get_input_embeddings"), "weight", None)
    return [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
        and module is not head
        and module not in others
        and (tied is None or module.weight is not tied)
    ]


def _embeddings(model: Any, getter: str) -> Any:
    return getattr(model, getter)() if hasattr(model, getter) else None


def is_quantized(linear: torch.nn.Linear) -> bool:
    """Whether a linear's weight is a tensor subclass or not floating-point.

    Args:
        linear: Any linear.
    """
    weight = linear.weight
    plain = type(weight) in (torch.Tensor, torch.nn.Parameter)
    return not (plain and weight.is_floating_point())


def find_capability(flags: Set[str], asked: str | None = None) -> Iterator[Fallback]:
    """Whether torch runs with fewer instructions than the CPU has.

    Args:
        flags: The CPU's flags, as in ``/proc/cpuinfo``.
        asked: What a plugin asks for instead of the best that the flags allow.
    """
    best = next((name for name, needed in _CAPABILITIES if needed <= flags), None)
    wanted, ran = asked or best, torch.backends.cpu.get_cpu_capability()
    # Other architectures have names of their own, and one that is not known is not judged.
    if wanted in _LEVELS and ran in _LEVELS and _LEVELS[ran] < _LEVELS[wanted]:
        setting = os.environ.get("ATEN_CPU_CAPABILITY")
        reason = f"ATEN_CPU_CAPABILITY={setting}" if setting else "torch did not take more"
        yield Fallback(what="cpu_capability", asked=wanted, ran=ran, reason=reason)


def find_allocator(asked: str | None) -> Iterator[Fallback]:
    """Whether a library that should be malloc was not loaded: the loader only prints a line.

    Args:
        asked: The library's name without ``lib``; None asks for nothing.
    """
    if asked is not None and f"/lib{asked}" not in _OWN_MAPS.read_text(encoding="utf-8"):
        reason = "the process's log says why the loader left it out"
        yield Fallback(what="allocator", asked=asked, ran="the C library's", reason=reason)


def find_huge_pages(asked: str | None) -> Iterator[Fallback]:
    """Whether none of this process's memory lies in huge pages.

    Args:
        asked: ``transparent``; None asks for nothing.
    """
    if asked is None:
        return
    rows = dict(line.split(":") for line in _OWN_SUM.read_text().splitlines()[1:])
    if int(rows["AnonHugePages"].split()[0]) == 0:
        reason = "no block of 2 MiB got one: the model's are smaller, or memory is fragmented"
        yield Fallback(what="huge_pages", asked=asked, ran="none", reason=reason)


def dtype_name(dtype: torch.dtype) -> str:
    """A torch dtype as recipes name it: ``bfloat16``.

    Args:
        dtype: Any.
    """
    return str(dtype).removeprefix("torch.")
