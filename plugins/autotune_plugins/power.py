"""How much power the device may take, and how fast it may run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Unsupported

_CPUS = Path("/sys/devices/system/cpu")


class Power(Plugin):
    """Limit the GPU's power or clocks, or choose the CPU's governor, while the recipe runs.

    Decoding waits for memory, so that a lower limit or clock often saves more energy than it costs
    time. It changes the machine for everybody on it: only with --allow-power-changes, as root, and
    what was set before is restored, after a crash too.
    """

    name = "power"
    # One at a time: of a limit and a clock only the lower one is felt.
    params = {
        "cpu_governor": Choice(
            *("none", "performance", "schedutil", "powersave"),
            default="none",
            stage=Stage.SETUP,
            help="On a CPU: what sets its frequency; none leaves it as it is.",
        ),
        "gpu_limit_ratio": Choice(
            *(1.0, 0.9, 0.8, 0.7, 0.6),
            default=1.0,
            stage=Stage.SETUP,
            when={"cpu_governor": "none"},
            help="On a GPU: power limit over the board's default limit; 1.0 leaves it as it is.",
        ),
        "gpu_clock_ratio": Choice(
            *(1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
            default=1.0,
            stage=Stage.SETUP,
            when={"cpu_governor": "none", "gpu_limit_ratio": 1.0},
            help="On a GPU: locked SM clock over the highest; 1.0 leaves it to the driver.",
        ),
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        for name, value in params.items():
            kind = "cuda" if name.startswith("gpu_") else "cpu"
            if value != self.params[name].default and device.kind != kind:
                raise Unsupported(
                    f"{name} is for models on a {kind} device; this is {device.name}"
                )
        if params["cpu_governor"] != "none":
            _require_governor(str(params["cpu_governor"]))

    def device_settings(self, params: Params) -> dict[str, Any]:
        return {n: v for n, v in params.items() if v != self.params[n].default}


def _require_governor(governor: str) -> None:
    files = sorted(_CPUS.glob("cpu[0-9]*/cpufreq/scaling_available_governors"))
    if not files:
        raise Unsupported("the kernel shows no CPU frequency governor here (no cpufreq in /sys)")
    allowed = files[0].read_text(encoding="ascii").split()
    if governor not in allowed:
        raise Unsupported(f"no governor {governor!r} here: the kernel has {' '.join(allowed)}")
