"""What executes a prepared model: all that the author of an engine reads besides `plugin`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.errors import AutotuneError
from autotune.plugin import Unsupported

if TYPE_CHECKING:
    import torch

Batch = Mapping[str, "torch.Tensor"]
"""Keyword arguments of ``model.forward``: int64 ``[sequences, tokens]`` each. For ``outputs`` of a
workload with adapters also ``adapter``, ``[sequences]``: the number of each sequence's."""


class NoOutputs(AutotuneError):
    """An engine gives nothing that accuracy could be judged by. Say why in one sentence: the
    accuracy metrics are null for this reason, and nothing is claimed in their place."""


@dataclass(frozen=True)
class OwnWeights:
    """Of an engine that holds weights of its own in place of the model's."""

    held_bytes: int
    """In memory, ready to compute."""
    stored_bytes: int
    """On disk, as whoever serves it would keep it."""


@dataclass(frozen=True)
class Request:
    """One request of a workload's traffic: a prompt, and how much is said to it."""

    prompt: torch.Tensor
    """Token ids, int64 ``[tokens]``, on the host."""
    new_tokens: int
    adapter: int | None = None
    """Number of the workload's adapter that it is for; None: the model itself."""


@dataclass(frozen=True)
class TextRequest:
    """One that comes as text: making tokens of it is part of serving it."""

    text: str
    prompt_tokens: int
    """So many first tokens of the text are the prompt."""
    new_tokens: int
    tokenize: Callable[[str, int], list[int]]
    """Token ids of a text, at most so many. For one thread at a time; pickled, it makes its own
    tokenizer wherever it arrives."""
    adapter: int | None = None
    """As of ``Request``."""


@dataclass(frozen=True)
class Timing:
    """Clock readings of one request, in seconds of ``time.perf_counter``."""

    start: float
    """Token ids handed to the engine (t0)."""
    first: float
    """First output token on the host (t1)."""
    last: float
    """Last output token on the host (tn)."""
    sequences: int
    prompt_tokens: int
    """Per sequence."""
    output_tokens: int
    """Per sequence; 0 for encoders."""
    gaps: tuple[float, ...] = ()
    """Seconds between the output tokens after the first; empty if the engine does not know."""


@dataclass(frozen=True)
class Passes:
    """One request's forward passes as single calls, so that their work can be counted."""

    prompt: Callable[[], object]
    """The prompt's pass; an encoder's only one. Comes first."""
    step: Callable[[], object] = lambda: None
    """The next decode step."""
    steps: int = 0
    """Decode steps of a whole request."""
    cache_bytes: Callable[[], int] = lambda: 0
    """Bytes of the keys and values that are held now."""


class Engine(ABC):
    """Executes one prepared model. Lives in the bench process, used by one thread."""

    run_args: Mapping[str, Any] = {"batch_size": 1}
    """The run arguments it knows, with their defaults."""

    on_first_token: Callable[[], None] | None = None
    """Set for a request that nobody times: called once the first output token is on the host. An
    engine that cannot tell leaves it alone; its memory is then not split by phase."""

    on_tokens: Callable[[Sequence[Sequence[int]]], None] | None = None
    """Set for a request that somebody reads along and nobody times: called with each sequence's
    next tokens (as many of each) once they are on the host. It may raise to end the request; the
    engine lets that through, and is ready for the next. One that cannot tell leaves it alone: all
    tokens are then told at the end."""

    last_tokens: torch.Tensor | None = None
    """The output tokens of the latest request, ``[sequences, new tokens]``; None from an engine
    that does not keep them, and of an encoder."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Fills in defaults.

        Raises:
            Unsupported: A plugin asks for a run argument that this engine does not know.
        """
        for name in given:
            if name not in self.run_args:
                raise Unsupported(
                    f"{type(self).__name__} knows no run argument {name!r}; it knows "
                    f"{', '.join(self.run_args)}"
                )
        return {**self.run_args, **given}

    @abstractmethod
    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """Runs one request to its end, the device synchronised at each clock reading."""

    def own_weights(self) -> OwnWeights | None:
        """None from an engine that computes with the model that it was given. One that says what
        it holds instead has let go of the model's weights, and nobody gets that model again."""
        return None

    def ran(self) -> Mapping[str, str]:
        """What it has found itself to run, by the keys of ``Plugin.expects``, asked of its library
        and not of the recipe. Of a model that is gone nothing else is known."""
        return {}

    @property
    def elsewhere(self) -> str:
        """Why memory that this process reads of itself is not the model's; empty if it is."""
        return ""

    def generate(
        self, prompts: Batch, run_args: Mapping[str, Any], new_tokens: int
    ) -> torch.Tensor:
        """The tokens of one request: what an engine must do to be served, not to be measured.

        Args:
            prompts: As for ``request``.
            run_args: Resolved.
            new_tokens: How many to generate for each prompt.

        Returns:
            int64 ``[sequences, new_tokens]``, on the device.

        Raises:
            Unsupported: It does not hand them out.
        """
        raise Unsupported(f"{type(self).__name__} hands out no tokens: it cannot be served")

    def serve(
        self, requests: Sequence[Request | TextRequest], run_args: Mapping[str, Any]
    ) -> list[Timing]:
        """Runs a workload's traffic from its first request to the end of its last, with all
        caches between requests empty at its begin.

        Args:
            requests: In the order in which they wait; all are there, as token ids or as text.
            run_args: Resolved.

        Returns:
            One for each, of one sequence: t0 is when the engine took it from those that wait.

        Raises:
            Unsupported: It only runs requests that are alike.
        """
        raise Unsupported(
            f"{type(self).__name__} runs requests of one length, and this workload's differ: it "
            "has traffic"
        )

    @abstractmethod
    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """What accuracy is judged by, in float32 on the device.

        Args:
            batch: As for ``request``.
            run_args: Resolved; those that ``alters_outputs`` names show in the result.

        Returns:
            Logits ``[sequences, tokens, vocabulary]`` (causal-lm), ``[sequences, classes]``
            (sequence-classification) or embeddings ``[sequences, hidden]`` (feature-extraction).

        Raises:
            NoOutputs: This engine cannot tell.
        """

    def alters_outputs(self, run_args: Mapping[str, Any]) -> bool:
        """Whether with these run arguments a text's tokens get other outputs than without, as
        with a lossy key-value cache or early exits."""
        return False

    def plain_steps(self, run_args: Mapping[str, Any]) -> bool:
        """Whether each decode step computes one token of each sequence and reads all keys and
        values as they came: what ``passes`` counts."""
        return not self.alters_outputs(run_args)

    def passes(self, prompts: Batch) -> Passes | None:
        """The passes of a request, with a plain cache that is as long as what it holds.

        Args:
            prompts: As for ``request``.

        Returns:
            None from an engine whose operations torch does not see: their work is unknown.
        """
        return None

    def notes(self) -> tuple[str, ...]:
        """What a person should know of the requests since ``forget`` was called."""
        return ()

    def forget(self) -> None:  # noqa: B027 - most engines keep nothing
        """Lets go of what earlier requests left, such as a key-value cache that is kept."""

    @property
    @abstractmethod
    def last_finite(self) -> bool:
        """Whether the latest request gave only finite numbers."""
