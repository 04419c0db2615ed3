"""What a user allows a study to do besides reading data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Trust(BaseModel):
    """What a study may do besides reading data: the files of its model, and its plugins to the
    machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trust_remote_code: bool = False
    """The repository's own Python may run."""
    allow_pickle: bool = False
    """Weights may be pickled: torch's restricted reader loads them."""
    allow_power_changes: bool = False
    """Power limits, clocks and governors of the device may be set while a trial runs."""

    def why_not(self, allowed: Trust) -> str:
        """Why a worker does not measure for such a study; empty if it does.

        Args:
            allowed: What the worker was started with.
        """
        mine, theirs = self.model_dump(), allowed.model_dump()
        lacking = [f"--{k.replace('_', '-')}" for k in mine if mine[k] and not theirs[k]]
        return f"does not allow {', '.join(lacking)}; start it with the same" if lacking else ""


DATA_ONLY = Trust()
"""Files are read, nothing of them runs, and the machine stays as it is."""
