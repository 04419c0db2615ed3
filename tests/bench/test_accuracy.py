from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.meters.accuracy import AccuracyMeter
from autotune.errors import BenchError
from autotune.outcome import Outcome

Windows = dict[str, torch.Tensor]
Files = tuple[Path, Path]


def meter(model: Any, windows: Windows, files: Files, **run_args: Any) -> AccuracyMeter:
    engine = TorchGenerator(model, new_tokens=4)
    return AccuracyMeter(engine, engine.resolve(run_args), "causal-lm", windows, *files)


def test_baseline_scores_itself_without_loss(
    llama: Any, windows: Windows, reference: Files
) -> None:
    own = meter(llama, windows, reference)
    own.save_reference()
    found = own.score()
    assert found["kld_mean_nats"].value == pytest.approx(0.0, abs=1e-6)
    assert found["nll_delta_nats"].value == pytest.approx(0.0, abs=1e-6)
    assert found["perplexity_ratio"].value == pytest.approx(1.0, abs=1e-6)
    assert found["kld_mean_nats"].n == 6 * 15


def test_a_lossy_cache_is_scored_with_the_cache(
    llama: Any, windows: Windows, reference: Files
) -> None:
    meter(llama, windows, reference).save_reference()
    static = meter(llama, windows, reference, cache="static").score()
    assert static["kld_mean_nats"].value == pytest.approx(0.0, abs=1e-6)
    losses = [
        meter(llama, windows, reference, cache="quantized", cache_bits=bits).score()
        for bits in (8, 4, 2)
    ]
    eight, four, two = (found["kld_mean_nats"].value or 0.0 for found in losses)
    assert 0 < eight < four < two
    few = meter(llama, windows, reference, cache="sliding", cache_window=2).score()
    all_of_them = meter(llama, windows, reference, cache="sliding", cache_window=16).score()
    assert (few["kld_mean_nats"].value or 0.0) > 1e-5
    assert all_of_them["kld_mean_nats"].value == pytest.approx(0.0, abs=1e-6)


def test_perplexity_is_that_of_the_models_own_loss(
    llama: Any, windows: Windows, reference: Files
) -> None:
    own = meter(llama, windows, reference)
    own.save_reference()
    loss = float(llama(**windows, labels=windows["input_ids"]).loss)
    assert own.score()["perplexity"].value == pytest.approx(math.exp(loss), rel=1e-4)


def test_perplexity_is_that_of_the_sliding_window(
    llama: Any, windows: Windows, reference: Files
) -> None:
    """The procedure of transformers' page "Perplexity of fixed-length models", its stride as long
    as its windows, over the text that our windows cut."""
    text, length = windows["input_ids"].reshape(1, -1), 16
    total, count = 0.0, 0
    for begin in range(0, text.size(1), length):
        ids = text[:, begin : begin + length]
        targets = int((ids != -100).sum()) - 1  # the loss shifts labels: one less is predicted
        total += float(llama(ids, labels=ids.clone()).loss) * targets
        count += targets
    own = meter(llama, windows, reference)
    own.save_reference()
    assert own.score()["perplexity"].value == pytest.approx(math.exp(total / count), rel=1e-3)


def test_self_floor_is_what_another_batch_size_changes(
    llama: Any, windows: Windows, reference: Files
) -> None:
    sizes: list[int] = []

    class Watched(TorchGenerator):
        def outputs(self, batch: Any, run_args: Any) -> torch.Tensor:
            sizes.append(len(batch["input_ids"]))
            return super().outputs(batch, run_args)

    engine = Watched(llama, new_tokens=4)
    own = AccuracyMeter(engine, engine.resolve({}), "causal-lm", windows, *reference)
    own.save_reference()
    assert sizes == [1, 5]
    found = own.self_floor()["kld_self_floor_nats"]
    assert sizes[2:] == [2, 2, 2]
    assert found.value == pytest.approx(0.0, abs=1e-6)
    assert found.n == 6 * 15


def test_divergence_equals_a_direct_computation(
    llama: Any, windows: Windows, reference: Files
) -> None:
    changed = copy.deepcopy(llama)
    torch.manual_seed(2)
    for layer in changed.model.layers:
        layer.mlp.down_proj.weight.data += 0.3 * torch.randn_like(layer.mlp.down_proj.weight)
    meter(llama, windows, reference).save_reference()

    found = meter(changed, windows, reference).score()

    log_ref = torch.log_softmax(llama(**windows).logits[:, :-1].double(), -1)
    log_p = torch.log_softmax(changed(**windows).logits[:, :-1].double(), -1)
    kld = torch.nn.functional.kl_div(log_p, log_ref, log_target=True, reduction="none").sum(-1)
    agree = (log_p.argmax(-1) == log_ref.argmax(-1)).double().mean()
    assert found["kld_mean_nats"].value == pytest.approx(float(kld.mean()), rel=1e-3)
    assert found["top1_agreement_ratio"].value == pytest.approx(float(agree), abs=0.02)
    low, high = found["kld_mean_nats"].ci_low, found["kld_mean_nats"].ci_high
    assert low is not None
    assert high is not None
    assert low < float(kld.mean()) < high


def test_outputs_that_are_not_finite_are_refused(
    llama: Any, windows: Windows, reference: Files
) -> None:
    meter(llama, windows, reference).save_reference()
    llama.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(BenchError, match="not finite") as refused:
        meter(llama, windows, reference).score()
    assert refused.value.outcome is Outcome.INVALID_OUTPUT


def test_reference_is_written_whole(llama: Any, windows: Windows, reference: Files) -> None:
    meter(llama, windows, reference).save_reference()
    logits, paired = (np.load(file) for file in reference)
    assert logits.shape == (6, 15, 97)
    assert logits.dtype == np.float16
    assert paired.shape == (6, 15)
    assert sorted(p.suffix for p in reference[0].parent.iterdir()) == [".npy", ".npy"]
