"""Deleting the file of a workspace: at one moment, after which what is left of it is only to be removed.

That moment is when the file gets another name. Whoever is killed afterwards leaves it under that
name, and the workspace in the list: such an entry counts as none, and goes with the file.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from rag_engine.adapters.sqlite.connection import connect, translated
from rag_engine.adapters.sqlite.queries import SQL

_DELETED: Final = ".deleted"


def _mark(path: Path) -> Path:
    return path.with_name(path.name + _DELETED)


def is_deleted(path: Path) -> bool:
    """Whether a workspace's file was deleted, though it may still be in the list."""
    return _mark(path).exists()


def deleted_files(folder: Path) -> set[Path]:
    """The files of workspaces, as they were called, that were deleted and are not removed yet."""
    return {path.with_suffix("") for path in folder.glob(f"*.sqlite{_DELETED}")}


def delete_file(path: Path) -> None:
    """Delete a workspace's file; what is left is for `remove_deleted`.

    Who writes it is waited for, and who waits to write it finds it gone.

    Raises:
        StoreUnavailable: Another process has it open, where no open file can be moved.
    """
    with translated(path), closing(connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if sys.platform == "win32":  # where it can be moved only if nobody has it open
            connection.close()
        path.replace(_mark(path))
        _make_durable(path.parent)


def remove_deleted(listing: sqlite3.Connection, paths: Sequence[Path]) -> None:
    """Remove what is left of deleted workspaces, from the list too, in a transaction of its own.

    Their files go last: while they are in the list, these tell that they were deleted.
    """
    if not paths:
        return
    listing.execute("BEGIN IMMEDIATE")
    listing.execute(SQL["make_deleted"])
    make_idempotency(listing)
    for path in paths:
        listing.execute(SQL["add_deleted"], (int(path.stem),))
        listing.execute(SQL["forget_number"], (int(path.stem),))
        listing.execute(SQL["forget_keys_of"], (int(path.stem),))
    listing.execute("COMMIT")
    for path in paths:
        for file in (*_beside(path), _mark(path)):
            file.unlink(missing_ok=True)


def make_idempotency(listing: sqlite3.Connection) -> None:
    """Give the list its table of idempotency records, which an earlier release did not make."""
    listing.execute(SQL["make_idempotency"])
    listing.execute(SQL["make_idempotency_index"])


def _beside(path: Path) -> Iterator[Path]:
    for ending in ("-wal", "-shm"):
        yield path.with_name(path.name + ending)


if sys.platform == "win32":

    def _make_durable(folder: Path) -> None:
        """Renaming is durable there by itself."""

else:

    def _make_durable(folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
