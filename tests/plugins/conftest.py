"""Small random models, devices that are not here, and calibration text without meaning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.plugin import Context

CPU = Device(
    kind="cpu", name="a CPU", memory_bytes=8 << 30, cores=4, cpu_flags=frozenset({"avx2"})
)
VOCABULARY = 256


def gpu(major: int, minor: int) -> Device:
    capability = (major, minor)
    return Device(
        kind="cuda", name="a GPU", memory_bytes=80 << 30, cores=4, compute_capability=capability
    )


@pytest.fixture
def cpu() -> Device:
    return CPU


@pytest.fixture
def old_gpu() -> Device:
    return gpu(7, 5)


@pytest.fixture
def new_gpu() -> Device:
    return gpu(9, 0)


@pytest.fixture
def llama() -> Any:
    """A causal language model of 4 layers, 4 heads in 2 key-value groups, 128 neurons."""
    return build_llama()


def build_llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
    }
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**(sizes | changes))).eval()


@pytest.fixture
def make_llama() -> Callable[..., Any]:
    return build_llama


@pytest.fixture
def bert() -> Any:
    """An encoder of 4 layers, 4 heads, 128 neurons."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    torch.manual_seed(0)
    return BertModel(config).eval()


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def calibration() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    batches = [torch.randint(3, VOCABULARY, (4, 16), generator=generator) for _ in range(2)]
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in batches]


@pytest.fixture
def context_of(calibration: list[dict[str, torch.Tensor]]) -> Callable[..., Context]:
    def build(model: Any, device: Device = CPU, **changes: Any) -> Context:
        values = {"calibration": calibration} | changes
        return Context(device=device, model_config=model.config.to_dict(), **values)

    return build


@pytest.fixture
def output_of() -> Callable[[Any, torch.Tensor], torch.Tensor]:
    """Runs a model on token ids: logits or hidden states."""

    def run(model: Any, ids: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            output: torch.Tensor = model(input_ids=ids)[0]
        return output

    return run


@pytest.fixture
def reloaded(tmp_path: Path) -> Callable[[Any], Any]:
    """Saves a model and loads it again."""

    def reload(model: Any) -> Any:
        model.save_pretrained(tmp_path)
        return type(model).from_pretrained(tmp_path).eval()

    return reload
