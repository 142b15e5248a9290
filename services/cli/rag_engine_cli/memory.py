"""How the process gets its memory from the system."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_ARENA_MAX: Final = -8  # <malloc.h>
_ARENAS: Final = 2


def share_heaps() -> None:
    """Let all threads use two heaps, where the C library is glibc.

    It gives each thread a heap of its own otherwise. What one thread frees another cannot use then,
    so that a process with twenty threads grows for days, without anything being lost. Python runs
    one thread at a time, which is why two are enough. See mallopt(3).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
