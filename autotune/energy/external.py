"""Energy meters that other distributions bring: a wall plug, a server's management controller."""

from __future__ import annotations

from importlib import metadata

from autotune.device import Device
from autotune.energy.base import EnergyMeter
from autotune.errors import InputError

GROUP = "autotune.energy"
"""Entry points of this group name a function that takes the ``Device`` and returns an
``EnergyMeter``, or a sentence that says why it cannot measure that device."""

_SOURCE = "measured:external:"


def find_external(device: Device) -> EnergyMeter | str:
    """The first installed meter, by name, that can measure a device.

    Returns:
        The meter, or why those that are installed cannot; empty where none is.

    Raises:
        InputError: One of them cannot be loaded, or does not keep the contract.
    """
    reasons = []
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        found = _made(entry, device)
        if isinstance(found, EnergyMeter):
            return found
        reasons.append(f"{entry.name}: {found}")
    return "; ".join(reasons)


def _made(entry: metadata.EntryPoint, device: Device) -> EnergyMeter | str:
    where = f"the energy meter {entry.name!r} ({entry.value})"
    try:
        found = entry.load()(device)
    except Exception as error:
        raise InputError(f"{where} cannot be made: {type(error).__name__}: {error}") from error
    if isinstance(found, str):
        return found
    if not isinstance(found, EnergyMeter):
        raise InputError(f"{where} must return an EnergyMeter or a sentence, not {found!r}")
    if not found.source.startswith(_SOURCE):
        raise InputError(f"{where} has the source {found.source!r}; it must begin with {_SOURCE}")
    return found
