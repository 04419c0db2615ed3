"""llama.cpp, by way of llama-cpp-python; no plugin."""

from __future__ import annotations

import ctypes
import weakref
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.engine import OwnWeights
from autotune.plugin import Unsupported
from autotune_plugins._gguf_export import FILE
from autotune_plugins._graph_engine import Graph

if TYPE_CHECKING:
    import numpy as np

    from autotune_plugins._graph_engine import Arrays

_PRECISIONS = {
    **{"F32": "float32", "BF16": "bfloat16", "Q8_0": "q8_0"},
    **{"Q6_K": "q6_k", "Q4_K": "q4_k_m", "Q4_0": "q4_0"},
}
"""A file's precision, by the type that most of its layers' bytes have."""
_F32, _F16 = 0, 1
"""Of ``ggml_type``."""
_NO_FLASH, _FLASH_WHERE_ABLE = 0, -1
"""Of ``llama_flash_attn_type``; the latter is llama.cpp's default."""
_MOST_SEQUENCES = 256
"""``LLAMA_MAX_SEQ`` of llama.cpp."""
_WARNING = 3
"""Of ``ggml_log_level``; the more urgent ones are above."""
_OUT_OF_MEMORY = ("insufficient memory", "failed to allocate", "unable to allocate", "bad_alloc")
"""Words of its errors."""
_UNMAPPED = 0
"""``LLAMA_LOAD_MODE_NONE``."""


class Log:
    """What the library warns of, which would go to standard error."""

    def __init__(self, library: Any) -> None:
        self._lines: list[str] = []
        self._callback = library.llama_log_callback(self._take)  # must live as long as the library
        library.llama_log_set(self._callback, ctypes.c_void_p(0))

    def error(self, what: str) -> Exception:
        """What is to be raised, with the latest words.

        Args:
            what: Has failed.
        """
        said = " ".join("".join(self._lines).split())[-500:]
        kind = MemoryError if any(words in said for words in _OUT_OF_MEMORY) else RuntimeError
        return kind(f"{what}: {said}")

    def _take(self, level: int, text: bytes, _data: int) -> None:
        if level >= _WARNING:
            self._lines = [*self._lines[-20:], text.decode(errors="replace")]


@cache
def quiet_llama() -> tuple[Any, Log]:
    """The library's functions, and what it says from now on."""
    from llama_cpp import llama_cpp as library

    log = Log(library)
    library.llama_backend_init()
    return library, log


def with_fields(params: Any, **wanted: Any) -> Any:
    """Sets fields of one of the library's structures.

    Raises:
        Unsupported: It has no such field: ctypes would take the value and forget it.
    """
    known = {field[0] for field in params._fields_}
    for name, value in wanted.items():
        if name not in known:
            raise Unsupported(
                f"{type(params).__name__} of the llama-cpp-python installed here has no {name}: "
                "pip install --upgrade llama-cpp-python"
            )
        setattr(params, name, value)
    return params


