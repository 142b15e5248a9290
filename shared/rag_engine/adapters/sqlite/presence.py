"""Which of the processes that use a data folder are alive, told by locks that die with them.

A process that works on documents holds a file in `workers/` locked. The operating system lets go of
the lock when the process ends, however it ends, so that what it was working on need not wait for
its lease to run out. Locks say nothing about processes on other hosts: theirs do have to wait.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import sys
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 5


class Presence:
    """The file of this process, and a look at those of others. Safe to use from several threads.

    Args:
        folder: Where the files are; it is created when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host = re.sub(r"[^A-Za-z0-9_-]", "-", platform.node())
        self._lock = threading.Lock()
        self._mine: tuple[Path, int] | None = None
        self._impossible = False

    def name(self) -> str | None:
        """Name of the file that this process holds locked from now on.

        `None` where files cannot be locked, as on some network drives: then leases run out.
        """
        with self._lock:
            if self._mine is None and not self._impossible:
                try:
                    self._mine = self._appear()
                except OSError as error:
                    self._impossible = True
                    logger.warning(
                        "no file in %r can be locked (%s): should this process be killed, its "
                        "documents wait until their leases run out",
                        str(self._folder),
                        error,
                    )
            return self._mine[0].name if self._mine else None

    def is_gone(self, name: str) -> bool:
        """Whether the process that held that file locked is known to have ended."""
        if name.rpartition(".")[0] != self._host:
            return False
        with self._lock:
            if self._mine is not None and self._mine[0].name == name:
                return False
            return self._remove_if_free(self._folder / name)

    def close(self) -> None:
        """Let go of the file: this process works on nothing any more."""
        with self._lock:
            if self._mine is not None:
                _remove(*self._mine)
                self._mine = None

    def _appear(self) -> tuple[Path, int]:
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in self._folder.glob(f"{self._host}.*"):
            self._remove_if_free(path)  # killed processes leave theirs behind
        for _ in range(_ATTEMPTS):
            path = self._folder / f"{self._host}.{uuid.uuid4().hex}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            # Somebody may have taken it for one that was left behind.
            if _locked(descriptor) and path.exists():
                return path, descriptor
            os.close(descriptor)
        raise OSError("a new file is locked by somebody else")

    def _remove_if_free(self, path: Path) -> bool:
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:  # it is another user's
            return False
        try:
            free = _locked(descriptor)
        except OSError:
            free = False
        if not free:
            os.close(descriptor)
            return False
        _remove(path, descriptor)
        return True


if sys.platform == "win32":
    import msvcrt

    def _locked(descriptor: int) -> bool:
        """Lock a file, unless somebody else has."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _remove(path: Path, descriptor: int) -> None:
        """Unlock and remove a file; Windows removes nothing that is open."""
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()

else:
    import fcntl

    def _locked(descriptor: int) -> bool:
        """Lock a file, unless somebody else has."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _remove(path: Path, descriptor: int) -> None:
        """Remove and unlock a file, in this order: nobody can lock it any more in between."""
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)
