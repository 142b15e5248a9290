"""Small disks, and read-only ones: file systems mounted for one test."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 1 << 12


def _mount(*words: str | Path) -> None:
    """Run `mount` or `umount`; where that takes another user, as one who may without being asked."""
    sudo = ["sudo", "-n"] if os.geteuid() else []
    subprocess.run([*sudo, *words], check=True, capture_output=True, text=True, timeout=30)


@contextmanager
def disk(folder: Path, megabytes: float) -> Iterator[Disk]:
    """Mount a disk of its own for the time of the context, or skip the test.

    Args:
        folder: Where; it is made.
        megabytes: Its size.
    """
    folder.mkdir(parents=True)
    size = f"size={int(megabytes * 1024)}k,uid={os.geteuid()},gid={os.getegid()},mode=755"
    try:
        _mount("mount", "-t", "tmpfs", "-o", size, "rag-engine", folder)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no disk can be mounted here: {getattr(error, 'stderr', None) or error}")
    try:
        yield Disk(folder)
    finally:
        _mount("umount", "--lazy", folder)


class Disk:
    """A mounted disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, *, leaving: int = 0) -> None:
        """Fill it up, but for so many bytes."""
        with self._filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(_BLOCK))
        if leaving:
            os.truncate(self._filler, max(0, self._filler.stat().st_size - leaving))

    def free(self) -> None:
        """Take away what filled it up."""
        self._filler.unlink(missing_ok=True)

    @property
    def left(self) -> int:
        """Bytes that can still be written."""
        return shutil.disk_usage(self.folder).free

    def forbid_writing(self) -> None:
        """Make it read-only, for root too. Nobody may have a file open for writing."""
        _mount("mount", "-o", "remount,ro", self.folder)

    def allow_writing(self) -> None:
        """Make it writable again."""
        _mount("mount", "-o", "remount,rw", self.folder)


@contextmanager
def read_only_view(of: Path, at: Path) -> Iterator[Path]:
    """Mount a folder a second time, read-only, while it stays writable where it was."""
    at.mkdir()
    try:
        _mount("mount", "--bind", of, at)
        _mount("mount", "-o", "remount,ro,bind", at)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no folder can be mounted here: {getattr(error, 'stderr', None) or error}")
    try:
        yield at
    finally:
        _mount("umount", "--lazy", at)
