"""What a study's trials run on: this machine's device, or that of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.device import Device, detect
from autotune.energy import CpuTimeEstimate, energy_source
from autotune.environment import ENERGY_SOURCE, NO_ENERGY, describe_environment
from autotune.execute.fleet.messages import WorkerCard
from autotune.power import restore_leftovers


@dataclass(frozen=True)
class Target:
    """A device, with what decides there which numbers can be had, and compared."""

    device: Device
    environment: dict[str, str]
    """See ``autotune.environment``; it says what measures energy there."""
    why_no_energy: str
    """Empty where something measures it."""

    @classmethod
    def here(cls, wanted: str) -> Target:
        """This machine.

        Args:
            wanted: As for ``detect``.

        Raises:
            InputError: It has no such device, or a broken energy meter.
        """
        device = detect(wanted)
        restore_leftovers()  # a dead run's settings are not this machine's
        return cls(device, describe_environment(device), energy_source(device)[1])

    @classmethod
    def of(cls, cards: Sequence[WorkerCard]) -> Target:
        """That of workers.

        Args:
            cards: One or more, of one queue.
        """
        first = cards[0]
        # A trial of several GPUs goes where there are enough.
        device = max((card.device for card in cards), key=lambda device: device.count)
        return cls(device, first.environment, first.why_no_energy)

    def energy(self, watts_per_core: float | None) -> tuple[str, str]:
        """What tells energy.

        Args:
            watts_per_core: What a busy CPU core takes, by the user's word.

        Returns:
            The source and no reason, or no source and the reason why there is none.
        """
        measured = self.environment[ENERGY_SOURCE]
        if measured != NO_ENERGY:
            return measured, ""
        if self.device.kind != "cpu" or watts_per_core is None:
            return "", self.why_no_energy
        return CpuTimeEstimate.source, ""
