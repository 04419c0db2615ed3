"""Whole answers, kept for requests that come again."""

from __future__ import annotations

from typing import Any

from autotune.params import Choice, Params, Stage
from autotune.plugin import Plugin, Requires, Trait


class ResultCache(Plugin):
    """Keep the latest answers and give them again to requests that repeat.

    For workloads that state how many of their requests repeat (workload.traffic.repeat_ratio):
    what is saved is that share, as far as the answers are still kept, and nothing is saved
    elsewhere. Answers are greedy, so that the same request has the same one. The cache is empty
    when the traffic begins.
    """

    name = "result_cache"
    params = {
        "entries": Choice(
            *(0, 16, 256, 4096),
            default=0,
            stage=Stage.RUN,
            help="How many of the latest answers are kept.",
        )
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.REPEATS,))

    def run_args(self, params: Params) -> dict[str, Any]:
        return {"result_entries": params["entries"]}
