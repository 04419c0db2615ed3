"""Weights in 2 to 8 bits."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import (
    Context,
    Estimate,
    ModelConfig,
    Phase,
    Plugin,
    Requires,
    Unsupported,
)
from autotune_plugins._capability import require_capability
from autotune_plugins._intx import pack_linears
from autotune_plugins._sizes import BITS, checkpoint_dtype, shares
from autotune_plugins._torchao import quiet_torchao

if TYPE_CHECKING:
    from torch import nn


_PACKED = ("intx", "intx_mixed")
"""Schemes of our own: torchao has a byte for each weight of fewer than 4 bits."""


class Quantize(Plugin):
    """Store the weights of the linear layers in 2 to 8 bits.

    Weight-only schemes pay where reading the weights is the bottleneck: decoding at small
    batches. int8_weight_only loses next to nothing and becomes fast together with compile.
    int8_dynamic also computes in int8: for prefill and large batches, with compile. The int4
    kernels want bfloat16 weights; smaller groups lose less and store more. float8 needs a GPU
    of compute capability 8.9. These are torchao's. intx packs any number of bits, in any format
    of the other weights, and unpacks them on each call: small rather than fast, but for 4 bits
    in bfloat16 on a CPU, which take torch's kernel. intx_mixed gives each linear 2, 3, 4 or 8
    bits by how much the outputs suffer. gptq loses less than rounding to the nearest. The
    output head and embeddings stay as they are: see embedding.
    """

    name = "quantize"
    params = {
        "scheme": Choice(
            *("none", "int8_weight_only", "int8_dynamic", "int4_weight_only"),
            *("float8_weight_only", "float8_dynamic", "intx", "intx_mixed"),
            default="none",
            stage=Stage.MODEL,
            help="Format of the weights, and whether activations are quantized as well.",
        ),
        "weight_bits": Choice(
            *(8, 4, 3, 2),
            default=4,
            stage=Stage.MODEL,
            when={"scheme": "intx"},
            help="Bits of each weight, without its part of the scales.",
        ),
        "target_bits": Choice(
            *(3, 4, 6),
            default=4,
            stage=Stage.MODEL,
            when={"scheme": "intx_mixed"},
            help="Bits per weight that the linears together do not exceed, without scales.",
        ),
        "group_size": Choice(
            *(32, 64, 128),
            default=64,
            stage=Stage.MODEL,
            when={"scheme": ("int4_weight_only", *_PACKED)},
            help="How many weights share one scale.",
        ),
        "symmetric": Choice(
            *(False, True),
            default=False,
            stage=Stage.MODEL,
            when={"scheme": "intx"},
            help="Whether zero is the middle of every group's range, rather than stored with it.",
        ),
        "rounding": Choice(
            *("nearest", "gptq"),
            default="nearest",
            stage=Stage.MODEL,
            when={"scheme": _PACKED},
            help="Each weight by itself, or by the layer's outputs on calibration text.",
        ),
        "activations": Choice(
            *("keep", "int8"),
            default="keep",
            stage=Stage.MODEL,
            when={"scheme": "intx", "weight_bits": (8, 4)},
            help="Whether each token's activations are quantized and multiplied in int8.",
        ),
    }
    requires = Requires(packages=("torchao",))
    phase = Phase.WEIGHTS

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        scheme = str(params["scheme"])
        if scheme.startswith("float8"):
            require_capability(scheme, device, (8, 9))
        if scheme == "int4_weight_only" and device.kind == "cuda":
            require_capability(scheme, device, (8, 0))
        if params.get("activations") == "int8" and device.kind != "cpu":
            raise Unsupported("activations=int8 with intx is for CPUs: elsewhere int8_dynamic")

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        if params["scheme"] in _PACKED:
            linears = pack_linears(model, _linears(model), params, context)
            _verify(set(linears), context)
            return model
        chosen = _choose(model, params, context)
        with quiet_torchao():
            from torchao.quantization import quantize_

            quantize_(model, _config(params, context.device), lambda module, _: module in chosen)
        _verify(chosen, context)
        return model

    def expects(self, params: Params) -> dict[str, str]:
        scheme = str(params["scheme"])
        if scheme == "intx":
            asked = {"quantized": f"int{params['weight_bits']}"}
            return asked | ({"matmul": "int8"} if params.get("activations") == "int8" else {})
        width, _, kind = scheme.partition("_")
        matmul = {"matmul": width} if kind == "dynamic" else {}
        return {"quantized": scheme} | matmul

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        share = shares(model_config)
        if share is None:
            return Estimate()
        narrower = _bits(params) / BITS[checkpoint_dtype(model_config)]
        factor = 1 - share.linear * (1 - narrower)
        return Estimate(weights_bytes=factor, memory_traffic=factor)


def _choose(model: Any, params: Params, context: Context) -> set[nn.Linear]:
    """Picks the linears to quantize."""
    linears = _linears(model)
    if params["scheme"] == "int4_weight_only":
        linears = _fit_for_int4(linears, int(params["group_size"]), context)
    if not linears:
        raise Unsupported(f"{type(model).__name__} has no linear layer fit for {params['scheme']}")
    return set(linears)


def _linears(model: Any) -> list[nn.Linear]:
    """Every linear but the output head and whatever shares its weight with the embedding."""
    from torch import nn

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and module.weight is not embedding.weight
    ]


def _fit_for_int4(linears: list[nn.Linear], group: int, context: Context) -> list[nn.Linear]:
    import torch

    dtypes = {linear.weight.dtype for linear in linears}
    if dtypes - {torch.bfloat16}:
        raise Unsupported("the int4 kernels need bfloat16 weights: set precision.dtype=bfloat16")
    fit = [linear for linear in linears if linear.in_features % group == 0]
    if len(fit) < len(linears):
        context.notes.append(
            f"{len(linears) - len(fit)} of {len(linears)} linears stay in bfloat16: "
            f"their inputs are not divisible by the group of {group}"
        )
    return fit


def _config(params: Params, device: Device) -> Any:
    from torchao import quantization

    match params["scheme"]:
        case "int8_weight_only":
            return quantization.Int8WeightOnlyConfig()
        case "int8_dynamic":
            return quantization.Int8DynamicActivationInt8WeightConfig()
        case "float8_weight_only":
            return quantization.Float8WeightOnlyConfig()
        case "float8_dynamic":
            return quantization.Float8DynamicActivationFloat8WeightConfig()
    return _int4_config(int(params["group_size"]), device)


def _int4_config(group_size: int, device: Device) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig

    if device.kind == "cpu":
        return _int4_cpu_config(group_size)
    hopper = device.compute_capability is not None and device.compute_capability >= (9, 0)
    # torchao's default format computes with mslk, which has kernels for Hopper and newer; the
    # tile-packed one with torch's own tinygemm.
    if hopper and importlib.util.find_spec("mslk"):
        return Int4WeightOnlyConfig(group_size=group_size)
    return Int4WeightOnlyConfig(group_size=group_size, int4_packing_format="tile_packed_to_4d")


def _int4_cpu_config(group_size: int) -> Any:
    try:
        # A prototype as of torchao 0.18; no other int4 format has a CPU kernel.
        from torchao.prototype.quantization.int4.inference_workflow import (
            PrototypeInt4WeightOnlyConfig,
        )
    except ImportError as error:
        raise Unsupported("this version of torchao has no int4 kernel for CPUs") from error
    return PrototypeInt4WeightOnlyConfig(group_size=group_size)


def _verify(chosen: set[nn.Linear], context: Context) -> None:
    """Holds torchao to it: it skips what it cannot quantize with no more than a log line."""
    from torchao.utils import TorchAOBaseTensor

    done = sum(isinstance(linear.weight, TorchAOBaseTensor) for linear in chosen)
    if done == 0:
        raise Unsupported("torchao left every weight as it was")
    if done < len(chosen):
        context.notes.append(f"torchao quantized {done} of {len(chosen)} linears")


def _bits(params: Params) -> float:
    """Bits per weight. A group of int4 weights shares two bfloat16 numbers, scale and zero; one
    of packed weights a bfloat16 scale and, unless symmetric, a byte."""
    group = float(params.get("group_size", 0))
    match params["scheme"]:
        case "int4_weight_only":
            return 4 + 2 * 16 / group
        case "intx":
            return int(params["weight_bits"]) + (16 if params["symmetric"] else 24) / group
        case "intx_mixed":
            return int(params["target_bits"]) + 24 / group
    return 8
