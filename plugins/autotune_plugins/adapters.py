"""Which requests for different LoRA adapters are processed at once."""

from __future__ import annotations

from typing import Any

from autotune.params import Choice, Params, Stage
from autotune.plugin import Plugin, Requires, Trait


class Adapters(Plugin):
    """Serve requests for several LoRA adapters in one batch.

    For workloads whose requests ask for one of several adapters (workload.traffic.adapters), which
    lie beside one model. switched puts only requests for the same adapter into a batch, and
    changes the model's adapter between batches: with many adapters batches are small, and those of
    the plugin batching that sorts collect more of each. mixed lets a batch hold any requests: the
    model's own weights are read once for all, and each row goes through its adapter besides. It
    pays where batches would be small, and costs a small product for each adapter in a batch.
    """

    name = "adapters"
    params = {
        "batching": Choice(
            *("switched", "mixed"),
            default="switched",
            stage=Stage.RUN,
            help="Which requests may share a batch: those for one adapter, or any.",
        )
    }
    requires = Requires(tasks=("causal-lm",), packages=("peft",), workload=(Trait.ADAPTERS,))

    def run_args(self, params: Params) -> dict[str, Any]:
        return {"adapters": params["batching"]}
