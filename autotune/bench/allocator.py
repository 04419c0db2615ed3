"""The allocator of the C library, whose state decides how often a request faults pages in."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

_LARGEST_THRESHOLD_BYTES = 4 * 1024 * 1024 * ctypes.sizeof(ctypes.c_long)
"""glibc raises its thresholds no further: ``M_MMAP_THRESHOLD`` in mallopt(3)."""


def settle() -> None:
    """Brings the allocator to where that of any long-lived process ends.

    glibc gives a large block back to the system as soon as it is freed, and so makes each request
    fault its pages in again, until one larger block was freed in this process: from then on it
    keeps as much. Without this call a recipe's prefill depends on the luck of its heap and on
    what was done in the process before: at 16 prompts it is 1.4 times faster where accuracy was
    just scored. Where the C library is another, nothing comes of it.
    """
    torch.empty(_LARGEST_THRESHOLD_BYTES - (64 << 10), dtype=torch.uint8, device="cpu")


def release_freed() -> None:
    """Gives memory that is free but still held back to the system, so that an earlier phase does
    not count in the next one's peak."""
    gc.collect()
    _free_matrix_buffers()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    _purge_jemalloc()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _purge_jemalloc() -> None:
    """jemalloc keeps freed pages for ten seconds: held before a model is loaded and gone
    afterwards, they would make its peak too small, even negative. 4096 is ``MALLCTL_ARENAS_ALL``,
    see ``arena.<i>.purge`` in jemalloc(3)."""
    mallctl = getattr(ctypes.CDLL(None), "mallctl", None)
    if mallctl is not None:
        mallctl(b"arena.4096.purge", None, None, None, ctypes.c_size_t(0))


def _free_matrix_buffers() -> None:
    """MKL keeps the buffers of its largest matrix product for the next one (``mkl_free_buffers``
    in its reference); torch's builds with MKL export the function under this name."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    if torch.backends.mkl.is_available() and library.exists():  # type: ignore[no-untyped-call]
        free = getattr(ctypes.CDLL(str(library)), "mkl_serv_free_buffers", None)
        if free is not None:
            free()
