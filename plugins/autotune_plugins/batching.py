"""Which requests of different lengths are processed at once."""

from __future__ import annotations

from typing import Any

from autotune.params import Choice, Params, Stage
from autotune.plugin import Plugin, Requires, Trait

_POLICIES = ("sorted", "continuous", "packed")


class Batching(Plugin):
    """Put requests of different lengths into batches by another rule than the order of arrival.

    For workloads whose requests differ in length (workload.traffic); their batches in the order
    of arrival, padded to the longest prompt and held until the longest answer is done, are those
    of the plugin batch. sorted looks at several batches' worth of requests and puts prompts of
    about the same length together: less padding, for the time that requests wait to be sorted.
    continuous fills a row again as soon as its answer is done: it pays where answers differ in
    length, and costs a pass of its own for each prompt or few. packed computes the prompts of a
    batch one after another in a single row, each seeing only itself: no token is padding, which
    pays for short prompts; sdpa computes attention over the whole row all the same,
    flash_attention_2 does not.
    """

    name = "batching"
    params = {
        "policy": Choice(
            *("arrival", *_POLICIES),
            default="arrival",
            stage=Stage.RUN,
            help="Which requests are processed together.",
        ),
        "size": Choice(
            *(2, 4, 8, 16, 32, 64),
            default=8,
            stage=Stage.RUN,
            when={"policy": _POLICIES},
            help="Requests that are processed at once.",
        ),
        "window": Choice(
            *(2, 4, 8),
            default=4,
            stage=Stage.RUN,
            when={"policy": "sorted"},
            help="How many batches' worth of requests are sorted at a time.",
        ),
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.MIXED_LENGTHS,))
    conflicts = ("batch",)

    def run_args(self, params: Params) -> dict[str, Any]:
        given = {"batching": params["policy"], "batch_size": params["size"]}
        if params["policy"] == "sorted":
            given["batching_window"] = params["window"]
        return given
