"""Which kernel computes attention."""

from __future__ import annotations

import importlib.util
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, ModelConfig, Plugin, Unsupported
from autotune_plugins._capability import require_capability
from autotune_plugins._compiler import require_compiler

_ON_CPU = ("math", "flash")
_BACKENDS = (*_ON_CPU, "efficient", "cudnn")
"""As torch.backends.cuda names them."""
_FLASH = {
    "flash_attention_2": ("flash_attn", "flash-attn", (8, 0)),
    "flash_attention_3": ("flash_attn_interface", "flash-attn-3", (9, 0)),
}
"""transformers' name → module, package, and the least compute capability that it computes on."""


class Attention(Plugin):
    """Compute attention with another kernel than torch's scaled_dot_product_attention.

    flash_attention_2 and, on Hopper, 3 pay on GPUs with long prompts and large batches.
    flex_attention is compiled on its first calls, tens of seconds each, and on a CPU slower than
    the default.
    eager writes the whole score matrix to memory: it wins only for short inputs, if ever, and
    shows what the fused kernels are worth. sdpa itself chooses among torch's kernels; backend
    leaves it one of them.
    """

    name = "attention"
    params = {
        "kernel": Choice(
            *("sdpa", "eager", "flex_attention", *_FLASH),
            default="sdpa",
            stage=Stage.SETUP,
            help="The attention implementation of transformers.",
        ),
        "backend": Choice(
            *("auto", *_BACKENDS),
            default="auto",
            stage=Stage.SETUP,
            when={"kernel": "sdpa"},
            help="The kernel that scaled_dot_product_attention is left with.",
        ),
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["kernel"] in _FLASH:
            _check_flash(str(params["kernel"]), device)
        if params["kernel"] == "flex_attention":
            _check_flex(device)
        backend = params.get("backend", "auto")
        if backend not in ("auto", *_ON_CPU) and device.kind == "cpu":
            raise Unsupported(
                f"the {backend} backend of scaled_dot_product_attention is for GPUs; a CPU has "
                f"{' and '.join(_ON_CPU)}"
            )

    def load_args(self, params: Params) -> dict[str, Any]:
        return {"attn_implementation": params["kernel"]}

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        backend = params.get("backend", "auto")
        if backend != "auto":
            _leave_only(str(backend))
            _try(str(backend), model)
        return model

    def expects(self, params: Params) -> dict[str, str]:
        backend = str(params.get("backend", "auto"))
        only = {} if backend == "auto" else {"sdpa": backend}
        return {"attention": str(params["kernel"])} | only


def _leave_only(backend: str) -> None:
    """For the whole process, which measures nothing else; the switches count on a CPU, too."""
    from torch.backends import cuda

    switches = {
        "math": cuda.enable_math_sdp,
        "flash": cuda.enable_flash_sdp,
        "efficient": cuda.enable_mem_efficient_sdp,
        "cudnn": cuda.enable_cudnn_sdp,
    }
    for name, switch in switches.items():
        switch(name == backend)


def _try(backend: str, model: Any) -> None:
    """Attention of the model's own heads, on its device.

    Raises:
        Unsupported: The backend cannot compute it.
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    text = model.config.get_text_config()
    heads = text.num_attention_heads
    fewer = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    query = torch.zeros(1, heads, 8, size, dtype=model.dtype, device=model.device)
    keys = query[:, :fewer]
    try:  # a prompt, and the token after it
        scaled_dot_product_attention(query, keys, keys, is_causal=True, enable_gqa=True)
        scaled_dot_product_attention(query[:, :, :1], keys, keys, enable_gqa=True)
    except RuntimeError as error:
        raise Unsupported(
            f"the {backend} backend of scaled_dot_product_attention cannot compute heads of "
            f"{size} numbers in {model.dtype} here: {error}"
        ) from error


def _check_flash(kernel: str, device: Device) -> None:
    module, package, capability = _FLASH[kernel]
    require_capability(kernel, device, capability)
    if importlib.util.find_spec(module) is None:
        raise Unsupported(f"{kernel} needs the package {module}: pip install {package}")


def _check_flex(device: Device) -> None:
    require_compiler(device)
    if device.kind == "cpu" and "avx2" not in device.cpu_flags:
        raise Unsupported(f"flex_attention needs AVX2 on a CPU, which {device.name} lacks")
