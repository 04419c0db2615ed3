"""Bodies of requests: what is served of OpenAI's parameters, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from autotune.openai.errors import ApiError

_MOST_STOPS = 4

_ONLY: Mapping[str, tuple[Any, ...]] = {
    "temperature": (0,),
    "top_p": (1,),
    "n": (1,),
    "best_of": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "echo": (False,),
    "suffix": ("",),
    "store": (False,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "service_tier": ("auto", "default"),
}
"""Parameters that have an effect elsewhere → the values, besides null, with which nothing but
what is served here is asked for."""

_WITHOUT_EFFECT = frozenset(
    {"user", "metadata", "seed", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
)
"""Whatever they are, a greedy answer is the same."""


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class StreamOptions(_Body):
    """How to stream."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    """Whether a last chunk counts the tokens."""


class GenerationBody(_Body):
    """What completions and chats have in common."""

    model_config = ConfigDict(extra="allow")

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def most_tokens(self) -> int | None:
        """Of an answer; None where the request leaves it open."""
        return self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which an answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with how many tokens there were."""
        return self.stream_options is not None and self.stream_options.include_usage

    def check(self) -> None:
        """
        Raises:
            ApiError: Something is asked for that is not served.
        """
        for name, value in (self.model_extra or {}).items():
            _check_extra(name, value)
        if len(self.stops) > _MOST_STOPS or not all(self.stops):
            raise ApiError(f"stop: up to {_MOST_STOPS} texts, none empty", param="stop")
        if self.stream_options is not None and not self.stream:
            raise ApiError("stream_options are for stream = true", param="stream_options")


class CompletionBody(GenerationBody):
    """``POST /v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]]


class TextPart(_Body):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class ChatMessage(_Body):
    """One turn. Clients send earlier answers back with keys that are null."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    """``developer`` is OpenAI's newer word for ``system``, which templates know."""
    content: str | list[TextPart]

    @property
    def turn(self) -> dict[str, str]:
        """As chat templates take it."""
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class ChatBody(GenerationBody):
    """``POST /v1/chat/completions``."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def most_tokens(self) -> int | None:
        """By its new name or its old one."""
        return self.max_completion_tokens or self.max_tokens

    def check(self) -> None:
        """As of the base class."""
        super().check()
        new, old = self.max_completion_tokens, self.max_tokens
        if new is not None and old is not None and new != old:
            raise ApiError(
                f"max_completion_tokens = {new} and max_tokens = {old} mean the same: give one",
                param="max_tokens",
            )
        for i, message in enumerate(self.messages):
            for name, value in (message.model_extra or {}).items():
                if value:
                    raise ApiError(
                        f"messages.{i}.{name} is not served: a message has a role and a content",
                        param=f"messages.{i}.{name}",
                    )


def _check_extra(name: str, value: Any) -> None:
    if name in _WITHOUT_EFFECT or value is None:
        return
    if name not in _ONLY:
        raise ApiError(f"this server has no parameter {name!r}", param=name)
    if not any(_same(value, allowed) for allowed in _ONLY[name]):
        words = " or ".join(json.dumps(allowed) for allowed in _ONLY[name])
        raise ApiError(
            f"{name} = {json.dumps(value)[:80]} is not served: an answer is one plain text for "
            f"each prompt, decoded greedily as it was measured; allowed: {words}, or leave it out",
            param=name,
            code="unsupported_value",
        )


def _same(value: Any, allowed: Any) -> bool:
    """Python takes true for 1."""
    return bool(value == allowed) and isinstance(value, bool) == isinstance(allowed, bool)
