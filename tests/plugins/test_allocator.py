from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins import allocator
from autotune_plugins.allocator import Allocator

OFF = {
    "library": "system",
    "huge_pages": "none",
    "segments": "fixed",
    "max_split_size_mb": 0,
}
HUGE = """
import torch
def kilobytes():
    return int(open("/proc/self/smaps_rollup").read().split("AnonHugePages:")[1].split()[0])
before = kilobytes()
tensor = torch.ones(16 << 20)
print(kilobytes() - before)
"""
MAPS = "print(open('/proc/self/maps').read())"


def run(code: str, **given: Any) -> str:
    env = os.environ | Allocator().env(OFF | given)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("library", ["jemalloc", "tcmalloc", "mimalloc"])
def test_the_library_is_malloc_in_the_process(library: str) -> None:
    try:
        Allocator().env(OFF | {"library": library})
    except Unsupported as reason:
        pytest.skip(str(reason))
    assert f"/lib{library}" not in run(MAPS)
    assert f"/lib{library}" in run(MAPS, library=library)


def test_a_library_that_is_not_there_is_refused(
    cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocator._file_name.cache_clear()
    monkeypatch.setattr(allocator.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(Unsupported, match="apt-get install libjemalloc2"):
        Allocator().check(OFF | {"library": "jemalloc"}, {}, cpu)
    allocator._file_name.cache_clear()


def test_what_is_preloaded_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    monkeypatch.setattr(allocator, "_find", lambda library: f"lib{library}.so.2")
    found = Allocator().env(OFF | {"library": "jemalloc"})
    assert found == {"LD_PRELOAD": "libjemalloc.so.2 libother.so"}


@pytest.mark.skipif(
    not allocator._HUGE_PAGES.exists() or "[madvise]" not in allocator._HUGE_PAGES.read_text(),
    reason="this kernel gives no huge pages to those who ask",
)
def test_large_tensors_lie_in_huge_pages(cpu: Device) -> None:
    Allocator().check(OFF | {"huge_pages": "transparent"}, {}, cpu)
    assert int(run(HUGE, huge_pages="transparent")) >= 32 << 10  # of 64 MiB


@pytest.mark.parametrize("setting", ["always madvise [never]", "[always] madvise never"])
def test_huge_pages_that_cannot_be_chosen_are_refused(
    setting: str, cpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "enabled"
    file.write_text(setting)
    monkeypatch.setattr(allocator, "_HUGE_PAGES", file)
    with pytest.raises(Unsupported, match="only madvise leaves a choice"):
        Allocator().check(OFF | {"huge_pages": "transparent"}, {}, cpu)


def test_each_device_has_its_own(cpu: Device, new_gpu: Device) -> None:
    expandable = OFF | {"segments": "expandable"}
    Allocator().check(expandable, {}, new_gpu)
    assert Allocator().env(expandable) == {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    with pytest.raises(Unsupported, match="memory of a GPU"):
        Allocator().check(expandable, {}, cpu)
    with pytest.raises(Unsupported, match="memory of a GPU"):
        Allocator().check(OFF | {"max_split_size_mb": 128}, {}, cpu)
    for given in ({"library": "jemalloc"}, {"huge_pages": "transparent"}):
        with pytest.raises(Unsupported, match="is for models on a CPU; this is a GPU"):
            Allocator().check(OFF | given, {}, new_gpu)


def test_what_must_be_found_to_run() -> None:
    assert Allocator().expects(OFF | {"segments": "expandable"}) == {}
    asked = Allocator().expects(OFF | {"library": "jemalloc", "huge_pages": "transparent"})
    assert asked == {"allocator": "jemalloc", "huge_pages": "transparent"}


@pytest.mark.parametrize("name", ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_settings_of_the_gpus_allocator_are_joined(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = OFF | {"segments": "expandable", "max_split_size_mb": 128}
    ours = "expandable_segments:True,max_split_size_mb:128"
    assert Allocator().env(both) == {"PYTORCH_ALLOC_CONF": ours}
    given = "max_split_size_mb:32,roundup_power2_divisions:[256:1,512:2]"
    monkeypatch.setenv(name, given)
    joined = f"roundup_power2_divisions:[256:1,512:2],{ours}"
    assert Allocator().env(both) == {name: joined}


def test_torch_reads_the_settings() -> None:
    """Its parser looks at values without a GPU too; at a key that it does not know it does not."""
    env = Allocator().env(OFF | {"segments": "expandable", "max_split_size_mb": 128})
    code = "import torch; torch._C._accelerator_setAllocatorSettings({!r})"
    text = env["PYTORCH_ALLOC_CONF"]
    run(code.format(text))
    for wrong in (text.replace("128", "7"), text.replace("True", "maybe")):
        with pytest.raises(AssertionError, match=r"too small|Expected 'True'"):
            run(code.format(wrong))
