"""How many CPU threads one operation uses, and where they run."""

from __future__ import annotations

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Requires, Unsupported


class Threads(Plugin):
    """Compute each operation with fewer CPU threads than there are cores, or bind them to cores.

    Fewer threads pay where they wait for each other more than they compute: small models, batch
    size 1, two threads of one physical core. Large models want all cores, which is the default.
    Bound threads keep their caches, and where memory is divided (NUMA) their share of it: close
    fills one core after the other, spread leaves as much room between them as there is.
    """

    name = "threads"
    params = {
        "intra_op": Choice(
            *(0, 1, 2, 4, 8, 16, 32, 64),
            default=0,
            stage=Stage.SETUP,
            help="Threads within one operation; 0 leaves it to the framework: all cores.",
        ),
        "binding": Choice(
            *("none", "close", "spread"),
            default="none",
            stage=Stage.SETUP,
            help="Whether each thread stays on a core of its own, and on which.",
        ),
    }
    requires = Requires(device="cpu")

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        threads = int(params["intra_op"])
        if params["binding"] == "spread" and threads == 0:
            raise Unsupported("a thread on every core leaves no room to spread: binding=close")
        if threads == 0:
            return
        if threads == device.cores:
            raise Unsupported(f"{threads} threads is the default: one for each core")
        if threads > device.cores:
            raise Unsupported(f"{threads} threads are more than the {device.cores} cores here")

    def env(self, params: Params) -> dict[str, str]:
        threads, binding = str(params["intra_op"]), str(params["binding"])
        count = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        places = {"OMP_PROC_BIND": binding, "OMP_PLACES": "cores"}
        return (count if threads != "0" else {}) | (places if binding != "none" else {})
