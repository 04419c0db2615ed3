"""The catalogue of metrics: name, unit, direction, formula, in one place.

Let t0 = prompt token ids handed to the engine, t1 = first output token on the host, tn = last
output token on the host, n = output tokens per sequence, batch = sequences per request.
"""

from __future__ import annotations

from autotune.errors import InputError, unknown_name
from autotune.metrics.accuracy import ACCURACY_METRICS
from autotune.metrics.elsewhere import AIPERF, GUIDELLM, MLPERF, VLLM
from autotune.metrics.kinds import DOWN, ENCODES, GENERATES, UP, Family, Metric
from autotune.metrics.percentiles import PERCENTILE_METRICS
from autotune.metrics.phases import PHASE_PEAKS
from autotune.metrics.roof import ROOF_METRICS

_CATALOGUE = (
    Metric(
        "ttft_seconds",
        "s",
        DOWN,
        Family.SPEED,
        "t1 - t0",
        "TTFT",
        "time to first token",
        tasks=GENERATES,
        elsewhere={
            VLLM: "mean_ttft_ms",
            GUIDELLM: "time_to_first_token_ms",
            AIPERF: "time_to_first_token",
            MLPERF: "TTFT",
        },
    ),
    Metric(
        "tpot_seconds",
        "s",
        DOWN,
        Family.SPEED,
        "(tn - t1)/(n - 1), null if n < 2",
        "TPOT",
        "time per output token after the first",
        tasks=GENERATES,
        elsewhere={
            VLLM: "mean_tpot_ms",
            GUIDELLM: "inter_token_latency_ms",
            AIPERF: "inter_token_latency",
            MLPERF: "TPOT",
        },
    ),
    Metric(
        "e2e_latency_seconds",
        "s",
        DOWN,
        Family.SPEED,
        "tn - t0",
        "E2E latency",
        elsewhere={
            VLLM: "mean_e2el_ms",
            GUIDELLM: "request_latency",
            AIPERF: "request_latency",
        },
    ),
    Metric(
        "output_tokens_per_second",
        "1/s",
        UP,
        Family.SPEED,
        "all output tokens of the block / (last token - first request start)",
        "output tokens/s",
        tasks=GENERATES,
        elsewhere={
            VLLM: "output_throughput",
            GUIDELLM: "output_tokens_per_second",
            AIPERF: "output_token_throughput",
        },
    ),
    Metric(
        "decode_tokens_per_second",
        "1/s",
        UP,
        Family.SPEED,
        "batch*(n - 1)/(tn - t1), null if n < 2",
        "decode tokens/s",
        tasks=GENERATES,
        elsewhere={
            AIPERF: "output_token_throughput_per_user times batch",
        },
    ),
    Metric(
        "prefill_tokens_per_second",
        "1/s",
        UP,
        Family.SPEED,
        "batch*prompt tokens/(t1 - t0)",
        "prefill tokens/s",
        tasks=GENERATES,
        elsewhere={
            AIPERF: "prefill_throughput_per_user times batch",
        },
    ),
    Metric(
        "samples_per_second",
        "1/s",
        UP,
        Family.SPEED,
        "batch / latency of one forward (encoders)",
        "samples/s",
        tasks=ENCODES,
    ),
    *PERCENTILE_METRICS,
    Metric(
        "load_seconds",
        "s",
        DOWN,
        Family.COLD,
        "from_pretrained until all weights are in memory (mapped: until they are), wall clock; "
        "of files dropped from the page cache before where the study judges it (source: cold "
        "files), else as others left them",
        "load",
    ),
    Metric(
        "transform_seconds", "s", DOWN, Family.COLD, "all plugins' transforms, wall", "transform"
    ),
    Metric(
        "first_request_seconds",
        "s",
        DOWN,
        Family.COLD,
        "tn - t0 of the process's first request; compilation and graph capture are in it; null "
        "in a process that is warm",
        "first request",
    ),
    Metric(
        "compile_seconds",
        "s",
        DOWN,
        Family.COLD,
        "wall clock of compiling by torch's own count, up to the end of the warm-up; only where "
        "compilation is asked for, null in a process that is warm",
        "compile",
    ),
    Metric(
        "device_peak_allocated_bytes",
        "B",
        DOWN,
        Family.MEMORY,
        "peak of live bytes in torch's CUDA allocator",
        "device peak (live)",
        resolution_ratio=0.01,
    ),
    Metric(
        "device_peak_reserved_bytes",
        "B",
        DOWN,
        Family.MEMORY,
        "peak of segments held by torch's CUDA allocator",
        "device peak (reserved)",
        resolution_ratio=0.01,
    ),
    Metric(
        "device_peak_process_bytes",
        "B",
        DOWN,
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
        DOWN,
        Family.MEMORY,
        "VmHWM of the bench process while it serves, reset after the first request; like every "
        "memory metric, of several processes that run one model the sum",
        "host peak",
        # A forked process has imported a little more than a new interpreter.
        resolution_ratio=0.02,
    ),
    *PHASE_PEAKS,
    Metric(
        "host_peak_pss_tree_bytes",
        "B",
        DOWN,
        Family.MEMORY,
        "sum of Pss (smaps_rollup) over the bench process and its descendants, the highest of "
        "polls during one more request; only where it has children (torch's compile workers are "
        "some)",
        "host peak (all processes)",
        resolution_ratio=0.05,
        is_goal=False,
    ),
    Metric(
        "host_model_peak_bytes",
        "B",
        DOWN,
        Family.MEMORY,
        "VmHWM while it serves (reset after the first request) - resident size after imports "
        "and before loading - pages of shared libraries that came in since; pages of mapped "
        "weights count once they were touched, also if another process shares them",
        "model peak (host)",
        "most memory that the model and its requests take beside Python and the libraries",
        # What a process keeps of earlier phases differs by about three mebibytes.
        resolution=4 << 20,
        resolution_ratio=0.02,
    ),
    Metric(
        "weights_bytes",
        "B",
        DOWN,
        Family.MEMORY,
        "bytes of unique storages of parameters and buffers, tied weights once; without those "
        "that are kept elsewhere and brought in layer by layer",
        "weights",
        resolution_ratio=0.001,
    ),
    Metric(
        "weights_disk_bytes",
        "B",
        DOWN,
        Family.MEMORY,
        "bytes of the tensors that saving the model writes: those of its state dict, tied weights "
        "once; the header of the file, some KiB, comes on top",
        "weights on disk",
        resolution_ratio=0.001,
    ),
    Metric(
        "energy_joules",
        "J",
        DOWN,
        Family.ENERGY,
        "energy over one window: a counter's difference, else a power sensor integrated, else (if "
        "asked for) CPU seconds times given watts; source says which",
        "energy",
    ),
    Metric(
        "energy_per_output_token_joules",
        "J",
        DOWN,
        Family.ENERGY,
        "energy of a window / output tokens of that window",
        "energy/token",
        tasks=GENERATES,
    ),
    Metric(
        "energy_per_sample_joules",
        "J",
        DOWN,
        Family.ENERGY,
        "energy of a window / samples of that window (encoders)",
        "energy/sample",
        tasks=ENCODES,
    ),
    Metric(
        "avg_power_watts",
        "W",
        DOWN,
        Family.ENERGY,
        "energy of a window / its duration",
        "power",
    ),
    Metric(
        "idle_power_watts",
        "W",
        DOWN,
        Family.ENERGY,
        "energy of one window in which nothing of ours runs / its duration; once, before the "
        "baseline; null for an estimate",
        "idle power",
    ),
    Metric(
        "device_temperature_celsius",
        "\N{DEGREE SIGN}C",
        DOWN,
        Family.ENERGY,
        "after the last energy window: the GPU by NVML, else the CPU's hottest hwmon sensor",
        "temperature",
    ),
    *ACCURACY_METRICS,
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*_CATALOGUE, *ROOF_METRICS)}
"""Every metric, by name."""


def metric(name: str) -> Metric:
    """Looks a metric up.

    Raises:
        InputError: There is none of that name.
    """
    if name not in METRICS:
        raise InputError(unknown_name("metric", name, METRICS, "autotune metrics"))
    return METRICS[name]
