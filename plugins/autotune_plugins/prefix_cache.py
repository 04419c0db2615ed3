"""Keys and values of prompts, kept for the prompts that come later."""

from __future__ import annotations

from typing import Any

from autotune.params import Choice, Params, Stage
from autotune.plugin import Plugin, Requires, Trait


class PrefixCache(Plugin):
    """Keep the keys and values of the latest prompts and compute only what is new of a prompt.

    For workloads whose prompts begin alike or repeat (workload.traffic): system prompts, chats
    that go on. It pays in time to first token the more, the longer what is shared, for the memory
    of the prompts that are kept; the tokens are the same. All caches are empty when the traffic
    begins, so that nothing is found in them but what the workload states.
    """

    name = "prefix_cache"
    params = {
        "entries": Choice(
            *(0, 1, 4, 16, 64),
            default=0,
            stage=Stage.RUN,
            help="How many of the latest prompts are kept.",
        )
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.SHARED_PREFIX, Trait.REPEATS))

    def run_args(self, params: Params) -> dict[str, Any]:
        return {"prefix_entries": params["entries"]}
