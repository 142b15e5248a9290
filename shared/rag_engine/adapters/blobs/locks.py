"""Locks between processes, held on a file of their own; a process that dies lets go of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Kind = Literal["shared", "exclusive"]


@contextmanager
def locked(path: Path, kind: Kind, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock for the time of the context, and say whether it is held.

    Args:
        path: The file that is locked; it is created, and stays.
        kind: `shared` with those who want it shared too. Windows knows exclusive ones only.
        wait: Until the lock is free; else it is held at once or not at all.

    Raises:
        OSError: The file cannot be opened.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        held = _take(handle, kind, wait=wait)
        try:
            yield held
        finally:
            if held:
                _release(handle)
    finally:
        os.close(handle)


if sys.platform == "win32":  # pragma: no cover - of the two ways one runs here
    import errno
    import msvcrt
    import time

    def _take(handle: int, kind: Kind, *, wait: bool) -> bool:
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EDEADLK):
                    raise
            else:
                return True
            if not wait:
                return False
            time.sleep(0.05)

    def _release(handle: int) -> None:
        os.lseek(handle, 0, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(handle: int, kind: Kind, *, wait: bool) -> bool:
        how = fcntl.LOCK_SH if kind == "shared" else fcntl.LOCK_EX
        try:
            fcntl.flock(handle, how if wait else how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)
