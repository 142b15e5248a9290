"""Files that are worked on in threads, and are whole and durable before they get their names."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from rag_engine.errors import StoreFull, StoreUnavailable

T = TypeVar("T")
P = ParamSpec("P")

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


async def whole(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run something in a thread; when cancelled, wait for its end: a thread cannot be stopped.

    Whatever comes next (closing the file, deleting it) would meet it in the middle of a write.
    """
    return await to_its_end(asyncio.to_thread(work, *args, **kwargs))


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do something that must not be left half done; when cancelled, wait for its end all the same."""
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # seen; that somebody wants to stop outranks it
        raise


def settle(part: Path, path: Path) -> None:
    """Make a file or a folder durable, then give it its name, durably too."""
    flush(part)
    part.replace(path)
    flush(path.parent)


def flush(path: Path) -> None:
    """Have what was written to a file or a folder on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows has no handle on a folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def unwritable(path: Path, error: OSError) -> StoreFull | StoreUnavailable:
    """What to raise for a file that cannot be written."""
    kind = StoreFull if error.errno in _FULL else StoreUnavailable
    return kind(
        f"{str(path)!r} cannot be written ({error.strerror or error}). "
        "Check the folder and the free space, or choose another place."
    )
