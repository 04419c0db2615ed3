"""From what a request says to token ids, and how many may follow them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from autotune.openai.bodies import ChatMessage
from autotune.openai.errors import ApiError
from autotune.openai.model import LoadedModel

COMPLETION_TOKENS, CHAT_TOKENS = 16, 1024
"""Of an answer, at most, where the request does not say: OpenAI's own for completions; in a chat
it would be all that is left of the context, which some key-value caches reserve in advance."""

PLAIN_CHAT = "each message as a line 'role: content', and then 'assistant:'"
"""How a chat is written where the tokenizer has no chat template."""


class Prompts:
    """A model's tokenizer and limits. One thread encodes at a time, while another may decode."""

    def __init__(self, model: LoadedModel) -> None:
        self._tokenizer: Any = model.tokenizer
        self._most = model.max_positions
        # The first text switches off what a tokenizer came with (truncation), while none decodes.
        self._encode("a")

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer says how a chat is written."""
        return bool(self._tokenizer.chat_template)

    def of_completion(
        self, prompt: str | list[str] | list[int] | list[list[int]]
    ) -> list[list[int]]:
        """The token ids of each prompt of a completion.

        Raises:
            ApiError: There is none, or one is empty.
        """
        if isinstance(prompt, str):
            found = [self._encode(prompt)]
        elif prompt and isinstance(prompt[0], int):
            found = [[token for token in prompt if isinstance(token, int)]]
        else:
            found = [self._encode(p) if isinstance(p, str) else _ids(p) for p in prompt]
        if not found or not all(found):
            raise ApiError("prompt: there must be one, and none may be empty", param="prompt")
        return found

    def of_chat(self, messages: Sequence[ChatMessage]) -> list[int]:
        """The token ids of a chat, up to where the assistant's next words begin.

        Raises:
            ApiError: The model's template refuses it.
        """
        turns = [message.turn for message in messages]
        if not self.has_template:
            lines = [f"{turn['role']}: {turn['content']}\n" for turn in turns]
            return self._encode("".join(lines) + "assistant:")
        for turn in turns:
            _check_text(turn["content"])
        try:
            ids: list[int] = self._tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_dict=False
            )
        except (TemplateError, ValueError) as error:
            raise ApiError(
                f"the model's chat template refuses these messages: {error}", param="messages"
            ) from error
        return ids

    def room(self, prompt: Sequence[int], wanted: int | None, usual: int) -> int:
        """How many tokens an answer may have.

        Args:
            prompt: Token ids.
            wanted: What the request says.
            usual: Where it says nothing, as far as there is room.

        Raises:
            ApiError: Prompt and answer are longer than the model's context.
        """
        if self._most is None:
            return wanted or usual
        left = self._most - len(prompt)
        if left < (wanted or 1):
            raise ApiError(
                f"this model's context has {self._most} tokens, and the prompt's {len(prompt)} "
                f"with an answer of {wanted or 1} are {len(prompt) + (wanted or 1)}: shorten the "
                "prompt, or lower max_tokens",
                param="max_tokens" if left > 0 else None,
                code="context_length_exceeded",
            )
        return wanted or min(usual, left)

    def decode(self, ids: Sequence[int]) -> str:
        """Text, without special tokens. Tidying up spaces would change what was told before."""
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def _encode(self, text: str) -> list[int]:
        _check_text(text)
        ids: list[int] = self._tokenizer(text, verbose=False)["input_ids"]
        return ids


def _ids(prompt: list[int] | int) -> list[int]:
    return prompt if isinstance(prompt, list) else [prompt]


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ApiError(f"a text holds half of a character: {error.reason}") from error
