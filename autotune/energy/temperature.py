"""How warm a device is."""

from __future__ import annotations

import psutil

from autotune.device import Device, nvml

SENSOR = {"cpu": "hwmon", "cuda": "nvml"}
"""What is read for each kind of device."""

_CPU_SENSORS = ("coretemp", "k10temp", "zenpower")


def temperature_celsius(device: Device) -> float | None:
    """The GPU's core or the hottest sensor of the CPU, in degrees Celsius.

    Returns:
        None where no sensor is readable, as in most virtual machines.
    """
    return _gpu(device.uuid) if device.kind == "cuda" else _cpu()


def _gpu(uuid: str) -> float | None:
    with nvml() as library:
        if library is None:
            return None
        try:
            handle = library.nvmlDeviceGetHandleByUUID(uuid)
            return float(library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU))
        except library.NVMLError:
            return None


def _cpu() -> float | None:
    found = psutil.sensors_temperatures()
    values = [sensor.current for name in _CPU_SENSORS for sensor in found.get(name, [])]
    return max(values, default=None)
