"""How many CPU threads one operation uses, and where they run."""

from __future__ import annotations

from pathlib import Path

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Requires, Unsupported

_NODES = Path("/sys/devices/system/node")


class Threads(Plugin):
    """Compute each operation with fewer CPU threads than there are cores, or bind them to cores.

    Fewer threads pay where they wait for each other more than they compute: small models, batch
    size 1, two threads of one physical core. Large models want all cores, which is the default.
    Bound threads keep their caches, and where memory is divided (NUMA) their share of it: close
    fills one core after the other, spread leaves as much room between them as there is. numa=one
    computes on the cores of the first NUMA node only, whose memory is then near to all threads.
    torch starts no two operations of a forward pass at once: there are no inter-op threads to set.
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
        "numa": Choice(
            *("all", "one"),
            default="all",
            stage=Stage.SETUP,
            when={"binding": "none"},
            help="Whether the threads run on all NUMA nodes, or are bound to one.",
        ),
    }
    requires = Requires(device="cpu")

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        threads = int(params["intra_op"])
        if params.get("numa", "all") == "one":
            _check_nodes(threads)
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
        if params.get("numa", "all") == "one":
            cores = _cores_of_first_node()
            places = {"OMP_PROC_BIND": "close", "OMP_PLACES": _places(cores)}
            all_of_it = str(len(cores))
            count = {"OMP_NUM_THREADS": all_of_it, "MKL_NUM_THREADS": all_of_it} | (
                count if threads != "0" else {}
            )
            return count | places
        return (count if threads != "0" else {}) | (places if binding != "none" else {})


def _check_nodes(threads: int) -> None:
    nodes = len(list(_NODES.glob("node[0-9]*")))
    if nodes < 2:
        raise Unsupported("all memory is equally near here: there is no second NUMA node")
    cores = len(_cores_of_first_node())
    if threads > cores:
        raise Unsupported(f"{threads} threads are more than the {cores} cores of one NUMA node")


def _cores_of_first_node() -> list[int]:
    """The kernel writes them as ``0-3,8-11``."""
    cores: list[int] = []
    for part in (_NODES / "node0" / "cpulist").read_text(encoding="ascii").strip().split(","):
        first, _, last = part.partition("-")
        cores += range(int(first), int(last or first) + 1)
    return cores


def _places(cores: list[int]) -> str:
    """As OMP_PLACES wants them: a place for each."""
    return ",".join(f"{{{core}}}" for core in cores)