class LlamaCppGraph(Graph):
    """A model of llama.cpp, with a context for as many sequences and tokens as are asked for."""

    def __init__(self, folder: Path, precision: str, threads: int, new_tokens: int) -> None:
        """Loads ``model.gguf``.

        Args:
            folder: Holds it.
            precision: That was asked for.
            threads: Of one operation.
            new_tokens: For so many after a prompt room is kept from the beginning.

        Raises:
            Unsupported: What the file holds is not what was asked for.
        """
        path = folder / FILE
        self.name = f"llamacpp {_precision(path)}"
        if self.name != f"llamacpp {precision}":
            raise Unsupported(f"llama.cpp was asked for {precision} here and wrote {self.name}")
        self._library, self._log = quiet_llama()
        params = with_fields(
            self._library.llama_model_default_params(),
            # Pages of a mapped file are nobody's memory, and cannot be packed for the processor.
            load_mode=_UNMAPPED,
            n_gpu_layers=0,
        )
        self._model = self._library.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise self._log.error("llama.cpp could not load its file")
        self._handles = _Handles(self._library, self._model)
        weakref.finalize(self, self._handles.free)
        # A tied head that a processor has packed otherwise than the embedding is held once more,
        # and not counted here: only measured memory shows it.
        held = self._library.llama_model_size(self._model)
        self.weights = OwnWeights(held, path.stat().st_size)
        vocabulary = self._library.llama_model_get_vocab(self._model)
        self._vocabulary = int(self._library.llama_vocab_n_tokens(vocabulary))
        self._exact = precision == "float32"
        self._threads, self._new_tokens = threads, new_tokens
        self._sequences = self._room = self._outputs = 0
        self._seen: list[np.ndarray] = []

    @property
    def threads(self) -> int:
        """Those of one operation, as the context has them."""
        if self._context is None:
            self._open(1, self._new_tokens, 1)
        return int(self._library.llama_n_threads(self._context))

    @property
    def _context(self) -> Any:
        return self._handles.context

    def begin(self, sequences: int) -> None:
        """Empties the cache; a context of another number of sequences is given up."""
        if sequences > _MOST_SEQUENCES:
            raise Unsupported(f"llama.cpp computes at most {_MOST_SEQUENCES} sequences at once")
        if sequences != self._sequences:
            self.release()
        self._sequences, self._seen = sequences, []
        if self._context is not None:
            memory = self._library.llama_get_memory(self._context)
            self._library.llama_memory_clear(memory, False)

    def release(self) -> None:
        """Gives the context back: cache and buffers."""
        self._handles.close_context()
        self._room = 0

    def run(self, given: Arrays) -> np.ndarray:
        """One pass."""
        import numpy as np

        ids, positions = given["input_ids"], given["positions"]
        before = sum(part.shape[1] for part in self._seen)
        outputs = len(ids) * len(positions)
        if before + ids.shape[1] > self._room or outputs > self._outputs:
            # Whoever says more than was planned for has what was said before computed again.
            wanted = before + ids.shape[1] + self._new_tokens
            self._make_room(max(wanted, 2 * self._room if self._seen else 0), outputs)
        self._decode(ids, before, positions)
        self._seen.append(ids)
        logits = self._library.llama_get_logits(self._context)
        shape = (len(ids), len(positions), self._vocabulary)
        return np.ctypeslib.as_array(logits, shape)

    def _make_room(self, tokens: int, outputs: int) -> None:
        """A context for so many tokens of each sequence, with what was computed until now."""
        import numpy as np

        self.release()
        self._open(self._sequences, tokens, outputs)
        if self._seen:
            self._decode(np.concatenate(self._seen, axis=1), 0, np.array([], np.int64))

    def _open(self, sequences: int, tokens: int, outputs: int) -> None:
        rounded = -(-tokens // 256) * 256  # as llama.cpp pads a sequence's part of the cache
        params = with_fields(
            self._library.llama_context_default_params(),
            n_ctx=rounded * sequences,
            n_batch=rounded * sequences,
            n_seq_max=sequences,
            n_outputs_max=outputs,
            n_threads=self._threads,
            n_threads_batch=self._threads,
            type_k=_F32 if self._exact else _F16,
            type_v=_F32 if self._exact else _F16,
            # Its flash attention rounds to float16 whatever the cache holds.
            flash_attn_type=_NO_FLASH if self._exact else _FLASH_WHERE_ABLE,
            no_perf=True,
        )
        self._handles.context = self._library.llama_init_from_model(self._model, params) or None
        if self._context is None:
            raise self._log.error("llama.cpp could not make a context")
        self._sequences, self._room, self._outputs = sequences, rounded, outputs

    def _decode(self, ids: np.ndarray, before: int, positions: np.ndarray) -> None:
        """Computes tokens of all sequences.

        Args:
            ids: ``[sequences, tokens]``.
            before: Tokens of each sequence that were computed earlier.
            positions: Whose logits are wanted, counted in ``ids``.
        """
        import numpy as np

        rows, length = ids.shape
        wanted = np.zeros((rows, length), np.int8)
        wanted[:, positions] = 1
        numbers = np.arange(rows, dtype=np.int32)
        addresses = numbers.ctypes.data + numbers.itemsize * np.arange(rows, dtype=np.uint64)
        parts = {
            "token": np.ascontiguousarray(ids, np.int32),
            "pos": np.tile(np.arange(before, before + length, dtype=np.int32), rows),
            "n_seq_id": np.ones(rows * length, np.int32),
            "seq_id": np.repeat(addresses, length),
            "logits": wanted,
        }
        kinds = dict(self._library.llama_batch._fields_)
        pointers = {name: ctypes.cast(a.ctypes.data, kinds[name]) for name, a in parts.items()}
        batch = self._library.llama_batch(n_tokens=rows * length, **pointers)
        if code := self._library.llama_decode(self._context, batch):
            raise self._log.error(f"llama.cpp ended a pass with code {code}")


class _Handles:
    """What the library has to be told to free, the context before its model."""

    def __init__(self, library: Any, model: Any) -> None:
        self._library, self._model = library, model
        self.context: Any = None

    def close_context(self) -> None:
        if self.context is not None:
            self._library.llama_free(self.context)
        self.context = None

    def free(self) -> None:
        self.close_context()
        self._library.llama_model_free(self._model)


def _precision(path: Path) -> str:
    """Of the layers, by the bytes of their matrices."""
    from gguf import GGUFReader

    sizes: Counter[str] = Counter()
    for tensor in GGUFReader(path).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            sizes[tensor.tensor_type.name] += int(tensor.n_bytes)
    most = sizes.most_common(1)[0][0] if sizes else ""
    return _PRECISIONS.get(most, most)
