"""Text as it comes, from real tokenizers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from autotune.openai.text import AnswerText, Detokenizer, StopSequences

HALF = "\N{REPLACEMENT CHARACTER}"
TEXT = "Größe 😀👩‍👩‍👧 日本語, and plain words. ∑"


@pytest.fixture(scope="module")
def bytes_tokenizer(tiny_model: Path) -> Any:
    """Of pieces of bytes: most characters above take several tokens."""
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def words_tokenizer() -> Any:
    """As of sentencepiece models: a word says whether a space is before it, the first one's goes,
    and characters without a token are bytes."""
    words = [
        "<unk>",
        "</s>",
        "▁Hello",
        "▁world",
        "s",
        "▁",
        "!",
        *(f"<0x{b:02X}>" for b in range(256)),
    ]
    vocabulary = [(word, 0.0) for word in words]
    made = Tokenizer(models.Unigram(vocabulary, 0, byte_fallback=True))
    steps = decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()
    made.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>")


def decoder(tokenizer: Any) -> Callable[[Sequence[int]], str]:
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    made = Detokenizer(decoder(tokenizer))
    return [*(made.add(token) for token in ids), made.finish()]


def test_characters_that_several_tokens_make_are_told_whole(bytes_tokenizer: Any) -> None:
    ids = bytes_tokenizer(TEXT)["input_ids"]
    assert any(HALF in decoder(bytes_tokenizer)([token]) for token in ids)
    told = pieces(bytes_tokenizer, ids)
    assert "".join(told) == TEXT
    assert not any(HALF in piece for piece in told)
    assert sum(map(bool, told)) > 10


def test_the_pieces_make_what_decoding_at_once_does(bytes_tokenizer: Any) -> None:
    """Also of tokens that make no sense."""
    rng = random.Random(0)
    for _ in range(200):
        ids = [rng.randrange(len(bytes_tokenizer)) for _ in range(rng.randrange(1, 40))]
        assert "".join(pieces(bytes_tokenizer, ids)) == decoder(bytes_tokenizer)(ids)


def test_characters_of_single_bytes_among_words(words_tokenizer: Any) -> None:
    rng = random.Random(0)
    names = words_tokenizer.get_vocab()
    for _ in range(200):
        ids: list[int] = []
        for _ in range(rng.randrange(1, 20)):
            letter = rng.choice("é€😀a")
            spelled = [names[f"<0x{byte:02X}>"] for byte in letter.encode()]
            ids += rng.choice([spelled, [names["▁world"]], [names["s"]], [names["</s>"]]])
        told = pieces(words_tokenizer, ids)
        assert "".join(told) == decoder(words_tokenizer)(ids)
        assert not any(HALF in piece for piece in told)


def test_spaces_before_words_are_kept(words_tokenizer: Any) -> None:
    ids = [2, 1, 3, 4, 1, 3]  # with special tokens between
    assert pieces(words_tokenizer, ids) == ["Hello", "", " world", "s", "", " world", ""]


def test_half_a_character_is_told_at_the_end_only(bytes_tokenizer: Any) -> None:
    ids = bytes_tokenizer("a😀")["input_ids"]
    *before, last = pieces(bytes_tokenizer, ids[:-1])
    assert "".join(before) == "a"
    assert last == decoder(bytes_tokenizer)(ids[:-1]).removeprefix("a") != ""


@pytest.mark.parametrize(
    ("stops", "text", "told"),
    [
        (["END"], "ab END cd", "ab "),
        (["END"], "ab EN", "ab EN"),
        (["cd", "b"], "abcd", "a"),
        (["aab"], "aaaab", "aa"),
        (["\n\n"], "one\ntwo\n\nthree", "one\ntwo"),
        ([], "anything", "anything"),
    ],
)
def test_a_text_is_cut_before_the_first_stop_sequence(
    stops: list[str], text: str, told: str
) -> None:
    for size in (1, 2, 3, 100):
        made, so_far = StopSequences(stops), ""
        for start in range(0, len(text), size):
            so_far += made.add(text[start : start + size])
            assert told.startswith(so_far)
            if made.found:
                break
        assert made.found == (told != text)
        assert so_far + ("" if made.found else made.finish()) == told


def test_nothing_is_held_back_that_cannot_become_a_stop_sequence() -> None:
    made = StopSequences(["STOP"])
    assert [made.add(piece) for piece in ("a S", "T", "x", "S")] == ["a ", "", "STx", ""]
    assert made.finish() == "S"


def test_tokens_are_counted_up_to_the_stop_sequence(bytes_tokenizer: Any) -> None:
    ids = bytes_tokenizer("one two. three")["input_ids"]
    whole = decoder(bytes_tokenizer)
    needed = next(n for n in range(len(ids)) if "." in whole(ids[:n]))
    answer = AnswerText(whole, ["."])
    assert answer.add(ids) == "one two"  # all of them at once, as a draft brings them
    assert (answer.stopped, answer.tokens, answer.finish()) == (True, needed, "")
