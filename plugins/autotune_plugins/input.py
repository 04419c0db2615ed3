"""How requests that come as text get to the model."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Requires, Trait, Unsupported

_AHEAD = ("thread", "process")


class Input(Plugin):
    """Tokenize requests ahead of time, and copy their tokens from pinned memory.

    For workloads whose requests come as text (workload.traffic.as_text). inline tokenizes a
    request when it is taken, and the model waits for it. thread and process tokenize the next
    requests while the model computes: it pays where a core is free for it, with long prompts and
    small models; a process shares no interpreter lock with the model and takes memory of its own.
    The tokens are the same. pinned lets the copy of a prompt to the GPU run beside the host, for
    the time to bring it into pinned memory first.
    """

    name = "input"
    params = {
        "tokenize": Choice(
            *("inline", *_AHEAD),
            default="inline",
            stage=Stage.RUN,
            help="Who makes tokens of a request's text: whoever takes it, or another before that.",
        ),
        "depth": Choice(
            *(1, 4, 16),
            default=4,
            stage=Stage.RUN,
            when={"tokenize": _AHEAD},
            help="How many requests are tokenized ahead of those that are taken.",
        ),
        "transfer": Choice(
            *("direct", "pinned"),
            default="direct",
            stage=Stage.RUN,
            help="How a prompt's tokens get to the GPU: pinned does not wait for the copy.",
        ),
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.TEXT,))

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["transfer"] == "pinned" and device.kind != "cuda":
            raise Unsupported(
                f"pinned memory is for copies to a GPU, and this study runs on {device.kind}"
            )

    def run_args(self, params: Params) -> dict[str, Any]:
        given = {"tokenize": params["tokenize"], "transfer": params["transfer"]}
        if params["tokenize"] in _AHEAD:
            given["tokenize_ahead"] = params["depth"]
        return given
