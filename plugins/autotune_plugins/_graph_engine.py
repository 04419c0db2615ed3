"""Engines around a graph that another library has compiled; no plugin."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from autotune.engine import Batch, Engine, OwnWeights, Timing
from autotune.plugin import Unsupported

if TYPE_CHECKING:
    import numpy as np
    import torch

    Arrays = Mapping[str, np.ndarray]


class Graph(ABC):
    """A compiled graph, with the keys and values of what it has computed since ``begin``."""

    name: str
    """Engine and precision, as ``Plugin.expects`` names them, read from what was compiled."""
    weights: OwnWeights

    @abstractmethod
    def begin(self, sequences: int) -> None:
        """Forgets all keys and values."""

    @abstractmethod
    def release(self) -> None:
        """Gives back the memory that earlier passes, perhaps larger ones, have needed."""

    @abstractmethod
    def run(self, given: Arrays) -> np.ndarray:
        """One pass over the next tokens.

        Args:
            given: Inputs by name, int64.

        Returns:
            The first output, in float32; valid until the next call.
        """


class _GraphEngine(Engine):
    """What generators and encoders share."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._finite = True

    @property
    def last_finite(self) -> bool:
        """Whether the latest request's outputs were finite."""
        return self._finite

    def forget(self) -> None:
        """Scoring runs larger batches than serving, and its memory would count as the model's."""
        self._graph.release()

    def own_weights(self) -> OwnWeights:
        """The graph's."""
        return self._graph.weights

    def ran(self) -> dict[str, str]:
        """The library and the precision that it has compiled."""
        return {"engine": self._graph.name}


class GraphGenerator(_GraphEngine):
    """Greedy decoding of exactly ``new_tokens`` tokens with a key-value cache."""

    def __init__(self, graph: Graph, new_tokens: int) -> None:
        super().__init__(graph)
        self._new_tokens = new_tokens

    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One prefill, and a step for each further token."""
        return self._decode(prompts, self._new_tokens)[0]

    def generate(
        self, prompts: Batch, run_args: Mapping[str, Any], new_tokens: int
    ) -> torch.Tensor:
        """The tokens that a request decodes."""
        import torch

        return torch.from_numpy(self._decode(prompts, new_tokens)[1])

    def _decode(self, prompts: Batch, new_tokens: int) -> tuple[Timing, np.ndarray]:
        """A request, and its tokens ``[sequences, new_tokens]``."""
        import numpy as np

        start = time.perf_counter()
        ids = prompts["input_ids"].cpu().numpy()
        self._graph.begin(len(ids))
        tokens = [self._next(ids)]
        ticks = [first := time.perf_counter()]
        if self.on_first_token is not None:
            self.on_first_token()
            ticks = [time.perf_counter()]
        if self.on_tokens is not None:
            self.on_tokens(tokens[-1].tolist())
        for _ in range(new_tokens - 1):
            tokens.append(self._next(tokens[-1]))
            ticks.append(time.perf_counter())
            if self.on_tokens is not None:
                self.on_tokens(tokens[-1].tolist())
        last = ticks[-1] if new_tokens > 1 else first
        gaps = tuple(later - earlier for earlier, later in pairwise(ticks))
        timing = Timing(start, first, last, len(ids), ids.shape[1], new_tokens, gaps)
        return timing, np.concatenate(tokens, axis=1)

    def _next(self, ids: np.ndarray) -> np.ndarray:
        """The most likely next token of each sequence, ``[sequences, 1]``."""
        import numpy as np

        logits = self._graph.run({"input_ids": ids, "positions": np.array([ids.shape[1] - 1])})
        self._finite = bool(np.isfinite(logits).all())
        likeliest: np.ndarray = logits[:, -1].argmax(-1, keepdims=True)
        return likeliest

    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """Logits of all positions, teacher-forced, in one pass on an empty cache."""
        import numpy as np
        import torch

        ids = batch["input_ids"]
        if "attention_mask" in batch and not bool(batch["attention_mask"].all()):
            raise Unsupported("the graph of a causal model knows no padding")
        self._graph.begin(len(ids))
        given = {"input_ids": ids.cpu().numpy(), "positions": np.arange(ids.shape[1])}
        return torch.from_numpy(self._graph.run(given).copy())


class GraphEncoder(_GraphEngine):
    """One forward pass of an encoder or classifier."""

    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One forward pass, its result on the host."""
        import numpy as np

        start = time.perf_counter()
        result = self._run(prompts)
        last = time.perf_counter()
        self._finite = bool(np.isfinite(result).all())
        sequences, tokens = prompts["input_ids"].shape
        return Timing(start, last, last, sequences, tokens, 0)

    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """Class logits, or the mean of the last hidden states over real tokens."""
        import torch

        return torch.from_numpy(self._run(batch).copy())

    def _run(self, batch: Batch) -> np.ndarray:
        names = ("input_ids", "attention_mask")
        self._graph.begin(len(batch["input_ids"]))
        return self._graph.run({name: batch[name].cpu().numpy() for name in names})
