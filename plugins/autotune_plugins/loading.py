"""How the checkpoint's weights come into memory."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Unsupported


class Loading(Plugin):
    """Leave the weights in the mapped checkpoint, or read them with more or fewer threads.

    Mapped weights come page by page when they are first computed with: the model is there at
    once, its first request pays, and processes that serve the same file share its pages. More
    threads pay for cold files on disks that answer many at once, or on a network; fewer on
    spinning disks.
    """

    name = "loading"
    params = {
        "weights": Choice(
            *("copied", "mapped"),
            default="copied",
            stage=Stage.SETUP,
            help="On a CPU: whether weights are copied from the checkpoint or stay views of it.",
        ),
        "workers": Choice(
            *(0, 1, 2, 8, 16),
            default=0,
            stage=Stage.SETUP,
            when={"weights": "copied"},
            help="Threads that read and convert weights; 0 leaves it to transformers and torch.",
        ),
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["weights"] == "mapped" and device.kind != "cpu":
            raise Unsupported(f"mapped weights stay in the host's memory; this is {device.name}")

    def load_args(self, params: Params) -> dict[str, Any]:
        if params["weights"] == "mapped":
            return {"mapped_weights": True}
        return {"load_threads": params["workers"]}
