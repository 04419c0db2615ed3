"""How a checkpoint's weights come into memory: copied or mapped, by how many threads, and whether
the files were cold."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autotune import constraints
from autotune.bench.meters.memory import is_divided
from autotune.messages import TrialSpec
from autotune.plugin import Unsupported

MAPPED, THREADS = "mapped_weights", "load_threads"
"""Load arguments of plugins that are for us and not for ``from_pretrained``."""

_PART_BYTES = 16 << 20
"""What one thread copies at a time: enough to hide its start, and a large weight has many."""

_PAGE_BYTES = mmap.PAGESIZE
_COLD_RATIO = 0.01
"""Files of which no more than this is in the page cache are cold."""


@dataclass(frozen=True)
class Loading:
    """What the recipe says of loading besides the arguments of ``from_pretrained``."""

    mapped: bool = False
    """Weights stay views of the mapped checkpoint."""
    threads: int = 0
    """Threads that read and convert; 0 leaves it to transformers and torch."""

    @classmethod
    def taken_from(cls, arguments: dict[str, Any]) -> Loading:
        """Removes what is ours from the load arguments."""
        return cls(bool(arguments.pop(MAPPED, False)), int(arguments.pop(THREADS, 0)))

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this lasts, transformers reads with that many threads.

        Raises:
            Unsupported: This transformers does not let their number be chosen.
        """
        from transformers import core_model_loading as core

        if not self.threads:
            yield
            return
        usual = getattr(core, "GLOBAL_WORKERS", None)
        if usual is None:
            raise Unsupported("this version of transformers does not say how many threads load")
        core.GLOBAL_WORKERS = self.threads
        try:
            yield
        finally:
            core.GLOBAL_WORKERS = usual

    def settle(self, model: Any) -> None:
        """Brings the weights to where they stay.

        Raises:
            Unsupported: They were to be mapped and are not.
        """
        if self.mapped:
            _require_mapped(model)
        else:
            read_into_memory(model, self.threads)


def read_into_memory(model: Any, threads: int = 0) -> None:
    """Copies the weights that are views of the mapped checkpoint. A single one left would keep
    all the file's pages resident, also of the weights that a transform has replaced.

    Args:
        model: Its parameters on a GPU and quantized ones stay as they are.
        threads: Read the file with so many; 0 with those that torch copies with.
    """
    # Of one that is divided among processes this one's part; `to_local` gives another view.
    held = (p._local_tensor if is_divided(p) else p for p in model.parameters())
    plain = [part for part in held if _is_plain(part)]
    if not threads:
        for parameter in plain:
            parameter.data = parameter.data.clone()
        return
    copies = [torch.empty_like(p, memory_format=torch.contiguous_format) for p in plain]
    sources = [p.data.contiguous() for p in plain]
    with ThreadPoolExecutor(threads) as pool:
        parts = [part for pair in zip(copies, sources, strict=True) for part in _parts(*pair)]
        list(pool.map(lambda part: ctypes.memmove(*part), parts))
    for parameter, copy in zip(plain, copies, strict=True):
        parameter.data = copy


def _is_plain(parameter: Any) -> bool:
    return parameter.device.type == "cpu" and type(parameter.data) is torch.Tensor


def _parts(target: torch.Tensor, source: torch.Tensor) -> Iterator[tuple[int, int, int]]:
    for begin in range(0, source.nbytes, _PART_BYTES):
        length = min(_PART_BYTES, source.nbytes - begin)
        yield target.data_ptr() + begin, source.data_ptr() + begin, length


def _require_mapped(model: Any) -> None:
    """A dtype of its own, weights that are merged while loading and pickled files give copies."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    files = [line.split()[0] for line in maps if line.endswith(".safetensors")]
    ranges = [tuple(int(address, 16) for address in span.split("-")) for span in files]
    weights = [p for p in model.parameters() if _is_plain(p)]
    mapped = [p for p in weights if any(a <= p.data_ptr() < b for a, b in ranges)]
    share = sum(p.nbytes for p in mapped) / max(1, sum(p.nbytes for p in weights))
    if share < 0.5:
        raise Unsupported(
            f"only {share:.0%} of the weights can stay in the mapped checkpoint: another dtype, "
            "weights that are merged and pickled ones are copied while loading"
        )


def source_of(spec: TrialSpec) -> Path:
    """The folder that a trial's weights are loaded from."""
    return Path(spec.exported or spec.model.path)


def make_cold(spec: TrialSpec) -> str:
    """Where the study judges the time to load, drops the weights' files from the page cache.

    Returns:
        What the time is of, for its source.
    """
    judged = {*spec.objectives, *(c.metric for c in constraints.parse_all(spec.constraints))}
    if "load_seconds" not in judged:
        return "wall clock"
    folder = source_of(spec)
    files = [f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin") and f.is_file()]
    for file in files:
        with file.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    cached = sum(cached_bytes(f) for f in files) / max(1, sum(f.stat().st_size for f in files))
    if cached <= _COLD_RATIO:
        return "wall clock, cold files"
    return f"wall clock, {cached:.0%} of the files stayed in the page cache"


def cached_bytes(file: Path) -> int:
    """How much of a file is in the page cache (mincore(2)).

    Args:
        file: One of this user's; of others' the kernel tells nothing.
    """
    size = file.stat().st_size
    if not size:
        return 0
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), size, prot=mmap.PROT_READ) as pages:
        view = np.frombuffer(pages, np.uint8)
        found = np.zeros(-(-size // _PAGE_BYTES), np.uint8)
        address, length = ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size)
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.mincore(address, length, ctypes.c_void_p(found.ctypes.data))
        del view  # it would keep the file mapped
        if failed:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(file))
    return min(size, int((found & 1).sum()) * _PAGE_BYTES)
