"""Chats as a model's own template writes them, and what a context has room for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from autotune.openai.bodies import ChatMessage
from autotune.openai.errors import ApiError
from autotune.openai.prompts import Prompts

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'assistant' and loop.first %}{{ raise_exception('the user begins') }}"
    "{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@dataclass
class Model:
    """What is asked of one; the tokenizer is real."""

    tokenizer: Any
    max_positions: int | None = 100
    name: str = "m"

    def stream(self, *_: Any) -> Any:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


def message(role: str, content: Any) -> ChatMessage:
    return ChatMessage.model_validate({"role": role, "content": content})


@pytest.fixture
def tokenizer(tiny_model: Path) -> Any:
    made = AutoTokenizer.from_pretrained(tiny_model)
    made.chat_template = TEMPLATE
    return made


def test_a_chat_is_written_as_the_models_template_says(tokenizer: Any) -> None:
    prompts = Prompts(Model(tokenizer))
    turns = [message("developer", "brief"), message("user", [{"type": "text", "text": "hi"}])]
    ids = prompts.of_chat(turns)
    assert tokenizer.decode(ids) == "<system>brief<user>hi<assistant>"
    tokenizer.chat_template = None
    assert tokenizer.decode(prompts.of_chat(turns)) == "system: brief\nuser: hi\nassistant:"


def test_what_the_template_refuses_is_told(tokenizer: Any) -> None:
    prompts = Prompts(Model(tokenizer))
    with pytest.raises(ApiError, match="refuses these messages: the user begins"):
        prompts.of_chat([message("assistant", "hi")])
    with pytest.raises(ApiError, match="half of a character"):
        prompts.of_chat([message("user", "\ud800")])


def test_room_for_an_answer(tokenizer: Any) -> None:
    prompts = Prompts(Model(tokenizer))
    assert prompts.room([5] * 90, 10, 16) == 10
    assert prompts.room([5] * 90, None, 16) == 10
    assert prompts.room([5] * 10, None, 16) == 16
    assert Prompts(Model(tokenizer, max_positions=None)).room([5] * 999, None, 16) == 16
    with pytest.raises(ApiError, match="has 100 tokens, and the prompt's 90 with an answer of 11"):
        prompts.room([5] * 90, 11, 16)
    with pytest.raises(ApiError, match="with an answer of 1 are 101") as refused:
        prompts.room([5] * 100, None, 16)
    assert refused.value.body["error"]["code"] == "context_length_exceeded"
