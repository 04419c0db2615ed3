from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from autotune.bench.engines.model_draft import part_of
from autotune.bench.engines.torch_engine import TorchEncoder, TorchGenerator
from autotune.plugin import Unsupported

Windows = dict[str, torch.Tensor]


class Recorder(TorchGenerator):
    """Keeps the token fed into each step."""

    def __init__(self, model: Any, new_tokens: int) -> None:
        super().__init__(model, new_tokens)
        self.fed: list[torch.Tensor] = []

    def _step(self, ids: torch.Tensor, cache: Any, keep: int = 1) -> torch.Tensor:
        self.fed.append(ids)
        return super()._step(ids, cache, keep)


EXACT = [{"cache": "dynamic"}, {"cache": "static"}, {"cache": "sliding", "cache_window": 32}]


@pytest.mark.parametrize("args", EXACT, ids=lambda args: args["cache"])
def test_decode_loop_gives_the_tokens_of_generate(
    llama: Any, windows: Windows, args: dict[str, Any]
) -> None:
    engine = Recorder(llama, new_tokens=6)
    args = engine.resolve(args)
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


class Repeating(Recorder):
    """Keeps the tokens of the latest request."""

    def _decode_drafts(self, *given: Any) -> Any:
        self.tokens, logits = super()._decode_drafts(*given)
        return self.tokens, logits


@pytest.mark.parametrize("layers", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("drafts", [1, 2, 8])
def test_drafts_change_no_token_and_save_steps(
    llama: Any, windows: Windows, drafts: int, layers: float
) -> None:
    one = {name: tensor[:1] for name, tensor in windows.items()}
    args = {"draft_tokens": drafts, "draft_layers": layers}
    for given, batch in ((windows, 6), (one, 1)):
        engine = Repeating(llama, new_tokens=24)
        timing = engine.request(given, engine.resolve(args))
        expected = llama.generate(
            **given, max_new_tokens=24, min_new_tokens=24, do_sample=False, pad_token_id=0
        )
        assert torch.equal(engine.tokens, expected[:, 17:])
        assert (timing.sequences, timing.output_tokens, len(timing.gaps)) == (batch, 24, 23)
    # A random model soon repeats itself: several tokens of a step come at once.
    assert 0.0 in timing.gaps or layers == 0.5


@pytest.mark.parametrize("layers", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_guesses_that_are_refused_change_no_token(
    kind: str, layers: float, windows: Windows
) -> None:
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 6}
    chaotic = {"vocab_size": 97, "initializer_range": 0.3, "eos_token_id": None}
    config = AutoConfig.for_model(kind, **sizes, **chaotic)
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    engine = Repeating(model, new_tokens=24)
    engine.request(windows, engine.resolve({"draft_tokens": 4, "draft_layers": layers}))
    expected = model.generate(
        **windows, max_new_tokens=24, min_new_tokens=24, do_sample=False, pad_token_id=0
    )
    assert torch.equal(engine.tokens, expected[:, 17:])
    assert len(engine.fed) > 1 + 5  # a prompt, and five passes if all were taken


def test_all_layers_guess_all_tokens(llama: Any, windows: Windows) -> None:
    engine = Recorder(llama, new_tokens=1 + 4 * 3)
    engine.request(windows, engine.resolve({"draft_tokens": 3, "draft_layers": 1.0}))
    assert [fed.shape[1] for fed in engine.fed] == [16, 4, 4, 4]


def test_part_of_a_model_holds_no_weights_of_its_own(llama: Any, windows: Windows) -> None:
    before = llama(**windows).logits
    part = part_of(llama, 0.5)
    assert len(part.model.layers) == len(llama.model.layers) // 2
    own = {id(weight) for weight in llama.parameters()}
    assert {id(weight) for weight in part.parameters()} < own
    assert not torch.equal(part(**windows).logits, before)
    assert torch.equal(llama(**windows).logits, before)
    assert torch.equal(part_of(llama, 1.0)(**windows).logits, before)


def test_part_of_a_model_whose_layers_are_elsewhere(llama: Any) -> None:
    llama.config.num_hidden_layers += 1
    with pytest.raises(Unsupported, match="the layers of LlamaModel are not found"):
        part_of(llama, 0.5)


def test_drafts_need_a_cache_that_forgets(llama: Any) -> None:
    engine = TorchGenerator(llama, new_tokens=2)
    with pytest.raises(Unsupported, match="which a static key-value cache cannot"):
        engine.resolve({"draft_tokens": 2, "cache": "static"})


def test_the_work_of_other_steps_is_not_known(llama: Any) -> None:
    engine = TorchGenerator(llama, new_tokens=2)
    assert engine.plain_steps(engine.resolve({"cache": "static"}))
    assert not engine.plain_steps(engine.resolve({"draft_tokens": 2}))
    assert not engine.plain_steps(engine.resolve({"cache": "quantized"}))


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
        engine.request(
            {"input_ids": torch.ones(1, 4, dtype=torch.long)}, engine.resolve({"cache": "paged"})
        )


def test_embedding_ignores_padding(llama: Any, windows: Windows) -> None:
    encoder = TorchEncoder(llama.model, "feature-extraction")
    short = {name: tensor[:, :8] for name, tensor in windows.items()}
    padded = {
        "input_ids": torch.cat([short["input_ids"], torch.zeros(6, 8, dtype=torch.long)], 1),
        "attention_mask": torch.cat([torch.ones(6, 8), torch.zeros(6, 8)], 1).long(),
    }
    plain = encoder.resolve({})
    same = torch.allclose(encoder.outputs(short, plain), encoder.outputs(padded, plain), atol=1e-5)
    assert same
