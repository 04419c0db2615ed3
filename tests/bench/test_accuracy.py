from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.meters.accuracy import FIRST_ERROR, AccuracyMeter, _first_windows
from autotune.errors import BenchError
from autotune.messages import Metrics
from autotune.outcome import Outcome
from autotune.statistics import clustered_mean

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


def ruined(model: Any) -> Any:
    """With noise on its weights."""
    changed = copy.deepcopy(model)
    torch.manual_seed(2)
    for layer in changed.model.layers:
        layer.mlp.down_proj.weight.data += 3 * torch.randn_like(layer.mlp.down_proj.weight)
    return changed


@pytest.fixture
def many() -> Windows:
    """24 windows of 16 tokens."""
    ids = torch.randint(97, (24, 16), generator=torch.Generator().manual_seed(4))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_hopeless_model_is_scored_on_a_few_windows(
    llama: Any, many: Windows, reference: Files
) -> None:
    asked: list[Metrics] = []

    def is_out(found: Metrics) -> bool:
        asked.append(found)
        return (found["kld_mean_nats"].low or 0.0) > 1e-6

    meter(llama, many, reference).save_reference()
    early = meter(ruined(llama), many, reference).score(is_out)
    whole = meter(ruined(llama), many, reference).score()
    kld = early["kld_mean_nats"]
    assert asked == [
        {
            name: m.model_copy(update={"converged": True, "source": asked[0][name].source})
            for name, m in early.items()
        }
    ]
    assert not any(m.converged for m in early.values())
    assert set(early) == set(whole)
    assert kld.n == 4 * 15
    assert kld.source.endswith("4 of 24 windows")
    assert (kld.low or 0) < (whole["kld_mean_nats"].value or 0) < (kld.high or 0)
    assert whole["kld_mean_nats"].n == 24 * 15


def test_model_that_is_not_out_is_scored_on_all_windows(
    llama: Any, many: Windows, reference: Files
) -> None:
    meter(llama, many, reference).save_reference()
    staged = meter(ruined(llama), many, reference).score(lambda _: False)
    plain = meter(ruined(llama), many, reference).score()
    for name, found in plain.items():
        assert staged[name].converged
        assert staged[name].n == found.n
        for one, other in ((staged[name].value, found.value), (staged[name].low, found.low)):
            assert one == pytest.approx(other, rel=1e-5)


def test_few_windows_are_scored_at_once(llama: Any, windows: Windows, reference: Files) -> None:
    def is_out(_: Metrics) -> bool:
        raise AssertionError("six windows have no first stage")

    meter(llama, windows, reference).save_reference()
    assert meter(ruined(llama), windows, reference).score(is_out)["kld_mean_nats"].n == 6 * 15


@pytest.mark.parametrize("count", [8, 17, 40, 256])
def test_first_windows_are_spread_over_the_text(count: int) -> None:
    first = _first_windows(count)
    assert len(first) == max(4, count // 8)
    ends = [-1 - first[0], *first, 2 * count - 1 - first[-1]]  # mirrored at both ends
    gaps = [b - a for a, b in itertools.pairwise(ends)]
    assert max(gaps) - min(gaps) <= 2
    assert _first_windows(7) == []


@pytest.mark.parametrize("shape", [0.3, 1.0])
def test_first_windows_call_a_good_model_hopeless_as_seldom_as_promised(shape: float) -> None:
    """Losses of windows are skewed to the bad side; the limit is their true mean, the hardest
    case. 4,000 simulations have a standard error of 0.11 %."""
    generator = np.random.default_rng(5)
    draws = generator.lognormal(-shape * shape / 2, shape, (4000, 4))  # of mean 1
    missed = [clustered_mean(rows.tolist(), FIRST_ERROR).low > 1.0 for rows in draws]
    assert np.mean(missed) <= FIRST_ERROR


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
