from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.params import Scalar
from autotune.plugin import Context, Unsupported
from autotune.recipe import complete
from autotune_plugins._heads import Heads, kept_heads
from autotune_plugins._structured import kept_layers, kept_neurons
from autotune_plugins.prune import Prune

ContextOf = Callable[..., Context]
OutputOf = Callable[..., torch.Tensor]


def prune_params(method: str, ratio: float = 0.5, **changes: Scalar) -> dict[str, Scalar]:
    given: dict[str, Scalar] = {} if method == "wanda_2_4" else {"ratio": ratio}
    return complete(Prune(), {"method": method, **given, **changes})


def pruned(
    model: Any, context: Context, method: str, ratio: float = 0.5, **changes: Scalar
) -> Any:
    return Prune().transform(model, prune_params(method, ratio, **changes), context)


def linears(model: Any) -> list[torch.nn.Linear]:
    return [m for m in model.base_model.layers.modules() if isinstance(m, torch.nn.Linear)]


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
def test_masks_zero_the_exact_ratio_of_every_row(
    method: str, ratio: float, llama: Any, context_of: ContextOf
) -> None:
    head = llama.lm_head.weight.clone()
    pruned(llama, context_of(llama), method, ratio)
    for linear in linears(llama):
        zeros = (linear.weight == 0).sum(-1)
        assert set(zeros.tolist()) == {round(ratio * linear.in_features)}
    assert torch.equal(llama.lm_head.weight, head)


def test_two_of_four_neighbours_go(llama: Any, context_of: ContextOf) -> None:
    pruned(llama, context_of(llama), "wanda_2_4")
    for linear in linears(llama):
        zeros = (linear.weight.view(linear.out_features, -1, 4) == 0).sum(-1)
        assert set(zeros.flatten().tolist()) == {2}


def test_magnitude_needs_no_calibration_text(llama: Any, context_of: ContextOf) -> None:
    pruned(llama, context_of(llama, calibration=()), "magnitude")


@pytest.mark.parametrize("method", ["wanda", "wanda_2_4", "structured", "depth"])
def test_activation_methods_are_refused_without_calibration_text(
    method: str, llama: Any, context_of: ContextOf
) -> None:
    with pytest.raises(Unsupported, match="needs calibration text"):
        pruned(llama, context_of(llama, calibration=()), method)


def test_wanda_keeps_small_weights_of_loud_inputs(
    make_llama: Callable[..., Any], context_of: ContextOf
) -> None:
    left = {}
    for method in ("magnitude", "wanda"):
        model = make_llama()
        layer = model.model.layers[0]
        with torch.no_grad():
            layer.input_layernorm.weight[3] = 1000.0
            layer.self_attn.q_proj.weight[:, 3] = 1e-4
        pruned(model, context_of(model), method)
        left[method] = int((layer.self_attn.q_proj.weight[:, 3] != 0).sum())
    assert left == {"magnitude": 0, "wanda": 64}


def test_structured_keeps_a_small_column_of_a_loud_neuron(
    llama: Any, context_of: ContextOf
) -> None:
    mlp = llama.model.layers[1].mlp
    with torch.no_grad():
        mlp.up_proj.weight[7] *= 1000
        mlp.down_proj.weight[:, 7] *= 0.1
    loud = mlp.up_proj.weight[7].clone()
    pruned(llama, context_of(llama), "structured", 0.6)
    assert any(torch.equal(row, loud) for row in mlp.up_proj.weight)


