from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from autotune.bench.caches import growing_cache
from autotune.bench.engines.early_exit import Exits
from autotune.bench.engines.model_draft import shallow
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.plugin import Unsupported

Windows = dict[str, torch.Tensor]
ALL, NONE = 1e-9, 1.1
"""Confidences with which every token exits, and none does."""
LAYERS = 4
KINDS = ("gemma", "gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3")


def build(kind: str, **sizes: Any) -> Any:
    given: dict[str, Any] = {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": LAYERS,
    }
    chaotic = {"vocab_size": 97, "initializer_range": 0.3, "eos_token_id": None}
    if kind != "gpt2":
        given |= {
            "pad_token_id": 0,
            "intermediate_size": 64,
            "num_key_value_heads": 2,
            "head_dim": 8,
        }
    config = AutoConfig.for_model(kind, **(given | chaotic | sizes))
    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@pytest.fixture(params=["gpt2", "qwen3"])
def model(request: pytest.FixtureRequest) -> Any:
    return build(request.param)


def truncated(model: Any, layers: int) -> Any:
    """The same model with its first layers only."""
    twin, base = shallow(model), shallow(model.base_model)
    name = "h" if hasattr(base, "h") else "layers"
    base._modules[name] = getattr(base, name)[:layers]
    twin._modules[model.base_model_prefix] = base
    return twin


def some(model: Any, windows: Windows) -> float:
    """The confidence that half of the tokens have after the first layer."""
    logits = outputs_of(truncated(model, 1), windows)
    return float(logits.softmax(-1).amax(-1).median())


def tokens_of(model: Any, windows: Windows, count: int = 12, **args: Any) -> torch.Tensor:
    engine = TorchGenerator(model, new_tokens=2)
    return engine.generate(windows, engine.resolve(args), count)


def outputs_of(model: Any, windows: Windows, **args: Any) -> torch.Tensor:
    engine = TorchGenerator(model, new_tokens=2)
    return engine.outputs(windows, engine.resolve(args))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_where_no_token_is_sure(windows: Windows, kind: str) -> None:
    model = build(kind)
    args = {"exit_confidence": NONE, "exit_places": "every"}
    assert torch.equal(tokens_of(model, windows, **args), tokens_of(model, windows))
    assert torch.equal(outputs_of(model, windows, **args), outputs_of(model, windows))


