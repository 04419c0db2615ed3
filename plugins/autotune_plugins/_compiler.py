"""Whether torch.compile can build CPU code here; no plugin."""

from __future__ import annotations

import os
import shutil

from autotune.device import Device
from autotune.plugin import Unsupported


def require_compiler(device: Device) -> None:
    """Refuses a CPU without the C++ compiler that torch.compile would call.

    Raises:
        Unsupported: There is none, and how to get one.
    """
    compiler = os.environ.get("CXX", "g++")
    if device.kind == "cpu" and shutil.which(compiler) is None:
        raise Unsupported(
            f"compiling for a CPU needs the C++ compiler {compiler!r}, which is not installed: "
            "install g++, or name another in the environment variable CXX"
        )
