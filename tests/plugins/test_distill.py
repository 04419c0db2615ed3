"""Distillation: what it recovers, what it leaves alone, what it keeps for the next process."""

from __future__ import annotations

import copy
import importlib.util
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.bench.tokens import Tokens, load_tokens
from autotune.config import StudyFile
from autotune.device import Device
from autotune.params import Scalar
from autotune.plugin import Context, Unsupported
from autotune.recipe import complete
from autotune.workload.model import resolve
from autotune.workload.text import build_workload
from autotune_plugins import _teaching_loss, _teaching_text, _training
from autotune_plugins._distilling import lessons
from autotune_plugins._training import Settings
from autotune_plugins.distill import Distill
from autotune_plugins.prune import Prune

ContextOf = Callable[..., Context]

needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="peft is not installed"
)
TRAINS = ["full", pytest.param("lora", marks=needs_peft)]


@pytest.fixture
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing text takes most of the time, and is a matter of few tests."""
    monkeypatch.setattr(_teaching_text, "_FEWEST_TOKENS", 12)


def params(train: str = "full", **changes: Scalar) -> dict[str, Scalar]:
    few = {"steps": 4, "learning_rate": 1e-3}
    values = few | ({"rank": 8} if train == "lora" else {}) | changes
    return {
        name: values.get(name, given)
        for name, given in complete(Distill(), {"train": train}).items()
    }


def distilled(model: Any, context: Context, train: str = "full", **changes: Scalar) -> Any:
    return Distill().transform(model, params(train, **changes), context)


class Teachers:
    """Loads copies of a model and counts them."""

    def __init__(self, model: Any) -> None:
        self._model = copy.deepcopy(model).requires_grad_(False)
        self.loaded: list[Any] = []

    def __call__(self) -> Any:
        self.loaded.append(copy.deepcopy(self._model))
        return self.loaded[-1]


def pruned(model: Any, context: Context, method: str, **changes: Scalar) -> None:
    ratio: dict[str, Scalar] = {} if method == "wanda_2_4" else {"ratio": 0.5}
    Prune().transform(model, complete(Prune(), {"method": method, **ratio, **changes}), context)


@pytest.fixture
def llama(make_llama: Callable[..., Any]) -> Any:
    """Random weights large enough that there is something to learn."""
    return make_llama(initializer_range=0.1)


@pytest.fixture
def case(
    llama: Any, context_of: ContextOf, tmp_path: Path, short_texts: None
) -> tuple[Any, Teachers, Context]:
    """A pruned Llama, its teacher, and a context with a place for the artifact."""
    teachers = Teachers(llama)
    artifact = tmp_path / "artifacts" / "kept.safetensors"
    context = context_of(llama, teacher=teachers, artifact=artifact, seed=5)
    pruned(llama, context, "depth")
    context.notes.clear()
    return llama, teachers, context


def random_texts(count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 256, (count, 16), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def trained_tokens(tiny_model: Path) -> Tokens:
    reference = resolve(str(tiny_model))
    workload = build_workload(StudyFile(model=str(tiny_model)).workload, reference, 0)
    shorter = {"prompt_tokens": 64, "evaluation_positions": 2048}
    return load_tokens(reference, workload.model_copy(update=shorter), torch.device("cpu"))


def negative_log_likelihood(model: Any, ids: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()


@pytest.mark.parametrize(
    ("train", "share"), [("full", 0.5), pytest.param("lora", 0.3, marks=needs_peft)]
)
def test_recovers_what_pruning_lost_on_held_out_text(
    train: str, share: float, tiny_model: Path, context_of: ContextOf
) -> None:
    """All weights give back more than low-rank additions, in as many steps."""
    from transformers import AutoModelForCausalLM

    tokens = trained_tokens(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval().requires_grad_(False)
    teachers = Teachers(model)
    context = context_of(model, teacher=teachers, calibration=tokens.calibration)
    held_out = tokens.evaluation["input_ids"]
    original = negative_log_likelihood(model, held_out)
    pruned(model, context, "depth")
    before = negative_log_likelihood(model, held_out)
    distilled(model, context, train, steps=25, learning_rate=3e-3)
    after = negative_log_likelihood(model, held_out)
    assert before > original + 0.1
    assert (before - after) / (before - original) >= share
    assert "distilled: held-out loss" in context.notes[-1]


@pytest.mark.usefixtures("short_texts")
@pytest.mark.parametrize(
    ("train", "method"),
    [("full", "magnitude"), pytest.param("lora", "wanda_2_4", marks=needs_peft)],
)
def test_zeros_stay_zero(train: str, method: str, llama: Any, context_of: ContextOf) -> None:
    context = context_of(llama, teacher=Teachers(llama))
    pruned(llama, context, method)
    zeros = {name: weight == 0 for name, weight in llama.named_parameters() if weight.dim() > 1}
    before = state(llama)
    distilled(llama, context, train, steps=8, learning_rate=3e-3)
    assert not same(before, state(llama)), context.notes
    for name, weight in llama.named_parameters():
        if name in zeros:
            assert torch.equal(weight == 0, zeros[name]), name


@pytest.mark.parametrize("train", TRAINS)
def test_leaves_a_plain_model_and_the_teacher_as_it_was(
    train: str, case: tuple[Any, Teachers, Context]
) -> None:
    model, teachers, context = case
    original = state(teachers())
    names = [name for name, _ in model.named_modules()]
    random = torch.get_rng_state()
    distilled(model, context, train)
    assert [name for name, _ in model.named_modules()] == names
    assert not hasattr(model, "peft_config")
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not model.training
    assert same(state(teachers.loaded[-1]), original)
    assert all(weight.grad is None for weight in teachers.loaded[-1].parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_teacher_is_let_go(case: tuple[Any, Teachers, Context]) -> None:
    _, teachers, context = case
    settings = Settings(4, 1e-3, "cosine", 1, 1.0, "float32", 0)
    with lessons(settings, context) as given:
        gone = weakref.ref(teachers.loaded.pop())
        assert gone() is given.teacher is not None
    assert gone() is None


@pytest.mark.parametrize("train", TRAINS)
def test_same_seed_gives_the_same_weights(
    train: str, case: tuple[Any, Teachers, Context], context_of: ContextOf
) -> None:
    model, teachers, _ = case
    found = []
    for seed in (1, 1, 2):
        mine = copy.deepcopy(model)
        distilled(mine, context_of(mine, teacher=teachers, seed=seed), train)
        torch.manual_seed(len(found) + 100)
        found.append(state(mine))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_weights_are_float32_only_while_they_are_trained(
    case: tuple[Any, Teachers, Context],
) -> None:
    model, _, context = case
    dtype = torch.float16
    model.to(dtype)
    before = state(model)
    distilled(model, context, dtype="bfloat16", accumulation=2, schedule="plateau", steps=8)
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert not same(before, state(model)), context.notes


@pytest.mark.usefixtures("short_texts")
def test_tied_weights_stay_tied(make_llama: Callable[..., Any], context_of: ContextOf) -> None:
    model = make_llama(tie_word_embeddings=True)
    context = context_of(model, teacher=Teachers(model))
    pruned(model, context, "depth")
    distilled(model, context)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_kept_weights_are_taken_without_training(
    case: tuple[Any, Teachers, Context],
) -> None:
    model, teachers, context = case
    again = copy.deepcopy(model)
    distilled(model, context)
    assert len(teachers.loaded) == 1
    trained = list(context.notes)
    distilled(again, context)
    assert len(teachers.loaded) == 1
    assert context.notes[1:] == [f"{trained[0]} (weights kept from an earlier training)"]
    assert same(state(again), state(model))
    assert context.artifact is not None
    assert [file.name for file in context.artifact.parent.iterdir()] == ["kept.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "other model"])
def test_damaged_weights_are_trained_again(
    damage: str, case: tuple[Any, Teachers, Context], make_llama: Callable[..., Any]
) -> None:
    model, teachers, context = case
    again = copy.deepcopy(model)
    distilled(model, context)
    assert context.artifact is not None
    whole = context.artifact.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    context.artifact.write_bytes(
        {"cut": whole[:-64], "flipped": flipped, "other model": whole}[damage]
    )
    if damage == "other model":
        again = make_llama()
    distilled(again, context)
    assert len(teachers.loaded) == 2
    assert "were trained again" in context.notes[1]
    if damage != "other model":
        assert same(state(again), state(model))


def test_weights_that_cannot_be_kept_cost_a_note_only(
    case: tuple[Any, Teachers, Context], context_of: ContextOf, tmp_path: Path
) -> None:
    model, teachers, _ = case
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    inside = tmp_path / "file" / "kept.safetensors"
    context = context_of(model, teacher=teachers, artifact=inside)
    distilled(model, context)
    assert "could not be kept" in context.notes[-1]


def test_stops_early_and_keeps_the_best(
    case: tuple[Any, Teachers, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, context = case
    losses = iter([0.002, 0.001, 0.003, 0.001, 0.002])
    monkeypatch.setattr(_training, "held_out_loss", lambda *given: next(losses))
    monkeypatch.setattr(_teaching_text, "MOST_TEXTS", 32)
    distilled(model, context, steps=100)
    note = context.notes[-1]
    # Better at step 20, and then three times not.
    assert "50 steps, which no longer helped" in note
    assert "those of step 20" in note


def test_what_is_kept_is_never_worse(case: tuple[Any, Teachers, Context]) -> None:
    model, _, context = case
    before = state(model)
    distilled(model, context, steps=8, learning_rate=50.0, clip_norm=1e9)
    assert same(before, state(model))
    assert "gained nothing" in context.notes[0]


def test_loss_that_is_not_finite_is_refused(
    case: tuple[Any, Teachers, Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, context = case
    real = _teaching_loss.teaching_loss
    monkeypatch.setattr(
        _training, "teaching_loss", lambda *given, **how: real(*given, **how) * torch.nan
    )
    with pytest.raises(FloatingPointError, match=r"loss of step 1 is nan.*take a smaller one"):
        distilled(model, context)
    assert context.artifact is not None
    assert not context.artifact.exists()


def test_model_that_gives_nan_is_refused(case: tuple[Any, Teachers, Context]) -> None:
    model, _, context = case
    with torch.no_grad():
        model.lm_head.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="before any training"):
        distilled(model, context)


@pytest.mark.parametrize("train", TRAINS)
def test_encoder_learns_the_hidden_states(train: str, bert: Any, context_of: ContextOf) -> None:
    context = context_of(bert, teacher=Teachers(bert), calibration=[random_texts(32)])
    pruned(bert, context, "depth")
    before = state(bert)
    distilled(bert, context, train, steps=20, learning_rate=3e-4)
    assert not same(before, state(bert))
    assert "distilled" in context.notes[-1]


@pytest.mark.parametrize("classes", [1, 3])
def test_classifier_learns_the_classes(classes: int, context_of: ContextOf) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128}
    sizes["initializer_range"] = 0.3
    depth = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_labels": classes}
    model = BertForSequenceClassification(BertConfig(**sizes, **depth)).eval()
    context = context_of(model, teacher=Teachers(model), calibration=[random_texts(32)])
    pruned(model, context, "depth")
    distilled(model, context, steps=20, learning_rate=1e-4)
    # Random classes of random texts: whether they can be learned does not matter here.
    assert "held-out loss" in context.notes[-1]
    assert "nan" not in context.notes[-1]


def test_text_is_the_teachers_own_and_the_calibration_text(
    llama: Any, calibration: list[dict[str, torch.Tensor]]
) -> None:
    from autotune_plugins._teaching_text import teaching_texts

    llama.config.eos_token_id = [1, 2]
    generator = torch.Generator().manual_seed(0)
    texts = teaching_texts(llama, calibration, 160, generator)
    assert all(any(batch is mine for mine in texts.training) for batch in calibration)
    written = [b["input_ids"] for b in texts.training if all(b is not c for c in calibration)]
    held = torch.cat([batch["input_ids"] for batch in texts.held_out])
    assert held.shape == (8, 64)
    assert sum(len(ids) for ids in written) == 40 - 8
    ends = torch.tensor([1, 2])
    assert not any(torch.isin(ids[:, 1:], ends).any() for ids in [held, *written])


def test_what_is_lacking_is_said(llama: Any, bert: Any, context_of: ContextOf) -> None:
    with pytest.raises(Unsupported, match="there is none to load"):
        distilled(llama, context_of(llama))
    with pytest.raises(Unsupported, match="needs calibration text"):
        distilled(llama, context_of(llama, teacher=Teachers(llama), calibration=()))
    ids = torch.ones(2, 8, dtype=torch.int64)
    few = [{"input_ids": ids, "attention_mask": ids}]
    with pytest.raises(Unsupported, match="at least 4 calibration texts; there are 2"):
        distilled(bert, context_of(bert, teacher=Teachers(bert), calibration=few))


def test_lora_without_peft_is_refused(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="needs the package peft: pip install peft"):
        Distill().check(params("lora"), {}, cpu)
    Distill().check(params("full"), {}, cpu)


def test_check_refuses_what_cannot_be_trained(cpu: Device, old_gpu: Device) -> None:
    with pytest.raises(Unsupported, match="quantized"):
        Distill().check(params(), {"quantization_config": {"bits": 4}}, cpu)
    with pytest.raises(Unsupported, match=r"compute capability 8\.0"):
        Distill().check(params(dtype="bfloat16"), {}, old_gpu)
    emulating = cpu.model_copy(update={"cpu_flags": frozenset({"avx2"})})
    with pytest.raises(Unsupported, match="has no bfloat16: training in it gains nothing"):
        Distill().check(params(dtype="bfloat16"), {}, emulating)
    Distill().check(params(), {}, emulating)
    able = cpu.model_copy(update={"cpu_flags": frozenset({"avx512_bf16"})})
    Distill().check(params(dtype="bfloat16"), {}, able)
