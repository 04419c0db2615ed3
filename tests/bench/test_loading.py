from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from autotune.bench.loading import Loading, cached_bytes, make_cold, read_into_memory
from autotune.bench.meters.memory import MemoryMeter
from autotune.messages import TrialSpec
from autotune.plugin import Unsupported
from autotune.testing import fake_device, fake_spec

IDS = torch.arange(12)[None]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """About 48 MiB in two shards: far more than a process gains and loses by itself."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path, max_shard_size="32MB")
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    return tmp_path


def load(folder: Path, **arguments: Any) -> Any:
    model = AutoModelForCausalLM.from_pretrained(folder, **arguments)
    return model.eval().requires_grad_(False)


def weights_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def is_mapped(folder: Path) -> bool:
    return f"{folder}/model" in Path("/proc/self/maps").read_text(encoding="utf-8")


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_copied_weights_are_the_same_and_no_views(checkpoint: Path, threads: int) -> None:
    mapped, copied = load(checkpoint), load(checkpoint)
    read_into_memory(copied, threads)
    state = copied.state_dict()
    assert all(torch.equal(state[name], t) for name, t in mapped.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(mapped(IDS).logits, copied(IDS).logits)
    del mapped
    assert not is_mapped(checkpoint)


def test_tied_weights_stay_tied_whoever_copies(tmp_path: Path, llama: Any) -> None:
    llama.save_pretrained(tmp_path)
    model = load(tmp_path)
    read_into_memory(model, 2)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_mapped_weights_count_as_memory_once_they_are_touched(checkpoint: Path) -> None:
    load(checkpoint)(IDS)  # what the first model of a process allocates
    meter = MemoryMeter(fake_device("cpu"))
    meter.before_loading()
    model = load(checkpoint)
    Loading(mapped=True).settle(model)
    size = weights_of(checkpoint)

    def peak() -> float:
        return meter.read()["host_model_peak_bytes"].value or 0.0

    assert is_mapped(checkpoint)
    assert peak() < size / 2
    with torch.inference_mode():
        model(IDS)
    assert peak() > size * 0.95


def test_weights_that_had_to_be_copied_are_no_mapped_ones(checkpoint: Path) -> None:
    with pytest.raises(Unsupported, match="only 0% of the weights"):
        Loading(mapped=True).settle(load(checkpoint, dtype="bfloat16"))


def test_transformers_reads_with_as_many_threads(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import core_model_loading as core

    asked: list[int] = []
    pool = core.ThreadPoolExecutor
    monkeypatch.setattr(
        core, "ThreadPoolExecutor", lambda max_workers: asked.append(max_workers) or pool(1)
    )
    load(checkpoint)
    with Loading(threads=7).reading():
        load(checkpoint)
    load(checkpoint)
    assert asked == [core.GLOBAL_WORKERS, 7, core.GLOBAL_WORKERS]


def test_a_transformers_without_that_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import core_model_loading as core

    monkeypatch.delattr(core, "GLOBAL_WORKERS")
    with pytest.raises(Unsupported, match="how many threads"), Loading(threads=2).reading():
        pass
    with Loading().reading():
        pass


def test_what_is_ours_does_not_reach_transformers() -> None:
    arguments = {"mapped_weights": True, "load_threads": 4, "dtype": "float16"}
    assert Loading.taken_from(arguments) == Loading(mapped=True, threads=4)
    assert arguments == {"dtype": "float16"}


def spec_of(folder: Path, **changes: Any) -> TrialSpec:
    spec = fake_spec()
    model = spec.model.model_copy(update={"path": str(folder)})
    return spec.model_copy(update={"model": model, **changes})


@pytest.mark.parametrize(
    "judged", [{"objectives": ("load_seconds",)}, {"constraints": ("load_seconds<=3",)}]
)
def test_files_are_cold_where_the_time_to_load_is_judged(
    checkpoint: Path, judged: dict[str, Any]
) -> None:
    for file in checkpoint.glob("*.safetensors"):
        file.read_bytes()
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    cached = sum(cached_bytes(file) for file in checkpoint.glob("*.safetensors"))
    assert cached > weights_of(checkpoint) * 0.9
    assert make_cold(spec_of(checkpoint)) == "wall clock"
    assert sum(cached_bytes(file) for file in checkpoint.glob("*.safetensors")) == cached

    source = make_cold(spec_of(checkpoint, **judged))
    left = sum(cached_bytes(file) for file in checkpoint.glob("*.safetensors"))
    if left > cached / 2:  # a file system in memory
        assert source.endswith("of the files stayed in the page cache")
        pytest.skip(source)
    assert source == "wall clock, cold files"


def test_files_that_are_in_use_are_not_called_cold(checkpoint: Path) -> None:
    model = load(checkpoint)
    sum(float(p.sum()) for p in model.parameters())
    source = make_cold(spec_of(checkpoint, objectives=("load_seconds",)))
    assert source.endswith("of the files stayed in the page cache")


def test_an_empty_file_is_not_cached(tmp_path: Path) -> None:
    (tmp_path / "empty.bin").touch()
    assert cached_bytes(tmp_path / "empty.bin") == 0
