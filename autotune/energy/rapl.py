"""Running Average Power Limit: the counters of CPU packages in the Linux powercap files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from autotune.energy.base import Counter, Reading

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class RaplCounter(Counter):
    """The sum over packages."""

    zones: tuple[Path, ...]
    source: str = "measured:counter:rapl"

    def now(self) -> Reading:
        """Each package's counter."""
        return tuple(_joules(zone / "energy_uj") for zone in self.zones)

    def joules_since(self, start: Reading) -> float:
        """Energy of all packages; each counter may have started over once."""
        used = 0.0
        for zone, before, after in zip(self.zones, start, self.now(), strict=True):
            wrapped = _joules(zone / "max_energy_range_uj") if after < before else 0.0
            used += after - before + wrapped
        return used


def _joules(file: Path) -> float:
    return int(file.read_text(encoding="ascii")) / 1e6


def find_rapl(powercap: Path) -> RaplCounter | str:
    """The counter of this machine's packages, or why there is none."""
    packages = tuple(zone for zone in sorted(powercap.glob("intel-rapl:*")) if _is_package(zone))
    if not packages:
        return f"no RAPL counter in {powercap} (a virtual machine, or a CPU without RAPL)"
    counter = RaplCounter(packages)
    try:
        counter.joules_since(tuple(math.inf for _ in packages))  # reads the ranges too
    except PermissionError:
        return f"{packages[0]}/energy_uj is not readable by this user; as root: chmod a+r it"
    except (OSError, ValueError) as error:
        return f"the RAPL counter in {packages[0]} gives no number: {error}"
    return counter


def _is_package(zone: Path) -> bool:
    """Whether a zone is a CPU package; others are parts of one, or (psys) hold them all."""
    name = zone / "name"
    return (
        zone.name.count(":") == 1
        and (zone / "energy_uj").exists()
        and name.is_file()
        and name.read_text(encoding="ascii").startswith("package")
    )
