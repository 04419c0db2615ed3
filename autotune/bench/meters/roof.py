"""The device's own rates: what matrix products and memory reach here when nothing else is asked.

They are roofs, so the best of several sizes and repetitions is taken, never the median: a
disturbance can only hide what the device can do. Products are laid out as a linear layer's
(``x @ w.t()``): on some CPUs other layouts take code that is ten times slower. Copies are counted
as STREAM does, bytes read plus bytes written (McCalpin, STREAM, 1995, whose rule for the size of
its arrays, four times the last-level cache, is followed where memory allows). Threads and
precision flags are those of the session.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

from autotune.bench.allocator import release_freed
from autotune.device import Device
from autotune.messages import Measurement, Metrics
from autotune.metrics.roof import FORMATS, matmul_rate_name

Stopwatch = Callable[[Callable[[], object]], float]
"""Runs something and returns how many seconds it took, the device synchronised."""

_SMALLEST, _LARGEST = 256, 8192
"""Sides of the square matrices."""
_REPETITIONS = 3
_CACHES = 4
_LEAST_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}
_MOST_OF_MEMORY = 1 / 16
"""Of what is free, for one of the two arrays."""


def measure_roof(device: Device, seconds: float) -> Metrics:
    """Measures every rate; one that cannot run here is null with the reason.

    Args:
        device: Where; the session's own.
        seconds: About how long, in all.
    """
    place = torch.device(device.torch_name)
    watch = stopwatch(place)
    share = seconds / (len(FORMATS) + 2)
    with torch.inference_mode():
        found = {
            matmul_rate_name(form): _guarded(
                "FLOP/s", functools.partial(_matmul_rate, form, place, watch, share)
            )
            for form in FORMATS
        }
        found |= _memory_rates(place, watch, share)
    release_freed()
    cache = cache_bytes(place)
    if cache is not None:
        found["roof_cache_bytes"] = Measurement(value=float(cache), unit="B", source="reported")
    return found


def stopwatch(device: torch.device) -> Stopwatch:
    """The clock of a device: its own events on a GPU, the host's clock on a CPU."""
    return _time_on_cuda if device.type == "cuda" else _time_on_host


def _time_on_host(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _time_on_cuda(run: Callable[[], object]) -> float:
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _guarded(unit: str, measure: Callable[[], Measurement]) -> Measurement:
    """A format that the device does not know raises, as does an array that does not fit."""
    try:
        return measure()
    except (RuntimeError, ValueError, TypeError, AttributeError, MemoryError) as error:
        words = (str(error).strip().splitlines() or ["no message"])[0]
        reason = f"cannot be measured here: {type(error).__name__}: {words}"
        return Measurement.unavailable(unit, reason)


def _matmul_rate(form: str, device: torch.device, watch: Stopwatch, seconds: float) -> Measurement:
    """Grows the matrices while there is time for the next size, then repeats until it is over:
    on a shared machine a quiet moment may come late."""
    until = time.perf_counter() + seconds
    best, best_size, size = 0.0, 0, _SMALLEST
    run = product(form, size, device)
    while True:
        fastest = _fastest(run, watch, seconds / 8)
        best, best_size = max((best, best_size), (2 * size**3 / fastest, size))
        left = until - time.perf_counter()
        if left <= 0:
            break
        if size < _LARGEST and (_REPETITIONS + 1) * 8 * fastest < left:
            try:
                run = product(form, 2 * size, device)
            except RuntimeError:  # no room for larger ones
                break
            size *= 2
    return Measurement(
        value=best, unit="FLOP/s", stat="best", source=f"{_threads(device)}, size {best_size}"
    )


def product(form: str, size: int, device: torch.device) -> Callable[[], object]:
    """A product of two square matrices, laid out as in a linear layer.

    Args:
        form: One of ``FORMATS``. Two int8 matrices give an int32 one, two float8 matrices
            (``float8_e4m3fn``, with one scale each) a bfloat16 one.
        size: The side, a multiple of 16.
        device: Where.

    Raises:
        RuntimeError: The device cannot.
    """
    shape = (size, size)
    if form == "int8":
        ints = [torch.randint(-128, 128, shape, dtype=torch.int8, device=device) for _ in "xw"]
        return lambda: torch._int_mm(ints[0], ints[1].t())
    x, w = (torch.randn(shape, device=device) for _ in "xw")
    if form == "float8":
        x, w = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn)
        one = torch.ones((), device=device)
        return lambda: torch._scaled_mm(x, w.t(), one, one, out_dtype=torch.bfloat16)
    dtype = getattr(torch, form)
    x, w = x.to(dtype), w.to(dtype)
    return lambda: torch.mm(x, w.t())


def _memory_rates(device: torch.device, watch: Stopwatch, seconds: float) -> Metrics:
    copy, read = "roof_copy_bytes_per_second", "roof_read_bytes_per_second"
    size = _array_bytes(device)
    return {
        copy: _guarded("B/s", lambda: _copy_rate(size, device, watch, seconds)),
        read: _guarded("B/s", lambda: _read_rate(size, device, watch, seconds)),
    }


def _copy_rate(size: int, device: torch.device, watch: Stopwatch, seconds: float) -> Measurement:
    source, target = (torch.ones(size // 4, device=device) for _ in range(2))
    return _stream(2 * size, lambda: target.copy_(source), size, device, watch, seconds)


def _read_rate(size: int, device: torch.device, watch: Stopwatch, seconds: float) -> Measurement:
    source = torch.ones(size // 4, device=device)
    return _stream(size, source.sum, size, device, watch, seconds)


def _stream(
    moved: int,
    run: Callable[[], object],
    size: int,
    device: torch.device,
    watch: Stopwatch,
    seconds: float,
) -> Measurement:
    words = f"{_threads(device)}, arrays of {size >> 20} MiB"
    rate = moved / _fastest(run, watch, seconds)
    return Measurement(value=rate, unit="B/s", stat="best", source=words)


def _fastest(run: Callable[[], object], watch: Stopwatch, seconds: float) -> float:
    """The shortest of at least three runs, after one that is not counted."""
    watch(run)
    until = time.perf_counter() + seconds
    times: list[float] = []
    while len(times) < _REPETITIONS or time.perf_counter() < until:
        times.append(watch(run))
    return min(times)


def _threads(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads"


def _array_bytes(device: torch.device) -> int:
    """Bytes of one array, a multiple of a mebibyte."""
    cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if cuda else psutil.virtual_memory().available
    wanted = max(_LEAST_BYTES[device.type], _CACHES * (cache_bytes(device) or 0))
    return max(1, int(min(wanted, free * _MOST_OF_MEMORY)) >> 20) << 20


def cache_bytes(device: torch.device) -> int | None:
    """The last-level cache in bytes: a GPU's L2, or those of the CPUs that this process may use,
    each once; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    return last_level_bytes(Path("/sys/devices/system/cpu"), os.sched_getaffinity(0))


def last_level_bytes(cpus: Path, allowed: set[int]) -> int | None:
    """Sums the highest level of cache over the groups of CPUs that share one.

    Args:
        cpus: The kernel's folder of CPUs.
        allowed: Which of them count.
    """
    sizes: dict[int, dict[str, int]] = {}
    for number in allowed:
        for index in (cpus / f"cpu{number}" / "cache").glob("index*"):
            level, size, shared = (
                _text(index / name) for name in ("level", "size", "shared_cpu_list")
            )
            if level.isdigit() and size.endswith("K"):
                sizes.setdefault(int(level), {})[shared] = int(size[:-1]) << 10
    return sum(sizes[max(sizes)].values()) if sizes else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
