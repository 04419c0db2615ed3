"""Pruning layer by layer as they matter, and step by step with training in between."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.params import Scalar
from autotune.plugin import Context, Unsupported
from autotune.recipe import complete
from autotune_plugins import _gradual, _teaching_text
from autotune_plugins._allocation import allocate
from autotune_plugins._gradual import shares
from autotune_plugins._heads import Heads
from autotune_plugins._layers import stacked_by_layer
from autotune_plugins.prune import Prune

ContextOf = Callable[..., Context]


def params(method: str, ratio: float = 0.5, **changes: Scalar) -> dict[str, Scalar]:
    return complete(Prune(), {"method": method, "ratio": ratio, **changes})


def zeros(model: Any) -> list[float]:
    """The share of zeros in each layer."""
    return [
        float(torch.cat([(linear.weight == 0).float().flatten() for linear in layer]).mean())
        for layer in stacked_by_layer(model)
    ]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps on short texts."""
    monkeypatch.setattr(_teaching_text, "_FEWEST_TOKENS", 12)
    short = dataclasses.replace(_gradual._RECOVERY, steps=4)
    monkeypatch.setattr(_gradual, "_RECOVERY", short)


@pytest.fixture
def case(
    make_llama: Callable[..., Any], context_of: ContextOf, tmp_path: Path, quick: None
) -> tuple[Any, Context]:
    """A Llama with something to learn, and a context with it as the teacher."""
    model = make_llama(initializer_range=0.1)
    original = copy.deepcopy(model).requires_grad_(False)
    teacher = lambda: copy.deepcopy(original)  # noqa: E731
    return model, context_of(model, teacher=teacher, artifact=tmp_path / "kept.safetensors")


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_what_the_output_hardly_feels_loses_more(
    method: str, llama: Any, context_of: ContextOf
) -> None:
    idle = llama.model.layers[2]
    with torch.no_grad():
        idle.self_attn.o_proj.weight *= 0.01
        idle.mlp.down_proj.weight *= 0.01
    context = context_of(llama)
    Prune().transform(llama, params(method, allocation="sensitivity"), context)
    found = zeros(llama)
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.01)
    assert found[2] == pytest.approx(0.75, abs=0.01)
    assert max(found[:2] + found[3:]) < 0.5
    assert context.notes[0].startswith("ratios of the layers, by sensitivity: 0.")


def test_sensitivity_serves_any_architecture(bert: Any, context_of: ContextOf) -> None:
    Prune().transform(bert, params("wanda", allocation="sensitivity"), context_of(bert))
    found = zeros(bert)
    assert sum(found) / len(found) == pytest.approx(0.5, abs=0.01)
    assert max(found) > min(found) + 0.005


def test_allocation_removes_as_much_and_no_layer_whole() -> None:
    assert allocate(0.5, [1.0, 1.0], [10, 10]) == pytest.approx([0.5, 0.5])
    assert allocate(0.3, [4.0, 1.0], [10, 10]) == pytest.approx([0.2, 0.4])
    # Twice the weights in a layer that feels it as much: each of them matters less.
    small, large = allocate(0.3, [1.0, 1.0], [10, 20])
    assert large > small
    assert 10 * small + 20 * large == pytest.approx(0.3 * 30)
    assert allocate(0.6, [1.0, 1.0, 0.0], [10, 10, 10]) == pytest.approx([0.5, 0.5, 0.8])
    assert allocate(0.6, [0.0, 0.0], [10, 10]) == pytest.approx([0.6, 0.6])


def test_cubic_schedule_begins_steep_and_ends_at_the_ratio() -> None:
    assert shares(3) == pytest.approx([19 / 27, 26 / 27, 1.0])
    assert shares(1) == [1.0]
    assert Heads(2, 3).towards(Heads(2, 2), 0.7) == (2, 2)
    assert Heads(8, 4).towards(Heads(4, 4), 0.7) == (5, 4)


@pytest.mark.parametrize(
    "given",
    [
        params("magnitude"),
        params("wanda", allocation="sensitivity"),
        params("structured", 0.6),
        params("magnitude", 0.8, storage="csr"),
    ],
    ids=str,
)
def test_gradual_pruning_ends_where_the_other_does_with_trained_weights(
    given: dict[str, Scalar], case: tuple[Any, Context]
) -> None:
    model, context = case
    at_once = copy.deepcopy(model)
    Prune().transform(at_once, given, context)
    Prune().transform(model, given | {"schedule": "gradual"}, context)
    once, gradual = at_once.state_dict(), model.state_dict()
    assert [(n, w.shape, w.dtype) for n, w in once.items()] == [
        (n, w.shape, w.dtype) for n, w in gradual.items()
    ]
    assert zeros(model) == pytest.approx(zeros(at_once), abs=0.01)
    norms = "model.layers.0.input_layernorm.weight"
    assert not torch.equal(once[norms], gradual[norms]), context.notes
    rounds = [note for note in context.notes if note.startswith("pruned")]
    assert [note.partition(",")[0] for note in rounds] == [
        "pruned 70% of the way",
        "pruned 96% of the way",
    ]


@pytest.mark.parametrize("given", [params("wanda"), params("structured")], ids=str)
def test_what_was_trained_is_kept_for_the_next_process(
    given: dict[str, Scalar], case: tuple[Any, Context]
) -> None:
    model, context = case
    again = copy.deepcopy(model)
    Prune().transform(model, given | {"schedule": "gradual"}, context)
    nobody = dataclasses.replace(context, teacher=None)
    Prune().transform(again, given | {"schedule": "gradual"}, nobody)
    assert any("kept from an earlier training" in note for note in nobody.notes)
    mine, its = again.state_dict(), model.state_dict()
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[name], its[name]) for name in its)


def test_damaged_weights_are_made_again(case: tuple[Any, Context]) -> None:
    model, context = case
    again = copy.deepcopy(model)
    given = params("structured", schedule="gradual")
    Prune().transform(model, given, context)
    assert context.artifact is not None
    context.artifact.write_bytes(context.artifact.read_bytes()[:-64])
    Prune().transform(again, given, context)
    assert any("were trained again" in note for note in context.notes)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)


def test_gradual_pruning_needs_a_teacher(llama: Any, context_of: ContextOf) -> None:
    with pytest.raises(Unsupported, match="there is none to load"):
        Prune().transform(llama, params("wanda", schedule="gradual"), context_of(llama))
