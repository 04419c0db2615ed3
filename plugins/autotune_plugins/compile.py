"""Compilation by torch.compile."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, ModelConfig, Phase, Plugin, Unsupported
from autotune_plugins._compiler import require_compiler

_MAX_GRAPHS = 64
"""Graphs of one model: a few for each batch size of a session, and some to spare."""


class Compile(Plugin):
    """Compile the model's forward pass with torch.compile.

    Fuses small operations and removes Python overhead: pays most for small models, small
    batches and quantized weights, and costs tens of seconds for each graph. static shapes
    compile once for each batch size and length, with a key-value cache of fixed size; dynamic
    ones once for all. reduce-overhead adds CUDA graphs; max-autotune tries many kernels and
    takes much longer to compile.
    """

    name = "compile"
    params = {
        "mode": Choice(
            *("off", "default", "reduce-overhead", "max-autotune"),
            default="off",
            stage=Stage.SETUP,
            help="The mode of torch.compile.",
        ),
        "shapes": Choice(
            *("dynamic", "static"),
            default="dynamic",
            stage=Stage.SETUP,
            when={"mode": ("default", "reduce-overhead", "max-autotune")},
            help="Whether one graph serves all lengths, or each gets its own.",
        ),
    }
    phase = Phase.COMPILE

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["mode"] == "reduce-overhead" and device.kind == "cpu":
            raise Unsupported("compile.mode=reduce-overhead is CUDA graphs, which need a GPU")
        require_compiler(device)

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        import torch
        from torch._dynamo import config

        # The default is 8, after which torch silently goes on without compiling.
        config.recompile_limit = _MAX_GRAPHS
        config.fail_on_recompile_limit_hit = True
        dynamic = params["shapes"] == "dynamic"
        model.forward = torch.compile(model.forward, mode=str(params["mode"]), dynamic=dynamic)
        return model

    def run_args(self, params: Params) -> dict[str, Any]:
        # CUDA graphs need tensors that stay where they are; max-autotune uses graphs as well.
        fixed = params["shapes"] == "static" or params["mode"] != "default"
        return {"cache": "static"} if fixed else {}

    def expects(self, params: Params) -> dict[str, str]:
        graphs = {} if params["mode"] == "default" else {"cuda_graphs": "on"}
        return {"compiled": "fullgraph"} | graphs
