"""The floating-point format of the weights."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Estimate, ModelConfig, Plugin, Unsupported
from autotune_plugins._sizes import BITS, checkpoint_dtype


class Precision(Plugin):
    """Load the weights in another floating-point format than the checkpoint's.

    A narrower format halves the weights and the memory traffic at almost no loss. bfloat16 is
    fast on GPUs since compute capability 8.0 and on CPUs with AVX512-BF16 or AMX; other CPUs
    often compute slower in it than in float32, and in float16 nearly always.
    """

    name = "precision"
    params = {
        "dtype": Choice(
            "auto",
            "float32",
            "bfloat16",
            "float16",
            default="auto",
            stage=Stage.MODEL,
            help="Format of the loaded weights; auto keeps the checkpoint's own.",
        )
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        dtype = params["dtype"]
        if dtype == checkpoint_dtype(model_config):
            raise Unsupported(f"the checkpoint is already {dtype}: precision.dtype=auto does that")
        capability = device.compute_capability
        if dtype == "bfloat16" and capability is not None and capability < (8, 0):
            major, minor = capability
            raise Unsupported(
                f"bfloat16 needs CUDA compute capability 8.0; {device.name} has {major}.{minor}"
            )

    def load_args(self, params: Params) -> dict[str, Any]:
        return {"dtype": params["dtype"]}

    def expects(self, params: Params) -> dict[str, str]:
        return {"dtype": str(params["dtype"])}

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        own = checkpoint_dtype(model_config)
        factor = BITS[str(params["dtype"])] / BITS[own]
        return Estimate(weights_bytes=factor, memory_traffic=factor)