@pytest.mark.parametrize(("share", "kept"), [(0.25, 1), (0.75, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_where_all_are_sure_it_is_the_truncated_model(
    windows: Windows, kind: str, share: float, kept: int
) -> None:
    model = build(kind)
    args = {"exit_confidence": ALL, "exit_share": share}
    short = outputs_of(truncated(model, kept), windows)
    torch.testing.assert_close(outputs_of(model, windows, **args), short)
    assert not torch.allclose(short, outputs_of(model, windows), atol=0.1)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("places", ["first", "every"])
def test_what_is_scored_is_what_decoding_says(
    model: Any, windows: Windows, places: str, cache: str
) -> None:
    """From one token of prompt on, each position is decoded."""
    args = {"exit_confidence": some(model, windows), "exit_places": places, "exit_share": 0.25}
    first = {name: ids[:, :1] for name, ids in windows.items()}
    said = tokens_of(model, first, cache=cache, **args)
    text = torch.cat([first["input_ids"], said[:, :-1]], dim=1)
    scored = outputs_of(
        model, {"input_ids": text, "attention_mask": torch.ones_like(text)}, **args
    )
    assert torch.equal(scored.argmax(-1), said)
    assert not torch.equal(said, tokens_of(model, first, cache=cache))


def test_a_sequence_does_not_depend_on_its_neighbours(model: Any, windows: Windows) -> None:
    args = {"exit_confidence": some(model, windows), "exit_places": "every", "exit_share": 0.25}
    together = tokens_of(model, windows, **args)
    alone = [tokens_of(model, {"input_ids": row[None]}, **args) for row in windows["input_ids"]]
    assert torch.equal(together, torch.cat(alone))


def test_the_cache_stays_whole(model: Any, windows: Windows) -> None:
    ids = windows["input_ids"][:1]
    left_out = []
    for confidence in (ALL, some(model, windows), NONE):
        exits = Exits(model, confidence, 0.25, "every")
        cache = growing_cache(model.config, TorchGenerator.run_args)
        with torch.inference_mode():
            for piece in (ids[:, :8], *ids[:, 8:].split(1, dim=1)):
                exits.model(input_ids=piece, past_key_values=cache, use_cache=True)
        assert [layer.get_seq_length() for layer in cache.layers] == [16] * LAYERS
        assert exits.steps == 8
        left_out.append(exits.left_out)
    assert 8 * 3 == left_out[0] > left_out[1] > left_out[2] == 0


def test_keys_and_values_of_layers_left_out_are_of_the_state_at_the_exit(
    llama: Any, windows: Windows
) -> None:
    ids = windows["input_ids"]
    exits = Exits(llama, ALL, 0.5, "first")
    states: list[torch.Tensor] = []
    hook = llama.model.norm.register_forward_pre_hook(lambda _, given: states.append(given[0]))
    caches = [growing_cache(llama.config, TorchGenerator.run_args) for _ in range(2)]
    with torch.inference_mode():
        for cache in caches:
            llama(input_ids=ids[:, :8], past_key_values=cache, use_cache=True)
        states.clear()
        exits.model(input_ids=ids[:, 8:9], past_key_values=caches[0], use_cache=True)
        hook.remove()
        layer = llama.model.layers[1]
        places = llama.model.rotary_emb(states[0], position_ids=torch.tensor([[8]]))
        layer(states[0], position_embeddings=places, past_key_values=caches[1])
    found, expected = caches[0].layers[1], caches[1].layers[1]
    torch.testing.assert_close(found.keys, expected.keys)
    torch.testing.assert_close(found.values, expected.values)


def test_a_lossy_cache_and_exits_are_scored_together(llama: Any, windows: Windows) -> None:
    lossy = {"cache": "quantized", "cache_bits": 2}
    both = outputs_of(llama, windows, exit_confidence=ALL, **lossy)
    assert not torch.equal(both, outputs_of(llama, windows, exit_confidence=ALL))
    assert not torch.equal(both, outputs_of(llama, windows, **lossy))
    assert torch.equal(
        outputs_of(llama, windows, exit_confidence=NONE, **lossy),
        outputs_of(llama, windows, **lossy),
    )


def test_a_trained_model_leaves_layers_out_and_says_so(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval().requires_grad_(False)
    engine = TorchGenerator(model, new_tokens=24)
    ids = torch.arange(10, 26)[None]
    engine.request({"input_ids": ids}, engine.resolve({"exit_confidence": 0.1}))
    (note,) = engine.notes()
    share = float(note.split("%")[0].rpartition(" ")[2])
    assert 0 < share <= 50
    assert note.endswith("of the layers were left out in 23 decode steps")
    engine.forget()
    assert engine.notes() == ()


def test_the_model_itself_is_not_changed(llama: Any, windows: Windows) -> None:
    before = outputs_of(llama, windows)
    engine = TorchGenerator(llama, new_tokens=4)
    args = engine.resolve({"exit_confidence": ALL})
    engine.request(windows, args)
    assert torch.equal(engine.outputs(windows, engine.resolve({})), before)
    assert engine.alters_outputs(args)
    assert not engine.plain_steps(args)
    assert not engine.alters_outputs(engine.resolve({}))


def test_what_cannot_work_is_refused(llama: Any, windows: Windows) -> None:
    engine = TorchGenerator(llama, new_tokens=4)
    with pytest.raises(Unsupported, match="speculative decoding and early exit do not go"):
        engine.resolve({"exit_confidence": 0.9, "draft_tokens": 2})
    with pytest.raises(Unsupported, match=r"0\.75 of 2 layers are all of them"):
        engine.request(windows, engine.resolve({"exit_confidence": 0.9, "exit_share": 0.75}))
    with pytest.raises(Unsupported, match="does more between its last layer and its logits"):
        Exits(build("granite", logits_scaling=4.0), 0.9, 0.5, "first")
    llama.forward = llama.forward
    with pytest.raises(Unsupported, match="cannot be asked between layers"):
        Exits(llama, 0.9, 0.5, "first")