def test_padding_does_not_count(llama: Any, context_of: ContextOf) -> None:
    from autotune_plugins._importance import input_norms

    ids = torch.randint(3, 256, (2, 12))
    padded = torch.nn.functional.pad(ids, (0, 4), value=5)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (0, 4), value=0)
    watched = linears(llama)
    plain = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]
    for a, b in zip(
        input_norms(llama, watched, plain),
        input_norms(llama, watched, [{"input_ids": padded, "attention_mask": mask}]),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_structured_shrinks_every_layer_alike(llama: Any, context_of: ContextOf) -> None:
    before, context = llama.num_parameters(), context_of(llama)
    pruned(llama, context, "structured")
    for layer in llama.model.layers:
        assert layer.mlp.gate_proj.weight.shape == (64, 64)
        assert layer.mlp.down_proj.weight.shape == (64, 64)
        assert layer.self_attn.q_proj.weight.shape == (32, 64)
        assert layer.self_attn.k_proj.weight.shape == (16, 64)
        assert layer.self_attn.o_proj.weight.shape == (64, 32)
    assert llama.num_parameters() < 0.65 * before
    assert context.notes == ["1 of 2 key-value groups cut in each layer"]


def test_query_heads_go_with_their_key_value_group(llama: Any, context_of: ContextOf) -> None:
    attention = llama.model.layers[0].self_attn
    with torch.no_grad():
        attention.o_proj.weight[:, :32] *= 0.01
    queries, keys = attention.q_proj.weight[32:].clone(), attention.k_proj.weight[16:].clone()
    pruned(llama, context_of(llama), "structured")
    assert torch.equal(attention.q_proj.weight, queries)
    assert torch.equal(attention.k_proj.weight, keys)


def test_queries_go_where_no_group_can(
    make_llama: Callable[..., Any],
    context_of: ContextOf,
    output_of: OutputOf,
    reloaded: Callable[[Any], Any],
    tokens: torch.Tensor,
) -> None:
    """Of three queries in each of two groups the quiet one goes, and the others keep theirs."""
    sizes = {"hidden_size": 48, "num_attention_heads": 6, "head_dim": 8}
    model = make_llama(**sizes)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        attention.o_proj.weight[:, 8:16] *= 0.01
        attention.o_proj.weight[:, 40:48] *= 0.01
    queries, keys = attention.q_proj.weight.clone(), attention.k_proj.weight.clone()
    context = context_of(model)
    pruned(model, context, "structured", 0.3)
    loud = [*range(8), *range(16, 40)]
    assert torch.equal(attention.q_proj.weight, queries[loud])
    assert torch.equal(attention.k_proj.weight, keys)
    assert context.notes == ["1 of 3 query heads cut in each group of each layer"]
    again = reloaded(model)
    assert (again.config.num_attention_heads, again.config.num_key_value_heads) == (4, 2)
    assert torch.equal(output_of(again, tokens), output_of(model, tokens))


def test_the_last_query_of_a_group_is_never_cut(
    make_llama: Callable[..., Any], context_of: ContextOf
) -> None:
    model = make_llama(num_key_value_heads=1, num_attention_heads=1)
    context = context_of(model)
    pruned(model, context, "structured", 0.6)
    assert model.config.num_attention_heads == 1
    assert context.notes == ["0 of 1 key-value groups cut in each layer"]


def test_heads_are_cut_only_to_a_number_that_loads(
    make_llama: Callable[..., Any], context_of: ContextOf, reloaded: Callable[[Any], Any]
) -> None:
    model = make_llama(num_key_value_heads=4)
    context = context_of(model)
    pruned(model, context, "structured", 0.3)
    assert context.notes == ["0 of 4 key-value groups cut in each layer"]
    assert reloaded(model).config.num_attention_heads == 4


@pytest.mark.parametrize("method", ["structured", "depth"])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_a_shrunk_model_survives_saving_and_loading(
    method: str,
    kind: str,
    request: pytest.FixtureRequest,
    context_of: ContextOf,
    output_of: OutputOf,
    reloaded: Callable[[Any], Any],
    tokens: torch.Tensor,
) -> None:
    model = request.getfixturevalue(kind)
    before = model.num_parameters()
    pruned(model, context_of(model), method)
    again = reloaded(model)
    output = output_of(model, tokens)
    assert output.isfinite().all()
    assert torch.equal(output_of(again, tokens), output)
    assert again.num_parameters() == model.num_parameters() < before


@pytest.mark.parametrize("method", ["wanda", "structured", "depth"])
def test_cached_decoding_agrees_with_one_pass_after_pruning(
    method: str, llama: Any, context_of: ContextOf, output_of: OutputOf, tokens: torch.Tensor
) -> None:
    from transformers import DynamicCache

    pruned(llama, context_of(llama), method)
    cache = DynamicCache(config=llama.config)
    with torch.inference_mode():
        llama(input_ids=tokens[:, :-1], past_key_values=cache, use_cache=True)
        step = llama(input_ids=tokens[:, -1:], past_key_values=cache, use_cache=True)
    torch.testing.assert_close(step.logits[:, -1], output_of(llama, tokens)[:, -1])


def test_depth_removes_the_layer_that_does_nothing(llama: Any, context_of: ContextOf) -> None:
    idle = llama.model.layers[2]
    with torch.no_grad():
        idle.self_attn.o_proj.weight.zero_()
        idle.mlp.down_proj.weight.zero_()
    context = context_of(llama)
    pruned(llama, context, "depth", 0.3)
    assert idle not in list(llama.model.layers)
    assert [layer.self_attn.layer_idx for layer in llama.model.layers] == [0, 1, 2]
    assert llama.config.num_hidden_layers == 3
    assert context.notes == ["removed layers (from 0): 2"]


def test_depth_shortens_lists_with_one_entry_per_layer(context_of: ContextOf) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    kinds = ["full_attention", "sliding_attention"] * 2
    config = Qwen2Config(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=kinds,
        sliding_window=8,
        use_sliding_window=True,
    )
    model = Qwen2ForCausalLM(config).eval()
    pruned(model, context_of(model), "depth", 0.3)
    assert len(model.config.layer_types) == 3


def test_an_encoder_keeps_its_heads_and_says_so(bert: Any, context_of: ContextOf) -> None:
    context = context_of(bert)
    pruned(bert, context, "structured")
    assert bert.encoder.layer[0].intermediate.dense.weight.shape == (64, 64)
    assert bert.encoder.layer[0].attention.self.query.weight.shape == (64, 64)
    assert context.notes == ["attention heads stay: such a checkpoint could not be loaded"]


def test_shrunk_weights_can_still_be_trained(llama: Any, context_of: ContextOf) -> None:
    pruned(llama, context_of(llama), "structured")
    assert all(weight.requires_grad for weight in llama.parameters())


def test_unknown_architectures_are_refused_from_the_config(cpu: Device) -> None:
    for method in ("structured", "depth"):
        with pytest.raises(Unsupported, match=r"'gpt2' model are not known.*llama"):
            Prune().check(prune_params(method, 0.3), {"model_type": "gpt2"}, cpu)
    Prune().check(prune_params("wanda", 0.3), {"model_type": "gpt2"}, cpu)


def test_the_only_layer_is_not_removed(cpu: Device) -> None:
    config = {"model_type": "llama", "num_hidden_layers": 1}
    with pytest.raises(Unsupported, match="none to spare"):
        Prune().check(prune_params("depth", 0.3), config, cpu)


def test_what_is_kept() -> None:
    assert [kept_neurons(128, ratio) for ratio in (0.1, 0.3, 0.6)] == [112, 88, 48]
    assert (kept_neurons(8, 0.6), kept_neurons(4, 0.6)) == (8, 4)
    assert [kept_heads(Heads(10, 4), ratio).groups for ratio in (0.1, 0.3, 0.6)] == [9, 7, 4]
    assert kept_heads(Heads(10, 4), 0.3).per_group == 4
    assert kept_heads(Heads(2, 3), 0.3) == (2, 2)
    assert [kept_heads(Heads(1, 4), ratio).per_group for ratio in (0.1, 0.3, 0.6)] == [4, 3, 2]
    assert kept_heads(Heads(1, 1), 0.6) == (1, 1)
    assert (kept_layers(6, 0.3), kept_layers(4, 0.1), kept_layers(2, 0.6)) == (4, 3, 1)


@pytest.mark.parametrize("method", ["structured", "depth"])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_the_estimate_is_near_what_is_left(
    method: str, kind: str, request: pytest.FixtureRequest, context_of: ContextOf
) -> None:
    model = request.getfixturevalue(kind)
    before, config = model.num_parameters(), model.config.to_dict()
    estimate = Prune().estimate(prune_params(method), config)
    pruned(model, context_of(model), method)
    assert estimate.weights_bytes == pytest.approx(model.num_parameters() / before, rel=0.1)
    assert estimate.flops == estimate.memory_traffic == estimate.weights_bytes


def test_stored_zeros_save_nothing(llama: Any) -> None:
    config = llama.config.to_dict()
    estimate = Prune().estimate(prune_params("wanda"), config)
    assert estimate.weights_bytes == 1.0
