"""Trains the demo model; imported only inside a process that is to train."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from autotune.demo import blueprint, card, corpus, tokenizer
from autotune.demo.blueprint import Blueprint, DemoModelReport
from autotune.demo.optimization import Clock, Progress, fastest_dtype, optimise
from autotune.demo.score import Score, score

MAX_POSITIONS = 1024
_MAX_THREADS = 4
"""More only wait for each other at these sizes."""


@dataclass(frozen=True)
class _Data:
    """Token ids."""

    streams: dict[str, torch.Tensor]
    """Training text, by kind."""
    evaluation: torch.Tensor
    evaluation_bytes: int
    stdlib: torch.Tensor
    stdlib_bytes: int


def train(
    directory: Path,
    size: str = "small",
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> DemoModelReport:
    """Trains a small Llama from scratch and saves it with its tokenizer, report and card.

    The schedule follows the wall clock, so that a slow machine takes fewer steps and not more
    time. The directory appears at the end, complete, or not at all.

    Args:
        directory: New or empty.
        size: ``tiny`` for tests or ``small``.
        seed: Of the weights and of the order of the text.
        progress: Called with the fraction done, 0 to 1, and one line of text.

    Raises:
        InputError: Unknown size, or a directory that cannot be used.
        AutotuneError: This Python carries no text to learn from.
    """
    blueprint.check_request(directory, size)
    shape = blueprint.BLUEPRINTS[size]
    clock = Clock(shape.budget_seconds, progress)
    torch.manual_seed(seed)
    torch.set_num_threads(min(_MAX_THREADS, len(os.sched_getaffinity(0))))
    clock.tell("collecting text")
    texts = corpus.collect(shape.corpus_bytes)
    clock.tell("training the tokenizer")
    words = tokenizer.build([*texts.prose, *texts.own, *texts.code], shape.vocabulary_size)
    clock.tell("encoding the text")
    data = _encode(words, texts)
    model = _build(shape, words)
    dtype = fastest_dtype()
    steps = optimise(model, data.streams, clock, dtype, shape.fewest_steps)
    clock.tell("evaluating")
    report = _judge(model, data, clock, size=size, steps=steps, seed=seed, dtype=dtype)
    _save(directory, model, words, report)
    if progress:
        progress(1.0, f"saved in {directory}")
    return report


def _encode(words: PreTrainedTokenizerFast, texts: corpus.Corpus) -> _Data:
    kinds = {"code": texts.code, "prose": texts.prose, "own": texts.own}
    evaluation = corpus.shipped_text("evaluation")
    return _Data(
        streams={kind: tokenizer.encode(words, documents) for kind, documents in kinds.items()},
        evaluation=tokenizer.encode(words, [evaluation]),
        evaluation_bytes=len(evaluation.encode()),
        stdlib=tokenizer.encode(words, texts.heldout),
        stdlib_bytes=sum(len(text.encode()) for text in texts.heldout),
    )


def _build(shape: Blueprint, words: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.feed_forward_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    return LlamaForCausalLM(config)


def _judge(
    model: LlamaForCausalLM, data: _Data, clock: Clock, *, dtype: torch.dtype, **known: Any
) -> DemoModelReport:
    counts = torch.cat(list(data.streams.values())).bincount(minlength=model.config.vocab_size)
    shipped: Score = score(model, data.evaluation, data.evaluation_bytes, counts)
    stdlib: Score = score(model, data.stdlib, data.stdlib_bytes, counts)
    return DemoModelReport(
        parameters=sum(weight.numel() for weight in model.parameters()),
        heldout_perplexity=shipped.perplexity,
        unigram_perplexity=shipped.unigram_perplexity,
        bits_per_byte=shipped.bits_per_byte,
        stdlib_perplexity=stdlib.perplexity,
        stdlib_unigram_perplexity=stdlib.unigram_perplexity,
        stdlib_bits_per_byte=stdlib.bits_per_byte,
        train_seconds=round(clock.elapsed_seconds, 1),
        dtype=str(dtype).removeprefix("torch."),
        **known,
    )


def _save(
    directory: Path,
    model: LlamaForCausalLM,
    words: PreTrainedTokenizerFast,
    report: DemoModelReport,
) -> None:
    staging = blueprint.staging_directory(directory, os.getpid())
    staging.mkdir(parents=True)
    try:
        model.save_pretrained(staging)
        words.save_pretrained(staging)
        (staging / "README.md").write_text(card.render(report), "utf-8")
        (staging / blueprint.REPORT_NAME).write_text(report.to_json(), "utf-8")
        staging.rename(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
