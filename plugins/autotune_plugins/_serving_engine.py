"""What libraries that serve checkpoints on GPUs have in common; no plugin."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from autotune.engine import Batch, Engine, NoOutputs, OwnWeights, Timing
from autotune.plugin import Context

if TYPE_CHECKING:
    import torch

SEQUENCES = 64
"""For so many at once keys and values are reserved: the largest batch of the plugin ``batch``."""

Tokens = Sequence[Sequence[int]]


class ServingEngine(Engine):
    """Greedy decoding of exactly ``new_tokens`` tokens by a library that schedules requests.

    The model is saved as it is now, and loaded from there: what pruning left runs, too. Prefixes
    are not cached between requests, since a benchmark repeats its prompts.
    """

    library: str
    """As a person would write it."""

    def __init__(self, model: Any, context: Context) -> None:
        """Saves the model, frees its weights and has the library load it.

        Args:
            model: A transformers model with plain weights.
            context: Of the trial.
        """
        import torch

        self._new_tokens = context.new_tokens
        self._latest: Tokens = ()
        dtype = str(model.dtype).removeprefix("torch.")
        with TemporaryDirectory(prefix="autotune-engine-") as folder:
            model.save_pretrained(folder)
            stored = sum(f.stat().st_size for f in Path(folder).glob("*.safetensors"))
            self._weights = OwnWeights(stored, stored)
            model.to("meta")
            torch.cuda.empty_cache()
            self._load(Path(folder), dtype, model.config, context)

    @abstractmethod
    def _load(self, folder: Path, dtype: str, config: Any, context: Context) -> None:
        """Loads the checkpoint.

        Args:
            folder: Holds it until this returns.
            dtype: What its weights are to be held in, e.g. ``bfloat16``.
            config: Of the model.
            context: Of the trial.
        """

    @abstractmethod
    def _progress(self, prompts: Tokens) -> Iterator[int]:
        """Generates; tells after each answer how many tokens every sequence has by now."""

    @abstractmethod
    def _log_probabilities(self, prompts: Tokens) -> Iterator[float]:
        """Generates the same again; tells how likely each token was."""

    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """All prompts at once, scheduled by the library."""
        start = time.perf_counter()
        rows = self._latest = prompts["input_ids"].tolist()
        ticks: list[float] = []
        for least in self._progress(rows):
            now = time.perf_counter()
            if least and not ticks and self.on_first_token is not None:
                self.on_first_token()
            ticks += [now] * (least - len(ticks))
        if len(ticks) != self._new_tokens:
            raise RuntimeError(
                f"{self.library} gave {len(ticks)} tokens, {self._new_tokens} were asked for"
            )
        gaps = tuple(later - earlier for earlier, later in pairwise(ticks))
        count, length = len(rows), len(rows[0])
        return Timing(start, ticks[0], ticks[-1], count, length, self._new_tokens, gaps)

    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """Raises ``NoOutputs``."""
        raise NoOutputs(
            f"{self.library} tells the probabilities of the likeliest tokens, not the logits of "
            "the whole vocabulary"
        )

    @property
    def last_finite(self) -> bool:
        """Whether the latest prompts, run again, give tokens of finite probability: a timed
        request does not pay for telling it."""
        return all(map(math.isfinite, self._log_probabilities(self._latest)))

    def own_weights(self) -> OwnWeights:
        """Those of the checkpoint: the library does not say what it holds."""
        return self._weights

    def ran(self) -> dict[str, str]:
        """The library."""
        return {"engine": self.library.lower()}
