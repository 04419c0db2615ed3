from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.fallbacks import find_in_model
from autotune.bench.meters.memory import weights_bytes
from autotune.device import Device
from autotune.plugin import Context, Unsupported
from autotune.recipe import Recipe, keys
from autotune_plugins.quantize import Quantize
from autotune_plugins.speculative import Speculative

ContextOf = Callable[..., Context]
ASSISTANT = {"method": "assistant", "tokens": 4, "assistant_layers": 0.25}


@pytest.fixture
def quick_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps: that a training helps is the distillation's own test."""
    from autotune_plugins import _assistant

    monkeypatch.setattr(_assistant, "_TRAINING", _assistant.replace(_assistant._TRAINING, steps=3))


def test_guesses_are_asked_of_the_engine_and_change_no_number() -> None:
    assert Speculative().run_args({"method": "prompt_lookup", "tokens": 8}) == {"draft_tokens": 8}
    own = {"method": "self_draft", "tokens": 4, "layers": 0.25}
    assert Speculative().run_args(own) == {"draft_tokens": 4, "draft_layers": 0.25}
    plugins = {"speculative": Speculative()}
    on = Recipe.of({"speculative": {"method": "prompt_lookup"}}, plugins)
    off = Recipe.of({}, plugins)
    assert keys(on, plugins, {}).output_key == keys(off, plugins, {}).output_key
    assert keys(on, plugins, {}).setup_key == keys(off, plugins, {}).setup_key


def test_models_whose_cache_cannot_forget_are_refused(cpu: Device) -> None:
    guess = {"method": "prompt_lookup", "tokens": 4}
    for config in (
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"sliding_window": 4096},
        {"sliding_window": 4096, "use_sliding_window": True},
    ):
        with pytest.raises(Unsupported, match="do not attend to all tokens"):
            Speculative().check(guess, config, cpu)
    for config in (
        {"layer_types": ["full_attention"], "sliding_window": 4096},
        {"sliding_window": None},
        {"sliding_window": 4096, "use_sliding_window": False},
    ):
        Speculative().check(guess, config, cpu)


def test_a_part_is_made_of_known_models(cpu: Device) -> None:
    own = {"method": "self_draft", "tokens": 4, "layers": 0.5}
    Speculative().check(own, {"model_type": "llama"}, cpu)
    with pytest.raises(Unsupported, match="the layers of a 'opt' model are not known here"):
        Speculative().check(own, {"model_type": "opt"}, cpu)


def test_an_assistant_guesses_and_changes_no_token(
    llama: Any, cpu: Device, context_of: ContextOf, tokens: torch.Tensor, quick_training: None
) -> None:
    alone = weights_bytes(llama)
    original = copy.deepcopy(llama)
    context = context_of(llama, teacher=lambda: copy.deepcopy(original))
    Quantize().transform(llama, {"scheme": "int8_weight_only"}, context)
    model = Speculative().transform(llama, ASSISTANT, context)
    assert model.assistant.config.num_hidden_layers == 1
    assert any(note.startswith("the assistant, ") for note in context.notes)
    assert list(find_in_model(model, {"quantized": "int8_weight_only"}, cpu)) == []
    stated = Speculative().estimate(ASSISTANT, llama.config.to_dict()).weights_bytes
    assert weights_bytes(model.assistant) / alone == pytest.approx(stated - 1, rel=0.02)

    engine = TorchGenerator(model, new_tokens=12)
    given = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    found: list[torch.Tensor] = []
    for args in ({}, Speculative().run_args(ASSISTANT)):
        found.append(_generated(engine, given, engine.resolve(args)))
        assert engine.last_finite
    assert torch.equal(*found)


def _generated(engine: TorchGenerator, given: Any, args: Any) -> torch.Tensor:
    """What a request generated after its first token."""
    kept: list[torch.Tensor] = []
    names = ("_decode", "_decode_drafts")
    for name in names:
        own = getattr(engine, name)

        def remember(*arguments: Any, own: Any = own) -> Any:
            result = own(*arguments)
            kept.append(result[0])
            return result

        setattr(engine, name, remember)
    engine.request(given, args)
    for name in names:
        delattr(engine, name)
    return kept[0]


def test_an_assistant_is_trained_once_whatever_else_is_done(
    llama: Any, context_of: ContextOf, tmp_path: Path, quick_training: None
) -> None:
    original = copy.deepcopy(llama)
    file = tmp_path / "own.safetensors"
    made = []
    for model in (llama, copy.deepcopy(original).to(torch.bfloat16)):
        model.set_attn_implementation("eager")
        context = context_of(
            model, teacher=lambda: copy.deepcopy(original), own_artifact=file, seed=3
        )
        made.append(Speculative().transform(model, ASSISTANT, context).assistant)
        assert made[-1].dtype == model.dtype
        assert made[-1].config._attn_implementation == "eager"
        kept = any("weights kept" in note for note in context.notes)
        assert kept == (len(made) == 2)
    first, second = (dict(one.named_parameters()) for one in made)
    assert all(torch.equal(first[name].to(torch.bfloat16), second[name]) for name in first)


def test_an_assistant_needs_an_original(llama: Any, context_of: ContextOf, cpu: Device) -> None:
    with pytest.raises(Unsupported, match="there is none to load"):
        Speculative().transform(llama, ASSISTANT, context_of(llama))
    with pytest.raises(Unsupported, match="none to spare for an assistant"):
        Speculative().check(ASSISTANT, {"model_type": "llama", "num_hidden_layers": 1}, cpu)
    quantized = {"model_type": "llama", "quantization_config": {"bits": 4}}
    with pytest.raises(Unsupported, match="cannot be trained"):
        Speculative().check(ASSISTANT, quantized, cpu)
