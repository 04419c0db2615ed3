"""The demo model's own byte-level BPE tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
)

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
_MAX_CONTEXT_TOKENS = 1024


def build(documents: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """Learns a vocabulary; every byte is in it, so that any text makes the round trip.

    Args:
        documents: Text to learn from, read once.
        vocabulary_size: Tokens, special ones included.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=_MAX_CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def encode(words: PreTrainedTokenizerFast, documents: Sequence[str]) -> torch.Tensor:
    """Joins documents into one row of token ids, each between a begin and an end token."""
    ids: list[int] = []
    for encoding in words.backend_tokenizer.encode_batch(list(documents)):
        ids += [words.bos_token_id, *encoding.ids, words.eos_token_id]
    return torch.tensor(ids)
