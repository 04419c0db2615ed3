from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune.bench.engines.torch_engine import TorchEncoder, TorchGenerator
from autotune.plugin import Unsupported

Windows = dict[str, torch.Tensor]


class Recorder(TorchGenerator):
    """Keeps the token fed into each step."""

    def __init__(self, model: Any, new_tokens: int) -> None:
        super().__init__(model, new_tokens)
        self.fed: list[torch.Tensor] = []

    def _step(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        self.fed.append(ids)
        return super()._step(ids, cache)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_decode_loop_gives_the_tokens_of_generate(
    llama: Any, windows: Windows, cache: str
) -> None:
    engine = Recorder(llama, new_tokens=6)
    args = engine.resolve({"cache": cache})
    engine.request(windows, args)
    engine.fed.clear()
    timing = engine.request(windows, args)  # a static cache is used again

    expected = llama.generate(
        **windows, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0
    )
    assert torch.equal(torch.cat(engine.fed[1:], dim=1), expected[:, 16:21])
    assert timing.start < timing.first < timing.last
    assert (timing.sequences, timing.prompt_tokens, timing.output_tokens) == (6, 16, 6)
    assert len(timing.gaps) == 5
    assert min(timing.gaps) > 0
    assert sum(timing.gaps) <= timing.last - timing.first
    assert engine.last_finite


def test_one_new_token_has_no_decode_steps(llama: Any, windows: Windows) -> None:
    engine = Recorder(llama, new_tokens=1)
    timing = engine.request(windows, engine.resolve({}))
    assert len(engine.fed) == 1
    assert timing.last >= timing.first
    assert timing.gaps == ()


def test_unknown_run_argument_is_refused(llama: Any) -> None:
    engine = TorchGenerator(llama, new_tokens=2)
    with pytest.raises(Unsupported, match="knows no run argument 'speed'"):
        engine.resolve({"speed": 9})
    with pytest.raises(Unsupported, match="no key-value cache kind 'paged'"):
        engine.request({"input_ids": torch.ones(1, 4, dtype=torch.long)}, {"cache": "paged"})


def test_embedding_ignores_padding(llama: Any, windows: Windows) -> None:
    encoder = TorchEncoder(llama.model, "feature-extraction")
    short = {name: tensor[:, :8] for name, tensor in windows.items()}
    padded = {
        "input_ids": torch.cat([short["input_ids"], torch.zeros(6, 8, dtype=torch.long)], 1),
        "attention_mask": torch.cat([torch.ones(6, 8), torch.zeros(6, 8)], 1).long(),
    }
    assert torch.allclose(encoder.outputs(short), encoder.outputs(padded), atol=1e-5)
