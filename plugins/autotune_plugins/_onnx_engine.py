"""ONNX Runtime; no plugin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.engine import OwnWeights
from autotune.plugin import Unsupported
from autotune_plugins._graph_engine import Graph

if TYPE_CHECKING:
    import numpy as np

    from autotune_plugins._graph_engine import Arrays

_PROVIDER = "CPUExecutionProvider"


class OnnxGraph(Graph):
    """A session of ONNX Runtime; keys and values go from one call to the next uncopied."""

    def __init__(self, folder: Path, precision: str, threads: int) -> None:
        """Loads ``model.onnx``.

        Raises:
            Unsupported: The session is not what was asked for.
        """
        import onnxruntime

        file = folder / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(file, options, providers=[_PROVIDER])
        if self.session.get_providers() != [_PROVIDER]:
            raise Unsupported(f"ONNX Runtime runs on {self.session.get_providers()} instead")
        self.name = f"onnxruntime {precision}"
        stored = sum(part.stat().st_size for part in folder.iterdir())
        # Small constants stand in the graph's own file.
        self.weights = OwnWeights(stored - file.stat().st_size, stored)
        self._outputs = [x.name for x in self.session.get_outputs()]
        given = self.session.get_inputs()
        self._states = [x for x in given if x.name.startswith("past.")]
        self._tokens = [x for x in given if x not in self._states]
        self._kept: list[onnxruntime.OrtValue] = []

    @property
    def threads(self) -> int:
        """Those of one operation, as the session has them."""
        return int(self.session.get_session_options().intra_op_num_threads)

    def begin(self, sequences: int) -> None:
        """Keys and values of no tokens."""
        import numpy as np
        from onnxruntime import OrtValue

        shapes = [(sequences, state.shape[1], 0, state.shape[3]) for state in self._states]
        self._kept = [OrtValue.ortvalue_from_numpy(np.zeros(s, np.float32)) for s in shapes]

    def release(self) -> None:
        """The arena shrinks at the end of a pass, if it is told to: here, of one token."""
        import numpy as np
        from onnxruntime import RunOptions

        options = RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        one = np.ones((1, 1), np.int64)
        given = {"input_ids": one, "positions": one[0] - 1, "attention_mask": one}
        self.begin(1)
        self._run({x.name: given[x.name] for x in self._tokens}, options)
        self.begin(1)

    def run(self, given: Arrays) -> np.ndarray:
        """One pass; its keys and values are bound to the next one."""
        return self._run(given, None)

    def _run(self, given: Arrays, options: Any) -> np.ndarray:
        binding = self.session.io_binding()
        for name, array in given.items():
            binding.bind_cpu_input(name, array)
        for state, kept in zip(self._states, self._kept, strict=True):
            binding.bind_ortvalue_input(state.name, kept)
        for name in self._outputs:
            binding.bind_output(name)
        self.session.run_with_iobinding(binding, options)
        result, *self._kept = binding.get_outputs()
        output: np.ndarray = result.numpy()
        return output
