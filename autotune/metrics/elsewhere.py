"""Other tools that measure language models, and their words that mean something else than ours."""

from __future__ import annotations

from dataclasses import dataclass

VLLM, GUIDELLM, AIPERF, MLPERF = "vLLM", "guidellm", "aiperf", "MLPerf"

TOOLS = {
    VLLM: "`vllm bench serve`; also `median_…` and `p99_…`",
    GUIDELLM: "`guidellm benchmark`",
    AIPERF: "`aiperf profile`",
    MLPERF: "Inference",
}
"""Tool → where its names are found."""


@dataclass(frozen=True)
class FalseFriend:
    """A name of another tool that is easily taken for one of our metrics."""

    tool: str
    name: str
    formula: str
    ours: str
    """The metric that it is taken for."""
    difference: str


FALSE_FRIENDS = (
    FalseFriend(
        GUIDELLM,
        "time_per_output_token_ms",
        "(tn - t0)/n",
        "tpot_seconds",
        "includes the time to the first token",
    ),
    FalseFriend(
        VLLM,
        "mean_itl_ms",
        "mean of all gaps between chunks, of all requests in one pool",
        "tpot_seconds",
        "weighs long outputs more, and a chunk may hold several tokens",
    ),
    FalseFriend(
        VLLM,
        "total_token_throughput",
        "(prompt tokens + output tokens)/duration",
        "output_tokens_per_second",
        "counts prompt tokens",
    ),
)
