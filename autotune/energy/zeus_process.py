"""Reads zeus' CPU counters for another process: ``python -m autotune.energy.zeus_process``.

Importing zeus takes a second and 160 MB, and it starts processes that watch for wrap-around: all
that stays out of the process whose memory and speed are measured, and goes with this one. The
first line on standard output is empty, or says why there is no counter; then each line on standard
input is answered by the counter in joules.
"""

from __future__ import annotations

import sys
from typing import Any


def _cpus() -> Any:
    """zeus' manager of CPU counters.

    Raises:
        Exception: zeus finds none that it can read.
    """
    from zeus.device import get_cpus

    cpus = get_cpus()
    if not len(cpus):
        raise LookupError("no CPU package is listed")
    return cpus


def joules(cpus: Any) -> float:
    """All packages together, without memory, as our own counter counts."""
    counted = (cpus.get_total_energy_consumption(i).cpu_mj for i in range(len(cpus)))
    return float(sum(counted)) / 1e3


def main() -> None:
    """Answers until the input ends."""
    try:
        cpus = _cpus()
        joules(cpus)
    except Exception as error:
        print(" ".join(f"{type(error).__name__}: {error}".split()), flush=True)
        return
    print(flush=True)
    for _ in sys.stdin:
        print(joules(cpus), flush=True)


if __name__ == "__main__":
    main()
