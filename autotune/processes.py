"""What a child process asks of the kernel."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> bool:
    """Has the kernel kill this process when its parent's thread ends, however it ends.

    Args:
        parent: The parent's process id.

    Returns:
        False if the parent is gone already: the kernel says nothing any more.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent
