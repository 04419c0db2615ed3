"""The optimizations that come with autotune: one technique per file, one line here."""

from autotune.plugin import Plugin
from autotune_plugins.adapters import Adapters
from autotune_plugins.allocator import Allocator
from autotune_plugins.attention import Attention
from autotune_plugins.batch import Batch
from autotune_plugins.batching import Batching
from autotune_plugins.cache import Cache
from autotune_plugins.compile import Compile
from autotune_plugins.distill import Distill
from autotune_plugins.early_exit import EarlyExit
from autotune_plugins.embedding import Embedding
from autotune_plugins.engine import Engine
from autotune_plugins.input import Input
from autotune_plugins.loading import Loading
from autotune_plugins.offload import Offload
from autotune_plugins.parallel import Parallel
from autotune_plugins.power import Power
from autotune_plugins.precision import Precision
from autotune_plugins.prefix_cache import PrefixCache
from autotune_plugins.prune import Prune
from autotune_plugins.quantize import Quantize
from autotune_plugins.result_cache import ResultCache
from autotune_plugins.speculative import Speculative
from autotune_plugins.threads import Threads

PLUGINS: tuple[type[Plugin], ...] = (
    Precision,
    Quantize,
    Prune,
    Distill,
    Embedding,
    Attention,
    Compile,
    Parallel,
    Threads,
    Allocator,
    Loading,
    Offload,
    Power,
    Batch,
    Batching,
    Cache,
    PrefixCache,
    ResultCache,
    Input,
    Adapters,
    Speculative,
    Engine,
    EarlyExit,
)
