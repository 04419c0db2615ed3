from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.bench.loading import read_into_memory
from autotune.bench.meters.memory import (
    MemoryMeter,
    library_bytes,
    weights_bytes,
    weights_disk_bytes,
)
from autotune.bench.self_test import spike_error_bytes
from autotune.testing import fake_device


def test_spike_is_seen_in_the_peak_after_it_is_gone() -> None:
    assert abs(spike_error_bytes(64)) < 2 << 20


def test_new_start_forgets_the_peak() -> None:
    meter = MemoryMeter(fake_device("cpu"))
    meter.before_loading()
    spike = torch.ones(64 << 18)
    del spike
    meter.start()
    found = meter.read()["host_model_peak_bytes"].value
    assert found is not None
    assert found < 32 << 20


def test_tied_weights_count_once(llama: Any) -> None:
    assert llama.lm_head.weight is llama.model.embed_tokens.weight
    parameters = sum(p.numel() * 4 for p in llama.parameters())
    buffers = sum(b.untyped_storage().nbytes() for b in llama.buffers())
    # Some buffers are two names for one storage.
    assert parameters < weights_bytes(llama) <= parameters + buffers


@pytest.mark.parametrize("tied", [True, False])
def test_what_saving_writes(llama: Any, tmp_path: Path, tied: bool) -> None:
    if not tied:
        llama.lm_head.weight = torch.nn.Parameter(llama.lm_head.weight.detach().clone())
        llama.config.tie_word_embeddings = False
    llama.save_pretrained(tmp_path)

    file = (tmp_path / "model.safetensors").read_bytes()
    header = 8 + int.from_bytes(file[:8], "little")
    assert weights_disk_bytes(llama) == len(file) - header


def test_a_view_is_written_without_what_it_does_not_show() -> None:
    model = torch.nn.Linear(8, 8, bias=False)
    model.weight = torch.nn.Parameter(torch.zeros(64, 8)[:8])
    assert weights_bytes(model) == 64 * 8 * 4
    assert weights_disk_bytes(model) == 8 * 8 * 4


def test_quantized_weights_are_taken_apart(llama: Any) -> None:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    head = llama.lm_head
    linears = [m for m in llama.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    before, count = weights_bytes(llama), sum(m.weight.numel() for m in linears)
    quantize_(llama, Int8WeightOnlyConfig(), lambda module, _: module in linears)

    # Four bytes become one, and each row gets a scale.
    rows = sum(m.out_features for m in linears)
    assert before - weights_bytes(llama) == pytest.approx(3 * count, abs=8 * rows)


def test_code_that_runs_for_the_first_time_is_not_the_models(llama: Any) -> None:
    before = library_bytes()
    assert before > 1 << 20
    ids = torch.arange(8)[None]
    llama(input_ids=ids)
    assert library_bytes() >= before


def test_weights_are_no_views_of_the_mapped_checkpoint(tmp_path: Path, llama: Any) -> None:
    from transformers import AutoModelForCausalLM

    llama.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    read_into_memory(model)

    maps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    assert f"{tmp_path}/model.safetensors" not in maps
    assert model.lm_head.weight is model.model.embed_tokens.weight
