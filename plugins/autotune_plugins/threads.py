"""How many CPU threads one operation uses."""

from __future__ import annotations

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Requires, Unsupported


class Threads(Plugin):
    """Compute each operation with fewer CPU threads than there are cores.

    Pays where threads wait for each other more than they compute: small models, batch size 1,
    two threads of one physical core. Large models want all cores, which is the default.
    """

    name = "threads"
    params = {
        "intra_op": Choice(
            *(0, 1, 2, 4, 8, 16, 32, 64),
            default=0,
            stage=Stage.SETUP,
            help="Threads within one operation; 0 leaves it to the framework: all cores.",
        )
    }
    requires = Requires(device="cpu")

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        threads = int(params["intra_op"])
        if threads == device.cores:
            raise Unsupported(f"{threads} threads is the default: one for each core")
        if threads > device.cores:
            raise Unsupported(f"{threads} threads are more than the {device.cores} cores here")

    def env(self, params: Params) -> dict[str, str]:
        threads = str(params["intra_op"])
        return {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
