"""Brings layers in just before they are computed and lets go of them after; no plugin."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autotune.plugin import Unsupported

if TYPE_CHECKING:
    from torch import nn

_PAGE_BYTES = mmap.PAGESIZE
_POPULATE_READ = 22
"""``MADV_POPULATE_READ`` of Linux 5.14; Python does not name it."""


class Kept(Protocol):
    """One layer's weights, elsewhere."""

    def fetch(self) -> None:
        """Begins to bring them in, or does so: called by a thread of its own, or by the one that
        computes where nothing is prefetched."""

    def enter(self) -> None:
        """The layer is computed next, and ``fetch`` has ended."""

    def leave(self) -> None:
        """The layer is computed: nothing of it need stay."""


def find_layers(model: Any) -> list[nn.Module]:
    """The layers of the model's largest stack, first to last.

    Raises:
        Unsupported: It has no stack of layers.
    """
    from torch import nn

    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    largest = max(stacks, key=lambda s: sum(p.nbytes for p in s.parameters()), default=None)
    if largest is None:
        raise Unsupported(f"{type(model).__name__} has no stack of layers")
    return list(largest)


def resident_layers(count: int, share: float) -> set[int]:
    """Which of so many layers stay, spread evenly: while one computes, others can come.

    Args:
        count: Of all layers.
        share: Of those that stay; rounded down to whole layers.
    """
    return {i for i in range(count) if int((i + 1) * share) > int(i * share)}


def bring_in(layers: Sequence[nn.Module], kept: Sequence[Kept], ahead: int) -> None:
    """Has each layer fetched when it is called, or ``ahead`` layers before.

    Args:
        layers: Those that are offloaded, in the order in which they run.
        kept: Their weights.
        ahead: How many; 0 fetches when a layer is called.
    """
    reader = _Reader(kept, ahead)
    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda *_, i=index: reader.before(i))
        layer.register_forward_hook(lambda *_, i=index: reader.after(i))


class _Reader:
    """Fetches in one thread, so that the computing one never overtakes it: it waits."""

    def __init__(self, kept: Sequence[Kept], ahead: int) -> None:
        self._kept = kept
        self._ahead = min(ahead, len(kept) - 1)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offload") if ahead else None
        self._coming: dict[int, Future[None]] = {}

    def before(self, index: int) -> None:
        coming = self._coming.pop(index, None)
        if self._thread is not None:
            for step in range(1, self._ahead + 1):
                following = (index + step) % len(self._kept)  # after the last comes a new pass
                if following not in self._coming:
                    fetch = self._kept[following].fetch
                    self._coming[following] = self._thread.submit(fetch)
        if coming is None:
            self._kept[index].fetch()
        else:
            coming.result()
        self._kept[index].enter()

    def after(self, index: int) -> None:
        self._kept[index].leave()


def offload_to_disk(model: Any, layers: Sequence[nn.Module]) -> list[MappedWeights]:
    """Leaves these layers' weights in the mapped checkpoint and copies all others into memory.

    Args:
        model: Its weights are views of the mapped checkpoint.
        layers: Those that are to be brought in.

    Raises:
        Unsupported: Their weights are no views of it, or were changed since.
    """
    import torch

    files = _mapped_files()
    kept = [MappedWeights(list(layer.parameters()), files) for layer in layers]
    away = {parameter for layer in layers for parameter in layer.parameters()}
    for parameter in model.parameters():
        if parameter in away:
            parameter.offloaded = True
        elif type(parameter.data) is torch.Tensor:  # others were made after loading
            parameter.data = parameter.data.clone()
    for file in files:  # what was copied from it was read, too
        if not file.changed:
            _advise(file.begin, file.end - file.begin, mmap.MADV_DONTNEED)
    return kept


@dataclass(frozen=True)
class _MappedFile:
    begin: int
    end: int
    offset: int
    path: str
    changed: bool
    """Whether pages of it were written to, and so copied: letting go of them would lose that."""


def _mapped_files() -> list[_MappedFile]:
    """This process's mappings of safetensors files, from ``/proc/self/smaps``."""
    found: list[_MappedFile] = []
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        parts = line.split(maxsplit=5)
        if not parts[0].endswith(":"):  # the first line of a mapping
            inside = line.endswith(".safetensors")
            if inside:
                begin, end = (int(address, 16) for address in parts[0].split("-"))
                found.append(_MappedFile(begin, end, int(parts[2], 16), parts[5], False))
        elif inside and parts[0] == "Anonymous:" and parts[1] != "0":
            last = found[-1]
            found[-1] = _MappedFile(last.begin, last.end, last.offset, last.path, True)
    return found


class MappedWeights:
    """A layer's weights in a mapped file: they are views of it, whose pages come and go."""

    def __init__(self, parameters: Iterable[nn.Parameter], files: Sequence[_MappedFile]) -> None:
        """
        Raises:
            Unsupported: They are not there, or were changed.
        """
        spans = sorted((p.data_ptr(), p.data_ptr() + p.nbytes) for p in parameters if p.nbytes)
        self._spans = _joined(spans)
        self._files = [(_file_of(span, files), span) for span in self._spans]

    def fetch(self) -> None:
        """Reads the pages in, and maps them where the kernel does so ahead (Linux 5.14)."""
        for begin, end in self._spans:
            start = begin // _PAGE_BYTES * _PAGE_BYTES
            _advise(start, end - start, mmap.MADV_WILLNEED)
            _advise(start, end - start, _POPULATE_READ, unless=errno.EINVAL)

    def enter(self) -> None:
        """They are where they were."""

    def leave(self) -> None:
        """Gives the pages back, and lets the page cache forget them: a pass that goes through all
        layers in turn would find none of them there on a machine that has no room for all."""
        for file, (begin, end) in self._files:
            # Whole pages only: neighbours may hold what stays.
            first = -(-begin // _PAGE_BYTES) * _PAGE_BYTES
            length = end // _PAGE_BYTES * _PAGE_BYTES - first
            if length > 0:
                _advise(first, length, mmap.MADV_DONTNEED)
                offset = first - file.begin + file.offset
                descriptor = os.open(file.path, os.O_RDONLY)
                os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


def _joined(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch, as one: in a checkpoint a layer's weights follow one another."""
    found: list[tuple[int, int]] = []
    for begin, end in spans:
        if found and begin <= found[-1][1]:
            begin = found.pop()[0]
        found.append((begin, end))
    return found


def _file_of(span: tuple[int, int], files: Sequence[_MappedFile]) -> _MappedFile:
    for file in files:
        if file.begin <= span[0] and span[1] <= file.end:
            if file.changed:
                raise Unsupported(f"weights in {file.path} were changed in memory after loading")
            return file
    raise Unsupported(
        "weights of a layer are no views of the checkpoint: another dtype, or weights that are "
        "merged while loading, cannot stay on disk"
    )


def _advise(address: int, length: int, advice: int, unless: int = 0) -> None:
    """madvise(2); in a thread others run meanwhile.

    Args:
        address: Of a page.
        length: In bytes.
        advice: What to do.
        unless: An error that is none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(length), advice):
        error = ctypes.get_errno()
        if error != unless:
            raise OSError(error, os.strerror(error))
