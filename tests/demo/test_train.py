from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from autotune.demo import corpus
from autotune.demo.__main__ import main
from autotune.demo.blueprint import BLUEPRINTS, DemoModelReport
from autotune.demo.muon import orthogonalise
from autotune.demo.score import score
from autotune.demo.train import train
from autotune.errors import AutotuneError, InputError

TEXTS = ("evaluation", "calibration", "training")
SCORED_POSITIONS, PROMPTS, PROMPT_TOKENS = 4096, 64, 128


def test_model_loads_in_float32_with_its_shape(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    shape = BLUEPRINTS["tiny"]

    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.config.hidden_size == shape.hidden_size
    assert model.config.num_key_value_heads == shape.key_value_heads < shape.heads
    assert model.config.max_position_embeddings == 1024
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_report_agrees_with_the_saved_model(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    words = AutoTokenizer.from_pretrained(tiny_model)
    report = DemoModelReport.read(tiny_model)
    text = corpus.shipped_text("evaluation")
    ids = torch.tensor([words.bos_token_id, *words(text)["input_ids"], words.eos_token_id])

    again = score(model.eval(), ids, len(text.encode()), torch.ones(len(words)))

    assert again.perplexity == pytest.approx(report.heldout_perplexity, rel=1e-3)
    assert again.bits_per_byte == pytest.approx(report.bits_per_byte, rel=1e-3)
    assert again.unigram_perplexity == pytest.approx(len(words), rel=1e-3)
    assert report.parameters == sum(weight.numel() for weight in model.parameters())


def test_model_beats_token_frequencies(tiny_model: Path) -> None:
    report = DemoModelReport.read(tiny_model)

    assert report.heldout_perplexity < 0.9 * report.unigram_perplexity
    assert report.stdlib_perplexity < 0.9 * report.stdlib_unigram_perplexity


@pytest.mark.parametrize("text", ["def f(x):\n    return x\n", "naïve — 東京 🙂", " a  b\t\n\n"])
def test_tokenizer_makes_the_round_trip(tiny_model: Path, text: str) -> None:
    words = AutoTokenizer.from_pretrained(tiny_model)

    assert words.decode(words(text)["input_ids"]) == text
    assert len({words.bos_token_id, words.eos_token_id, words.pad_token_id}) == 3
    assert len(words) == BLUEPRINTS["tiny"].vocabulary_size


def test_card_states_licence_and_figures(tiny_model: Path) -> None:
    card = (tiny_model / "README.md").read_text("utf-8")
    report = DemoModelReport.read(tiny_model)

    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f"{report.heldout_perplexity:.1f}" in card
    assert f"{report.unigram_perplexity:.1f}" in card


def test_evaluation_text_is_long_enough(tiny_model: Path) -> None:
    words = AutoTokenizer.from_pretrained(tiny_model)
    ids = words(corpus.shipped_text("evaluation"))["input_ids"]

    assert len(ids) > SCORED_POSITIONS + PROMPTS * PROMPT_TOKENS


def test_shipped_texts_share_no_paragraph() -> None:
    paragraphs = [_paragraphs(corpus.shipped_text(name)) for name in TEXTS]

    assert all(len(some) == len(set(some)) for some in paragraphs)
    assert sum(map(len, paragraphs)) == len(set().union(*paragraphs))


def test_collect_holds_files_out_and_repeats_itself() -> None:
    first = corpus.collect(300_000)

    assert first == corpus.collect(300_000)
    assert not set(first.heldout) & set(first.code)
    assert sum(map(len, first.code)) == 300_000
    assert sum(map(len, first.prose)) <= 300_000
    assert first.heldout


def test_collect_without_sources_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match=f"found 0 usable files under {tmp_path}"):
        corpus.collect(300_000, stdlib=tmp_path)


def test_recipes_suit_quantization_in_groups() -> None:
    for shape in BLUEPRINTS.values():
        assert shape.hidden_size % 64 == shape.feed_forward_size % 64 == 0
        assert shape.hidden_size // shape.heads >= 16
        assert shape.heads % shape.key_value_heads == 0


def test_train_refuses_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no demo model size named 'medium'"):
        train(tmp_path / "model", "medium")


def test_main_refusal_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert main([str(tmp_path), "--size", "tiny"]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(8, 8), (32, 8), (8, 32)])
def test_orthogonalise_pushes_singular_values_to_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)

    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))

    assert values.max() < 1.3
    assert values.min() > 0.3


def test_score_of_a_blind_model_is_the_vocabulary_size(tiny_model: Path) -> None:
    model = LlamaForCausalLM.from_pretrained(tiny_model).eval()
    with torch.no_grad():
        model.model.norm.weight.zero_()
    ids = torch.arange(600) % len(model.model.embed_tokens.weight)

    blind = score(model, ids, 600, torch.ones(len(model.model.embed_tokens.weight)))

    assert blind.perplexity == pytest.approx(1024, rel=1e-3)
    assert blind.bits_per_byte == pytest.approx(math.log2(1024), rel=1e-3)


def _paragraphs(text: str) -> list[str]:
    """Splits at blank lines; a lone fence or bracket is no paragraph."""
    return [part.strip() for part in text.split("\n\n") if len(part.strip()) > 20]
