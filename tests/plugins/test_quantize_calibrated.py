"""Packed weights that are rounded for the layers' outputs, in bits by sensitivity."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from autotune.bench.fallbacks import linears_to_quantize
from autotune.bench.tokens import Tokens, load_tokens
from autotune.config import StudyFile
from autotune.device import Device
from autotune.params import Scalar
from autotune.plugin import Context, Unsupported
from autotune.workload.model import resolve
from autotune.workload.text import build_workload
from autotune_plugins import _intx
from autotune_plugins._gptq import gptq
from autotune_plugins._mixed_bits import OPTIONS, allocate
from autotune_plugins._rounding import Format, fit_grid
from autotune_plugins.quantize import Quantize

ContextOf = Callable[..., Context]
OutputOf = Callable[..., torch.Tensor]
Values = dict[str, Scalar]
Losses = Callable[[Values], tuple[Any, float, float, list[str]]]


def uniform(bits: int, rounding: str) -> Values:
    same: Values = {"group_size": 64, "symmetric": False, "activations": "keep"}
    return {"scheme": "intx", "weight_bits": bits, "rounding": rounding} | same


def mixed(target: int, rounding: str = "nearest") -> Values:
    same: Values = {"group_size": 64, "rounding": rounding}
    return {"scheme": "intx_mixed", "target_bits": target} | same


def quantized(model: Any, params: Values, context: Context) -> Any:
    return Quantize().transform(model, params, context)


def held_bits(model: Any) -> list[int]:
    return [linear.weight.bits for linear in linears_to_quantize(model)]  # type: ignore[misc]


def average(model: Any) -> float:
    sizes = [linear.weight.numel() for linear in linears_to_quantize(model)]
    return float(np.average(held_bits(model), weights=sizes))


@pytest.mark.parametrize("params", [uniform(4, "gptq"), mixed(3)])
def test_calibration_text_is_needed(params: Values, llama: Any, context_of: ContextOf) -> None:
    with pytest.raises(Unsupported, match="needs calibration text"):
        quantized(llama, params, context_of(llama, calibration=[]))


@pytest.mark.parametrize("params", [uniform(4, "gptq"), mixed(3)])
def test_a_stage_of_a_pipeline_is_refused_before_any_pass(
    params: Values, llama: Any, context_of: ContextOf
) -> None:
    llama.model.layers[0] = torch.nn.Identity()
    with pytest.raises(Unsupported, match="each process of a pipeline holds a part of one"):
        quantized(llama, params, context_of(llama))


@pytest.mark.parametrize(("bits", "symmetric"), list(product((4, 3, 2), (False, True))))
def test_gptq_errs_less_on_correlated_inputs(bits: int, symmetric: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 16, generator=generator) @ torch.randn(16, 160, generator=generator)
    inputs += 0.3 * torch.randn(512, 160, generator=generator)
    weight = torch.randn(48, 160, generator=generator)
    format = Format(bits, 32, symmetric)
    grid = fit_grid(weight, format)
    nearest = grid.values(grid.codes(weight))
    codes, grid = gptq(weight, inputs.t() @ inputs, format)
    calibrated = grid.values(codes)
    assert codes.min() >= 0
    assert codes.max() < 2**bits
    error, before = (((w - weight) @ inputs.t()).norm() for w in (calibrated, nearest))
    assert error < 0.6 * before


def test_gptq_leaves_zeros_and_takes_inputs_that_are_always_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 64, generator=generator)
    inputs[:, ::3] = 0
    weight = torch.randn(16, 64, generator=generator)
    pruned = torch.rand(16, 64, generator=generator) < 0.5
    weight[pruned] = 0
    codes, grid = gptq(weight, inputs.t() @ inputs, Format(3, 32, False))
    assert (grid.values(codes)[pruned] == 0).all()
    assert codes.isfinite().all()


def test_without_inputs_gptq_rounds_to_the_nearest() -> None:
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    format = Format(4, 32, False)
    grid = fit_grid(weight, format)
    codes, _ = gptq(weight, torch.zeros(64, 64), format)
    assert torch.equal(codes, grid.codes(weight))


def test_an_encoder_is_calibrated_and_mixed_too(
    bert: Any, context_of: ContextOf, output_of: OutputOf, tokens: torch.Tensor
) -> None:
    before = output_of(bert, tokens)
    context = context_of(bert, task="feature-extraction")
    quantized(bert, mixed(4, "gptq"), context)
    assert average(bert) <= 4
    error = (output_of(bert, tokens) - before).norm() / before.norm()
    assert 0 < error < 0.2


def test_a_linear_that_no_text_reaches_is_rounded_to_the_nearest_and_told(
    llama: Any, context_of: ContextOf
) -> None:
    llama.model.spare = torch.nn.Linear(64, 32)
    before = llama.model.spare.weight.detach().clone()
    context = context_of(llama)
    quantized(llama, uniform(8, "gptq"), context)
    assert (llama.model.spare.weight.dequantize() - before).abs().max() < 0.01
    assert "1 of 29 linears were rounded to the nearest" in context.notes[0]


def test_a_classifier_is_measured_by_its_classes(
    tokens: torch.Tensor, context_of: ContextOf
) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = BertConfig(vocab_size=256, num_attention_heads=4, num_labels=3, **sizes)
    model = BertForSequenceClassification(config).eval()
    quantized(model, mixed(3, "gptq"), context_of(model, task="sequence-classification"))
    assert average(model) <= 3
    assert model(tokens).logits.isfinite().all()


def test_bits_go_where_they_save_most_and_no_further() -> None:
    losses = [[8.0, 4.0, 2.0, 1.0], [0.8, 0.4, 0.2, 0.1], [0.08, 0.04, 0.02, 0.01]]
    assert allocate(losses, [10, 10, 10], 5.0) == [8, 4, 3]
    assert allocate(losses, [10, 10, 10], 2.0) == [2, 2, 2]
    assert allocate(losses, [10, 10, 10], 8.0) == [8, 8, 8]


@pytest.mark.parametrize("target", [2.5, 3.0, 4.5, 6.0])
def test_allocation_is_the_best_of_all_within_the_average(target: float) -> None:
    random = np.random.default_rng(int(target * 2))
    losses = np.sort(random.random((4, len(OPTIONS))), axis=1)[:, ::-1].tolist()
    sizes = [64, 64, 128, 192]
    ways = list(product(range(len(OPTIONS)), repeat=4))
    possible = [w for w in ways if np.dot([OPTIONS[i] for i in w], sizes) <= target * sum(sizes)]
    best = min(possible, key=lambda way: sum(losses[i][j] for i, j in enumerate(way)))
    assert allocate(losses, sizes, target) == [OPTIONS[i] for i in best]


def trained(directory: Path) -> tuple[Callable[[], Any], Tokens]:
    from transformers import AutoModelForCausalLM

    reference = resolve(str(directory))
    tokens = load_tokens(
        reference,
        build_workload(StudyFile(model=str(directory)).workload, reference, 0),
        torch.device("cpu"),
    )

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(directory).eval().requires_grad_(False)

    return load, tokens


@pytest.fixture(scope="module")
def losses_of(tiny_model: Path) -> Losses:
    """Quantizes the trained model: it, its divergence and rise of cross-entropy on text that is
    not calibration text, and the notes."""
    load, tokens = trained(tiny_model)
    ids = tokens.evaluation["input_ids"][:8]
    cpu = Device(kind="cpu", name="a CPU", memory_bytes=8 << 30, cores=4)
    with torch.inference_mode():
        reference = log_softmax(load()(ids).logits, -1)

    def surprise(found: torch.Tensor) -> float:
        return float(-found[:, :-1].gather(-1, ids[:, 1:, None]).mean())

    def run(params: Values) -> tuple[Any, float, float, list[str]]:
        model = load()
        context = Context(cpu, model.config.to_dict(), calibration=tokens.calibration)
        quantized(model, params, context)
        with torch.inference_mode():
            found = log_softmax(model(ids).logits, -1)
        divergence = float((reference.exp() * (reference - found)).sum(-1).mean())
        return model, divergence, surprise(found) - surprise(reference), context.notes

    return run


@pytest.mark.parametrize("bits", [4, 3, 2])
def test_gptq_loses_less_than_the_nearest_on_a_trained_model(bits: int, losses_of: Losses) -> None:
    _, nearest, nearest_rise, _ = losses_of(uniform(bits, "nearest"))
    _, calibrated, rise, notes = losses_of(uniform(bits, "gptq"))
    assert calibrated < 0.7 * nearest
    if bits < 4:  # at 4 bits both rises are near to nothing, of either sign
        assert rise < nearest_rise
    assert not notes


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_mixed_bits_lose_less_than_uniform_ones_of_the_same_average(
    rounding: str, losses_of: Losses
) -> None:
    model, divergence, _, notes = losses_of(mixed(3, rounding))
    _, other, _, _ = losses_of(uniform(3, rounding))
    assert divergence < other
    assert len(set(held_bits(model))) > 1
    assert average(model) <= 3
    assert f"{average(model):.2f} on average" in notes[0]
    again, *_ = losses_of(mixed(3, rounding))
    assert held_bits(again) == held_bits(model)


def test_later_layers_are_calibrated_on_what_earlier_ones_became(
    losses_of: Losses,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one_by_one, *_ = losses_of(uniform(2, "gptq"))
    # All the layers as one: everything is seen before anything is rounded.
    monkeypatch.setattr(_intx, "layers_of", lambda model, linears: [(None, linears)])
    at_once, *_ = losses_of(uniform(2, "gptq"))
    for layer, same in ((0, True), (-1, False)):
        left, right = (
            model.model.layers[layer].self_attn.q_proj.weight.packed
            for model in (one_by_one, at_once)
        )
        assert torch.equal(left, right) == same
