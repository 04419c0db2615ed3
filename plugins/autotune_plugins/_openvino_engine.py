"""OpenVINO; no plugin."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.engine import OwnWeights
from autotune.plugin import Unsupported
from autotune_plugins._graph_engine import Graph

if TYPE_CHECKING:
    import numpy as np

    from autotune_plugins._graph_engine import Arrays

_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "i64": 8, "i32": 4, "i8": 1, "u8": 1, "boolean": 1}
_BYTES["dynamic"] = 0  # an optional input that is left out
_INT8 = frozenset({"i8", "u8"})
_OTHER_MALLOCS = ("jemalloc", "tcmalloc", "mimalloc")


def require_known_malloc() -> None:
    """
    Raises:
        Unsupported: Another malloc was preloaded: OpenVINO 2026 gives it back what it never gave.
            The process is aborted (jemalloc, mimalloc), or compiling never ends (tcmalloc).
    """
    loaded = Path("/proc/self/maps").read_text(encoding="utf-8")
    if other := next((name for name in _OTHER_MALLOCS if f"lib{name}" in loaded), None):
        raise Unsupported(f"OpenVINO's CPU plugin ends the process where {other} is its malloc")


class OpenvinoGraph(Graph):
    """A compiled model that keeps keys and values as its own state."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        """Compiles ``model.xml``.

        Raises:
            Unsupported: What was compiled is not what was asked for.
        """
        import openvino

        computed = "bf16" if precision == "bfloat16" else "f32"
        # Every one of these has a default that may change the numbers.
        wanted = {
            "INFERENCE_PRECISION_HINT": computed,
            "KV_CACHE_PRECISION": computed,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        model = core.read_model(folder / "model.xml")
        self._compile = partial(core.compile_model, model, "CPU", wanted)
        self.compiled: Any = self._compile()
        self.name = f"openvino {_precision(self.compiled)}"
        if self.name != f"openvino {precision}":
            raise Unsupported(f"OpenVINO was asked for {precision} here and compiled {self.name}")
        if self.threads != threads:
            raise Unsupported(f"OpenVINO takes {self.threads} threads here instead of {threads}")
        stored = sum(part.stat().st_size for part in folder.iterdir())
        self.weights = OwnWeights(_held_bytes(self.compiled), stored)
        self._request: Any = self.compiled.create_infer_request()
        names = {name for port in self.compiled.inputs for name in port.get_names()}
        self._reorders = "beam_idx" in names
        self._order: np.ndarray | None = None

    @property
    def threads(self) -> int:
        """Those of one operation, as the compiled model has them."""
        return int(self.compiled.get_property("INFERENCE_NUM_THREADS"))

    def begin(self, sequences: int) -> None:
        """Empties the states."""
        import numpy as np

        if self._reorders:
            self._request.reset_state()
            self._order = np.arange(sequences, dtype=np.int32)

    def release(self) -> None:
        """Gives the buffers back, and compiles anew: after ``release_memory`` a request of another
        shape writes to some that are freed (seen with OpenVINO 2026.4)."""
        self._request = None
        self.compiled.release_memory()
        self.compiled = None
        self.compiled = self._compile()
        self._request = self.compiled.create_infer_request()

    def run(self, given: Arrays) -> np.ndarray:
        """One pass."""
        order = {"beam_idx": self._order} if self._reorders else {}
        self._request.infer({**given, **order}, share_inputs=True, share_outputs=True)
        result: np.ndarray = self._request.get_output_tensor(0).data
        return result


def _nodes(compiled: Any) -> Iterator[tuple[str, str, Any]]:
    """Kind and precision of what is executed."""
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        kind = facts["layerType"].astype(str)
        key = "outputPrecisions" if kind == "Const" else "runtimePrecision"
        yield kind, facts[key].astype(str) if key in facts else "", node


def _precision(compiled: Any) -> str:
    """Of the products with weights, as most of them are executed."""
    counts = Counter(how for kind, how, _ in _nodes(compiled) if kind == "FullyConnected")
    most = counts.most_common(1)[0][0] if counts else ""
    if most in _INT8:
        return "int8_weight_only"
    hint = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    return {"f32": "float32", "bf16": "bfloat16"}.get(hint, hint)


def _held_bytes(compiled: Any) -> int:
    """Of all constants of the executed graph, in the format in which they are held."""
    return sum(
        _BYTES[how] * math.prod(size.get_length() for size in node.get_output_partial_shape(0))
        for kind, how, node in _nodes(compiled)
        if kind == "Const"
    )
