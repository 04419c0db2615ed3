"""How many prompts are processed at once."""

from __future__ import annotations

from typing import Any

from autotune.params import Int, Params, Stage
from autotune.plugin import Plugin


class Batch(Plugin):
    """Process several prompts at once.

    Pays in throughput wherever one prompt leaves the device waiting for memory: on a GPU almost
    always, on a CPU until its cores are busy. It costs latency per prompt, and memory for one
    key-value cache per prompt.
    """

    name = "batch"
    params = {
        "size": Int(
            1, 64, default=1, log=True, stage=Stage.RUN, help="Prompts that are processed at once."
        )
    }

    def run_args(self, params: Params) -> dict[str, Any]:
        return {"batch_size": params["size"]}
