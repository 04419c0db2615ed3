"""The pages of libraries' code that a process has mapped.

A fork copies the mappings but not these pages: they come back one by one as the code runs. Until
then the forked process looks smaller than a new interpreter that has imported the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ENTRY = np.dtype("<u8")
_PRESENT = np.uint64(1 << 63)
"""The bit of an entry of ``/proc/self/pagemap`` that says that the page is in memory."""


def mapped_pages() -> list[int]:
    """The addresses of this process's pages of mapped files that are in memory now."""
    found: list[int] = []
    with Path("/proc/self/pagemap").open("rb") as pagemap:
        for begin, end in _file_mappings():
            pagemap.seek(begin // _PAGE_BYTES * _ENTRY.itemsize)
            data = pagemap.read((end - begin) // _PAGE_BYTES * _ENTRY.itemsize)
            present = np.flatnonzero(np.frombuffer(data, _ENTRY) & _PRESENT)
            found += (begin + present * _PAGE_BYTES).tolist()
    return found


def _file_mappings() -> Iterable[tuple[int, int]]:
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, rights, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith("/") and rights.startswith("r"):
            begin, end = (int(address, 16) for address in addresses.split("-"))
            yield begin, end


def map_pages(addresses: Iterable[int]) -> None:
    """Brings pages into memory by reading a byte of each.

    Args:
        addresses: Of readable pages, see ``mapped_pages``.
    """
    for address in addresses:
        _ = ctypes.c_char.from_address(address).value
