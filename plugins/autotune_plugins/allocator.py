"""How the bench process gets its memory from the system."""

from __future__ import annotations

import ctypes.util
import functools
import os
import re
from pathlib import Path

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Unsupported

_PACKAGES = {
    "jemalloc": "libjemalloc2",
    "tcmalloc": "libtcmalloc-minimal4",
    "mimalloc": "libmimalloc2.0",
}
"""Debian's packages."""

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


class Allocator(Plugin):
    """Allocate memory with another library, in huge pages, or in segments that grow.

    On a CPU jemalloc, tcmalloc and mimalloc keep freed blocks for the next request and so avoid
    page faults, for a higher peak; huge pages spare the processor its page tables where blocks
    are of several megabytes. On a GPU expandable segments avoid fragmentation, and so do large
    blocks that are not split: it is memory, and sometimes the difference between running and not.
    """

    name = "allocator"
    params = {
        "library": Choice(
            *("system", "jemalloc", "tcmalloc", "mimalloc"),
            default="system",
            stage=Stage.SETUP,
            help="On a CPU: what malloc is, loaded before all else.",
        ),
        "huge_pages": Choice(
            *("none", "transparent"),
            default="none",
            stage=Stage.SETUP,
            help="On a CPU: whether blocks of 2 MiB and more ask for huge pages.",
        ),
        "segments": Choice(
            *("fixed", "expandable"),
            default="fixed",
            stage=Stage.SETUP,
            help="On a GPU: whether torch's segments of memory can grow in place.",
        ),
        "max_split_size_mb": Choice(
            *(0, 64, 128, 256, 512),
            default=0,
            stage=Stage.SETUP,
            help="On a GPU: larger blocks, in MiB, are not split; 0 splits all.",
        ),
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if device.kind != "cuda":
            if params["segments"] != "fixed":
                raise Unsupported("expandable segments are for memory of a GPU")
            if params["max_split_size_mb"]:
                raise Unsupported("max_split_size_mb is for memory of a GPU")
        if params["library"] != "system":
            _require_cpu(f"library={params['library']}", device)
            _find(str(params["library"]))
        if params["huge_pages"] != "none":
            _require_cpu("huge_pages=transparent", device)
            _require_huge_pages()

    def env(self, params: Params) -> dict[str, str]:
        found: dict[str, str] = {}
        if params["library"] != "system":
            before = os.environ.get("LD_PRELOAD")
            found["LD_PRELOAD"] = " ".join(filter(None, [_find(str(params["library"])), before]))
        if params["huge_pages"] != "none":
            found["THP_MEM_ALLOC_ENABLE"] = "1"  # torch's, for what it allocates on the CPU
        return found | _cuda_settings(params)

    def expects(self, params: Params) -> dict[str, str]:
        library, pages = str(params["library"]), str(params["huge_pages"])
        allocator = {} if library == "system" else {"allocator": library}
        return allocator | ({} if pages == "none" else {"huge_pages": pages})


def _cuda_settings(params: Params) -> dict[str, str]:
    """Torch's allocator on GPUs, with what is set of it already."""
    ours = {"expandable_segments": "True"} if params["segments"] == "expandable" else {}
    if params["max_split_size_mb"]:
        ours["max_split_size_mb"] = str(params["max_split_size_mb"])
    if not ours:
        return {}
    # torch reads one of them alone, and which one has changed between its versions.
    both = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    given = [name for name in both if os.environ.get(name)]
    parts = re.split(r",(?![^\[]*\])", os.environ[given[0]]) if given else []
    kept = [part for part in parts if part.partition(":")[0].strip() not in ours]
    text = ",".join([*kept, *(f"{key}:{value}" for key, value in ours.items())])
    return dict.fromkeys(given or both[:1], text)


def _require_cpu(what: str, device: Device) -> None:
    if device.kind != "cpu":
        raise Unsupported(f"{what} is for models on a CPU; this is {device.name}")


def _find(library: str) -> str:
    """The file name under which the system's loader knows a library.

    Raises:
        Unsupported: It is not installed.
    """
    names = ("tcmalloc_minimal", "tcmalloc") if library == "tcmalloc" else (library,)
    found = next(filter(None, map(_file_name, names)), None)
    if found is None:
        raise Unsupported(f"{library} is not installed: apt-get install {_PACKAGES[library]}")
    return found


@functools.cache
def _file_name(library: str) -> str | None:
    """Looked for once, also where it is not there: it takes programs of their own to find out."""
    return ctypes.util.find_library(library)


def _require_huge_pages() -> None:
    """
    Raises:
        Unsupported: The kernel gives none, or gives them without being asked.
    """
    setting = _HUGE_PAGES.read_text(encoding="ascii") if _HUGE_PAGES.exists() else "[never]"
    if "[madvise]" not in setting:
        raise Unsupported(f"{_HUGE_PAGES} says {setting.strip()!r}: only madvise leaves a choice")
