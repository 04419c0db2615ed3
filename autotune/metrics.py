"""The catalogue of metrics: name, unit, direction, formula, in one place.

Let t0 = prompt token ids handed to the engine, t1 = first output token on the host, tn = last
output token on the host, n = output tokens per sequence, batch = sequences per request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from autotune.errors import InputError, unknown_name


class Direction(StrEnum):
    """Which way is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


class Family(StrEnum):
    """Which meter takes it."""

    SPEED = "speed"
    COLD = "cold"
    MEMORY = "memory"
    ENERGY = "energy"
    ACCURACY = "accuracy"


@dataclass(frozen=True)
class Metric:
    """One named quantity."""

    name: str
    unit: str
    direction: Direction
    family: Family
    formula: str
    label: str
    """What a table calls it."""
    meaning: str = ""
    """One line for people who do not know the term; empty where the label says it all."""
    tasks: tuple[str, ...] = ()
    """Tasks for which it exists; empty for all."""
    resolution_ratio: float = 0.0
    """Values closer than this fraction are ties, whatever their intervals say."""
    resolution: float = 0.0
    """Values closer than this many units are ties."""

    def steps(self, value: float) -> float:
        """The value on a scale whose unit is what the metric can resolve, so that a difference
        under 1 is a tie. One step is about ``hypot(resolution, resolution_ratio * value)``: the
        scale is linear near zero and logarithmic beyond. Without a resolution the value itself
        is returned; see ``ties``."""
        if self.resolution and self.resolution_ratio:
            ratio = self.resolution_ratio
            return math.asinh(value * ratio / self.resolution) / ratio
        if self.resolution:
            return value / self.resolution
        if self.resolution_ratio and value > 0:
            return math.log(value) / self.resolution_ratio
        return value if not self.resolution_ratio else -math.inf

    @property
    def ties(self) -> bool:
        """Whether it has a resolution, so that close values are ties."""
        return bool(self.resolution or self.resolution_ratio)

    def tied(self, one: float | None, other: float | None) -> bool:
        """Whether two values differ by no more than the resolution."""
        if one is None or other is None:
            return False
        return one == other or (self.ties and abs(self.steps(one) - self.steps(other)) <= 1)


_UP, _DOWN = Direction.MAXIMIZE, Direction.MINIMIZE
_GENERATES = ("causal-lm",)
_CLASSIFIES = ("causal-lm", "sequence-classification")
_ENCODES = ("sequence-classification", "feature-extraction")

