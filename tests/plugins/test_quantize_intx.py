"""Packed weights: their bytes, their numbers, calibrated rounding, and bits by sensitivity."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch

from autotune.bench.fallbacks import find_plain_linears
from autotune.bench.kernels import look_at_linears
from autotune.bench.meters.memory import weights_bytes, weights_disk_bytes
from autotune.device import Device
from autotune.params import Scalar
from autotune.plugin import Context, Unsupported
from autotune_plugins._packed_weight import PackedWeight, pack, unpack
from autotune_plugins.quantize import Quantize

ContextOf = Callable[..., Context]
OutputOf = Callable[..., torch.Tensor]
Values = dict[str, Scalar]


def intx(**changes: Scalar) -> Values:
    values: Values = {
        "scheme": "intx",
        "weight_bits": 4,
        "group_size": 32,
        "symmetric": False,
        "rounding": "nearest",
        "activations": "keep",
    }
    return values | changes


def mixed(target: int, rounding: str = "nearest") -> Values:
    return {
        "scheme": "intx_mixed",
        "target_bits": target,
        "group_size": 64,
        "rounding": rounding,
    }


def quantized(model: Any, params: Values, context: Context) -> Any:
    return Quantize().transform(model, params, context)


@pytest.mark.parametrize("bits", range(1, 9))
def test_packing_loses_nothing_and_wastes_nothing(bits: int) -> None:
    codes = torch.randint(0, 2**bits, (3, 40), dtype=torch.uint8)
    packed = pack(codes, bits)
    assert packed.shape == (3, 40 * bits // 8)
    assert torch.equal(unpack(packed, bits), codes)


@pytest.mark.parametrize(("bits", "symmetric"), list(product((8, 4, 3, 2), (False, True))))
def test_weights_are_multiples_of_a_step_and_near_to_what_they_were(
    bits: int, symmetric: bool, llama: Any, context_of: ContextOf
) -> None:
    before = llama.model.layers[0].mlp.up_proj.weight.detach().clone()
    quantized(llama, intx(weight_bits=bits, symmetric=symmetric), context_of(llama))
    weight = llama.model.layers[0].mlp.up_proj.weight
    assert isinstance(weight, PackedWeight)
    assert weight.bits == bits
    after = weight.dequantize()
    steps = weight.scale.float().repeat_interleave(32, dim=1)
    # All but the few that were clipped are rounded by at most half a step.
    near = (after - before).abs() <= steps * (0.5 if bits < 8 else 0.75)
    assert near.float().mean() > (0.8 if bits == 2 else 0.9)
    for group in after.view(-1, 32):
        assert len(group.unique()) <= 2**bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "params",
    [intx(weight_bits=bits, symmetric=s) for bits, s in product((8, 4, 3, 2), (False, True))]
    + [mixed(3)],
)
def test_bytes_in_memory_and_on_disk_are_those_that_are_estimated(
    params: Values, dtype: torch.dtype, llama: Any, context_of: ContextOf
) -> None:
    llama = llama.to(dtype)
    config = llama.config.to_dict() | {"dtype": str(dtype)}
    whole, on_disk = weights_bytes(llama), weights_disk_bytes(llama)
    quantized(llama, params, context_of(llama))
    stated = Quantize().estimate(params, config).weights_bytes
    # torch's kernel for 4 bits in bfloat16 wants two more bytes for each group.
    close = 0.07 if dtype is torch.bfloat16 and params.get("weight_bits") == 4 else 0.02
    assert weights_bytes(llama) / whole == pytest.approx(stated, rel=close)
    assert weights_disk_bytes(llama) / on_disk == pytest.approx(stated, rel=close)


@pytest.mark.parametrize(
    ("dtype", "params"),
    [
        (torch.float32, intx(weight_bits=3, rounding="gptq")),
        (torch.float32, intx(symmetric=True, activations="int8")),
        (torch.bfloat16, intx()),
        (torch.bfloat16, mixed(4)),
    ],
)
def test_a_saved_state_dict_gives_the_same_logits(
    dtype: torch.dtype,
    params: Values,
    make_llama: Callable[..., Any],
    context_of: ContextOf,
    output_of: OutputOf,
    tokens: torch.Tensor,
) -> None:
    model = make_llama(tie_word_embeddings=False).to(dtype)
    quantized(model, params, context_of(model))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = make_llama(tie_word_embeddings=False, initializer_range=0.5).to(dtype)
    other.load_state_dict(torch.load(file, weights_only=True), assign=True)
    assert torch.equal(output_of(other, tokens), output_of(model, tokens))


@pytest.mark.parametrize("params", [intx(weight_bits=2), intx(activations="int8"), mixed(3)])
def test_every_linear_but_the_head_is_quantized_as_asked(
    params: Values, llama: Any, cpu: Device, context_of: ContextOf
) -> None:
    quantized(llama, params, context_of(llama))
    asked = Quantize().expects(params)
    assert not list(find_plain_linears(llama, asked["quantized"]))
    assert type(llama.lm_head.weight) is torch.nn.Parameter
    notes, fallbacks = look_at_linears(llama, asked, cpu, rows=8)
    converted = any("converted on each call" in note for note in notes)
    assert converted == (params.get("activations") != "int8")
    assert not fallbacks


def test_int8_activations_are_multiplied_in_int8(llama: Any, context_of: ContextOf) -> None:
    params = intx(weight_bits=8, activations="int8")
    assert Quantize().expects(params)["matmul"] == "int8"
    assert "matmul" not in Quantize().expects(intx(weight_bits=8))
    quantized(llama, params, context_of(llama))
    linear = llama.model.layers[0].mlp.down_proj
    linear.bias = torch.nn.Parameter(torch.randn(linear.out_features), requires_grad=False)
    tokens = torch.randn(2, 5, linear.in_features)
    exact = torch.nn.functional.linear(tokens, linear.weight.dequantize(), linear.bias)
    assert (linear(tokens) - exact).norm() < 0.01 * exact.norm()
    assert not torch.equal(linear(tokens), exact)


def test_4_bits_in_bfloat16_take_torchs_kernel_with_the_same_numbers(
    llama: Any, context_of: ContextOf
) -> None:
    exact = quantized(make_bfloat16(llama), intx(activations="int8"), context_of(llama))
    weight = exact.model.layers[0].mlp.down_proj.weight.dequantize()
    fast = quantized(make_bfloat16(llama), intx(rounding="nearest"), context_of(llama))
    linear = fast.model.layers[0].mlp.down_proj
    assert type(linear.weight).__name__ == "Int4OpaqueTensor"
    tokens = torch.eye(linear.in_features, dtype=torch.bfloat16)
    with torch.inference_mode():
        seen = linear(tokens).t()
    assert (seen - weight).norm() < 0.02 * weight.norm()


def make_bfloat16(model: Any) -> Any:
    return copy.deepcopy(model).to(torch.bfloat16)


def test_groups_are_smaller_where_the_inputs_are_not_divisible(
    make_llama: Callable[..., Any],
    context_of: ContextOf,
    output_of: OutputOf,
    tokens: torch.Tensor,
) -> None:
    model = make_llama(intermediate_size=96)
    context = context_of(model)
    quantized(model, intx(group_size=64), context)
    assert model.model.layers[0].mlp.down_proj.weight.scale.shape == (64, 2)
    assert context.notes == [
        "4 of 28 linears have smaller groups, of equal size: their inputs are not divisible by "
        "the group of 64"
    ]
    assert output_of(model, tokens).isfinite().all()


def test_what_fills_no_bytes_stays_and_is_told(
    make_llama: Callable[..., Any], context_of: ContextOf
) -> None:
    model = make_llama(intermediate_size=100)
    context = context_of(model)
    quantized(model, intx(), context)
    assert type(model.model.layers[0].mlp.down_proj.weight) is torch.nn.Parameter
    assert "4 of 28 linears stay as they are" in context.notes[0]
    odd = make_llama(hidden_size=36, intermediate_size=100, head_dim=10, num_attention_heads=2)
    with pytest.raises(Unsupported, match="no linear layer that can be packed"):
        quantized(odd, intx(), context_of(odd))


def test_int8_activations_are_refused_on_gpus(cpu: Device, new_gpu: Device) -> None:
    Quantize().check(intx(activations="int8"), {}, cpu)
    Quantize().check(intx(), {}, new_gpu)
    with pytest.raises(Unsupported, match="elsewhere int8_dynamic"):
        Quantize().check(intx(activations="int8"), {}, new_gpu)
