"""Compilation by torch.compile."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, ModelConfig, Phase, Plugin, Unsupported
from autotune_plugins._compiler import require_compiler
from autotune_plugins._layers import find_layout, list_layers

_MAX_GRAPHS = 64
"""Graphs of one region: a few for each batch size of a session, and some to spare."""
_ON = ("default", "reduce-overhead", "max-autotune")


class Compile(Plugin):
    """Compile the model's forward pass with torch.compile.

    Fuses small operations and removes Python overhead: pays most for small models, small
    batches and quantized weights, and costs tens of seconds for each graph. static shapes
    compile once for each batch size and length, with a key-value cache of fixed size; dynamic
    ones once for all. reduce-overhead adds CUDA graphs; max-autotune tries many kernels and
    takes much longer to compile. region=layers compiles each layer by itself: deep models whose
    layers share one graph compile sooner, and what lies between the layers stays eager. tensorrt
    builds NVIDIA's engines in place of inductor's kernels, for fixed shapes.
    """

    name = "compile"
    params = {
        "mode": Choice(
            *("off", *_ON),
            default="off",
            stage=Stage.SETUP,
            help="The mode of torch.compile.",
        ),
        "shapes": Choice(
            *("dynamic", "static"),
            default="dynamic",
            stage=Stage.SETUP,
            when={"mode": _ON},
            help="Whether one graph serves all lengths, or each gets its own.",
        ),
        "region": Choice(
            *("model", "layers"),
            default="model",
            stage=Stage.SETUP,
            when={"mode": _ON},
            help="What becomes one graph: the whole forward pass, or each layer.",
        ),
        "backend": Choice(
            *("inductor", "tensorrt"),
            default="inductor",
            stage=Stage.SETUP,
            when={"mode": "default", "shapes": "static"},
            help="What turns a graph into machine code.",
        ),
    }
    phase = Phase.COMPILE

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["mode"] == "reduce-overhead" and device.kind == "cpu":
            raise Unsupported("compile.mode=reduce-overhead is CUDA graphs, which need a GPU")
        if params.get("region") == "layers":
            find_layout(model_config)
        if params.get("backend") == "tensorrt":
            _check_tensorrt(device)
        require_compiler(device)

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        import torch
        from torch._dynamo import config

        # The default is 8, after which torch silently goes on without compiling.
        regions = _regions(model, params)
        config.recompile_limit = _MAX_GRAPHS * len(regions)
        config.accumulated_recompile_limit = max(256, config.recompile_limit)
        config.fail_on_recompile_limit_hit = True
        how = _how(params)
        for region in regions:
            region.forward = torch.compile(region.forward, **how)
        return model

    def run_args(self, params: Params) -> dict[str, Any]:
        # CUDA graphs need tensors that stay where they are; max-autotune uses graphs as well.
        fixed = params["shapes"] == "static" or params["mode"] != "default"
        return {"cache": "static"} if fixed else {}

    def expects(self, params: Params) -> dict[str, str]:
        graphs = {} if params["mode"] == "default" else {"cuda_graphs": "on"}
        return {"compiled": "fullgraph"} | graphs


def _regions(model: Any, params: Params) -> list[Any]:
    """The modules whose forward passes are compiled; layers share their code, and its limit."""
    if params.get("region", "model") == "model":
        return [model]
    return list_layers(model, find_layout(model.config.to_dict()))


def _how(params: Params) -> dict[str, Any]:
    """Keyword arguments of ``torch.compile``."""
    if params.get("backend", "inductor") == "inductor":
        return {"mode": str(params["mode"]), "dynamic": params["shapes"] == "dynamic"}
    importlib.import_module("torch_tensorrt")  # it registers the backend
    # Otherwise an engine that cannot be built is left to torch with no more than a log line.
    options = {"pass_through_build_failures": True}
    return {"backend": "torch_tensorrt", "dynamic": False, "options": options}


def _check_tensorrt(device: Device) -> None:
    if device.kind != "cuda":
        raise Unsupported("compile.backend=tensorrt is for NVIDIA's GPUs: it needs one")
    if importlib.util.find_spec("torch_tensorrt") is None:
        raise Unsupported(
            "compile.backend=tensorrt needs the package torch_tensorrt: pip install torch-tensorrt"
        )
