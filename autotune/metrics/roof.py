"""The catalogue's part on how far from the roof a trial runs: the device's rates, the work of a
pass, and the share of the rates that the work took."""

from __future__ import annotations

from autotune.metrics.kinds import DOWN, GENERATES, UP, Family, Metric

FORMATS = ("float32", "bfloat16", "float16", "float8", "int8")
"""Number formats whose rate of matrix products is measured."""


def matmul_rate_name(number_format: str) -> str:
    """The metric that holds the device's rate of products in one of ``FORMATS``."""
    return f"roof_{number_format}_flops_per_second"


_PASSES = (
    Metric(
        "prompt_flops",
        "FLOP",
        DOWN,
        Family.ROOF,
        "2*m*n*k of every matrix product of the prompt's pass (encoders: of the one forward), "
        "attention's two products over the whole square included, for all sequences of a request",
        "prompt work",
    ),
    Metric(
        "prompt_bytes",
        "B",
        DOWN,
        Family.ROOF,
        "what that pass must read: each weight held once, of embedding tables the rows that are "
        "looked up; activations are left out",
        "prompt reads",
    ),
    Metric(
        "decode_step_flops",
        "FLOP",
        DOWN,
        Family.ROOF,
        "as prompt_flops, of one decode step at the mean length",
        "step work",
        tasks=GENERATES,
    ),
    Metric(
        "decode_step_bytes",
        "B",
        DOWN,
        Family.ROOF,
        "as prompt_bytes, of one decode step, and the key-value cache at its mean length",
        "step reads",
        tasks=GENERATES,
    ),
)

_SHARES = (
    Metric(
        "model_flops_utilization",
        "ratio",
        UP,
        Family.ROOF,
        "prompt_flops / ttft_seconds (encoders: e2e_latency_seconds) / the device's rate of "
        "products in the format of most of the recipe's products",
        "MFU",
        "share of the device's measured computing rate that the prompt's pass uses",
    ),
    Metric(
        "prompt_bandwidth_utilization",
        "ratio",
        UP,
        Family.ROOF,
        "prompt_bytes / ttft_seconds (encoders: e2e_latency_seconds) / "
        "max(roof_copy_bytes_per_second, roof_read_bytes_per_second)",
        "prompt bandwidth",
        "share of the device's measured memory rate that the prompt's pass uses",
    ),
    Metric(
        "decode_flops_utilization",
        "ratio",
        UP,
        Family.ROOF,
        "decode_step_flops / tpot_seconds / the same rate as in model_flops_utilization",
        "decode MFU",
        "share of the device's measured computing rate that decoding uses",
        tasks=GENERATES,
    ),
    Metric(
        "bandwidth_utilization",
        "ratio",
        UP,
        Family.ROOF,
        "decode_step_bytes / tpot_seconds / "
        "max(roof_copy_bytes_per_second, roof_read_bytes_per_second); above 1 where what is read "
        "fits into a cache",
        "decode bandwidth",
        "share of the device's measured memory rate that decoding uses",
        tasks=GENERATES,
    ),
)

_RATES = (
    *(
        Metric(
            matmul_rate_name(number_format),
            "FLOP/s",
            UP,
            Family.ROOF,
            f"2*s**3 / fastest {number_format} product of two square matrices of side s, the "
            "second transposed as in a linear layer; best of several sizes and repetitions "
            "(baseline)",
            f"{number_format} matmul rate",
        )
        for number_format in FORMATS
    ),
    Metric(
        "roof_copy_bytes_per_second",
        "B/s",
        UP,
        Family.ROOF,
        "2*bytes / fastest copy of an array larger than the last-level cache, read and write "
        "counted as STREAM does (baseline)",
        "copy rate",
    ),
    Metric(
        "roof_read_bytes_per_second",
        "B/s",
        UP,
        Family.ROOF,
        "bytes / fastest sum of the same array (baseline)",
        "read rate",
    ),
    Metric(
        "roof_cache_bytes",
        "B",
        UP,
        Family.ROOF,
        "last-level cache of the CPUs that the process may use, or of the GPU (baseline)",
        "last-level cache",
    ),
)

ROOF_METRICS = (*_SHARES, *_PASSES, *_RATES)