_CATALOGUE = (
    Metric("ttft_seconds", "s", _DOWN, Family.SPEED, "t1 - t0", "TTFT", tasks=_GENERATES),
    Metric(
        "tpot_seconds",
        "s",
        _DOWN,
        Family.SPEED,
        "(tn - t1)/(n - 1), null if n < 2",
        "TPOT",
        tasks=_GENERATES,
    ),
    Metric("e2e_latency_seconds", "s", _DOWN, Family.SPEED, "tn - t0", "E2E latency"),
    Metric(
        "output_tokens_per_second",
        "1/s",
        _UP,
        Family.SPEED,
        "all output tokens of the block / (last token - first request start)",
        "output tokens/s",
        tasks=_GENERATES,
    ),
    Metric(
        "decode_tokens_per_second",
        "1/s",
        _UP,
        Family.SPEED,
        "batch*(n - 1)/(tn - t1), null if n < 2",
        "decode tokens/s",
        tasks=_GENERATES,
    ),
    Metric(
        "prefill_tokens_per_second",
        "1/s",
        _UP,
        Family.SPEED,
        "batch*prompt tokens/(t1 - t0)",
        "prefill tokens/s",
        tasks=_GENERATES,
    ),
    Metric(
        "samples_per_second",
        "1/s",
        _UP,
        Family.SPEED,
        "batch / latency of one forward (encoders)",
        "samples/s",
        tasks=_ENCODES,
    ),
    Metric(
        "load_seconds",
        "s",
        _DOWN,
        Family.COLD,
        "from_pretrained until every weight is in memory, wall clock",
        "load",
    ),
    Metric(
        "transform_seconds", "s", _DOWN, Family.COLD, "all plugins' transforms, wall", "transform"
    ),
    Metric(
        "first_request_seconds",
        "s",
        _DOWN,
        Family.COLD,
        "tn - t0 of the process's first request; compilation and graph capture are in it; null "
        "in a process that is warm",
        "first request",
    ),
    Metric(
        "device_peak_allocated_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "peak of live bytes in torch's CUDA allocator",
        "device peak (live)",
        resolution_ratio=0.01,
    ),
    Metric(
        "device_peak_reserved_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "peak of segments held by torch's CUDA allocator",
        "device peak (reserved)",
        resolution_ratio=0.01,
    ),
    Metric(
        "device_peak_process_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "NVML's memory of this process after the run (the allocator keeps its segments), "
        "else the reserved peak; source says which",
        "device peak",
        "most memory that the process takes on the device",
        resolution_ratio=0.01,
    ),
    Metric(
        "host_peak_rss_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "VmHWM of the bench process while it serves, reset after the first request",
        "host peak",
        resolution_ratio=0.01,
    ),
    Metric(
        "host_prepare_peak_rss_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "VmHWM of the bench process until the model was loaded and transformed",
        "host peak (prepare)",
        resolution_ratio=0.01,
    ),
    Metric(
        "host_model_peak_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "VmHWM while it serves (reset after the first request) - resident size after imports "
        "and before loading - pages of shared libraries that came in since",
        "model peak (host)",
        "most memory that the model and its requests take beside Python and the libraries",
        # What a process keeps of earlier phases differs by about three mebibytes.
        resolution=4 << 20,
        resolution_ratio=0.02,
    ),
    Metric(
        "weights_bytes",
        "B",
        _DOWN,
        Family.MEMORY,
        "bytes of unique storages of parameters and buffers, tied weights once",
        "weights",
        resolution_ratio=0.001,
    ),
    Metric(
        "energy_joules",
        "J",
        _DOWN,
        Family.ENERGY,
        "counter difference over one window (GPU by NVML, CPU package by RAPL; source says which)",
        "energy",
    ),
    Metric(
        "energy_per_output_token_joules",
        "J",
        _DOWN,
        Family.ENERGY,
        "energy of a window / output tokens of that window",
        "energy/token",
        tasks=_GENERATES,
    ),
    Metric(
        "energy_per_sample_joules",
        "J",
        _DOWN,
        Family.ENERGY,
        "energy of a window / samples of that window (encoders)",
        "energy/sample",
        tasks=_ENCODES,
    ),
    Metric(
        "avg_power_watts",
        "W",
        _DOWN,
        Family.ENERGY,
        "energy of a window / its duration",
        "power",
    ),
    Metric(
        "kld_mean_nats",
        "nat",
        _DOWN,
        Family.ACCURACY,
        "mean over positions of sum_v p_ref(v)*(log p_ref(v) - log p(v)), teacher-forced, "
        "log-softmax in float32",
        "KLD",
        "Kullback-Leibler divergence of the next-token probabilities from the baseline's; 0: same",
        resolution=1e-4,
        tasks=_CLASSIFIES,
    ),
    Metric(
        "top1_agreement_ratio",
        "ratio",
        _UP,
        Family.ACCURACY,
        "share of positions whose most likely token (or class) is the baseline's",
        "top-1 agreement",
        tasks=_CLASSIFIES,
    ),
    Metric(
        "nll_delta_nats",
        "nat",
        _DOWN,
        Family.ACCURACY,
        "mean over positions of NLL - NLL of the baseline, paired",
        "NLL delta",
        tasks=_GENERATES,
    ),
    Metric(
        "perplexity",
        "ratio",
        _DOWN,
        Family.ACCURACY,
        "exp(mean negative log-likelihood of the next token on held-out text)",
        "perplexity",
        tasks=_GENERATES,
    ),
    Metric(
        "perplexity_ratio",
        "ratio",
        _DOWN,
        Family.ACCURACY,
        "perplexity / the baseline's = exp(nll_delta_nats)",
        "perplexity ratio",
        tasks=_GENERATES,
    ),
    Metric(
        "embedding_cosine_distance",
        "ratio",
        _DOWN,
        Family.ACCURACY,
        "mean over texts of 1 - cosine(embedding, the baseline's); embeddings are the mean of "
        "the last hidden states over real tokens (encoders)",
        "embedding distance",
        resolution=1e-5,
        tasks=("feature-extraction",),
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _CATALOGUE}
"""Every metric, by name."""


def metric(name: str) -> Metric:
    """Looks a metric up.

    Raises:
        InputError: There is none of that name.
    """
    if name not in METRICS:
        raise InputError(unknown_name("metric", name, METRICS))
    return METRICS[name]


def default_objectives(task: str, device_kind: str) -> tuple[str, ...]:
    """The objectives of a study that names none.

    Args:
        task: ``causal-lm``, ``sequence-classification`` or ``feature-extraction``.
        device_kind: ``cpu`` or ``cuda``.
    """
    generates = task == "causal-lm"
    return (
        "output_tokens_per_second" if generates else "samples_per_second",
        "host_model_peak_bytes" if device_kind == "cpu" else "device_peak_process_bytes",
        "energy_per_output_token_joules" if generates else "energy_per_sample_joules",
        "embedding_cosine_distance" if task == "feature-extraction" else "kld_mean_nats",
    )
