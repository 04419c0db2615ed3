"""Power limits, clocks and governors: set while a recipe's own work runs, restored whatever
happens."""

from autotune.power.hold import PowerHold
from autotune.power.journal import restore_leftovers

__all__ = ["PowerHold", "restore_leftovers"]
