"""Which kernel computes attention."""

from __future__ import annotations

import importlib.util
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Unsupported
from autotune_plugins._capability import require_capability
from autotune_plugins._compiler import require_compiler


class Attention(Plugin):
    """Compute attention with another kernel than torch's scaled_dot_product_attention.

    flash_attention_2 pays on GPUs with long prompts and large batches. flex_attention is
    compiled on its first calls, tens of seconds each, and on a CPU slower than the default.
    eager writes the whole score matrix to memory: it wins only for short inputs, if ever, and
    shows what the fused kernels are worth.
    """

    name = "attention"
    params = {
        "kernel": Choice(
            *("sdpa", "eager", "flex_attention", "flash_attention_2"),
            default="sdpa",
            stage=Stage.SETUP,
            help="The attention implementation of transformers.",
        )
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["kernel"] == "flash_attention_2":
            _check_flash(device)
        if params["kernel"] == "flex_attention":
            _check_flex(device)

    def load_args(self, params: Params) -> dict[str, Any]:
        return {"attn_implementation": params["kernel"]}

    def expects(self, params: Params) -> dict[str, str]:
        return {"attention": str(params["kernel"])}


def _check_flash(device: Device) -> None:
    require_capability("flash_attention_2", device, (8, 0))
    if importlib.util.find_spec("flash_attn") is None:
        raise Unsupported("flash_attention_2 needs the package flash_attn: pip install flash-attn")


def _check_flex(device: Device) -> None:
    require_compiler(device)
    if device.kind == "cpu" and "avx2" not in device.cpu_flags:
        raise Unsupported(f"flex_attention needs AVX2 on a CPU, which {device.name} lacks")
