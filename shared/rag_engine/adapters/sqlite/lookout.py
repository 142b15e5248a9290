"""In which workspaces there is work, without opening all of them every second.

A workspace is read again only when its files have changed since, which costs two calls of `stat`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rag_engine.adapters.sqlite.connection import connect, translated
from rag_engine.adapters.sqlite.migrations import LATEST, applied
from rag_engine.adapters.sqlite.presence import Presence
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.errors import RagEngineError

_UNSETTLED_SECONDS: Final = 3.0
"""File systems date changes to a few milliseconds, some to 2 s: what changed so recently may have
changed again within the same tick, and is read again."""

_STALE_SECONDS: Final = 30.0
"""After so long a workspace is read again whatever its files look like."""

Signature = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was in a workspace when it was last read.

    Attributes:
        signature: Its files as they were before that.
        settled: Whether they had been so for a while.
        read_at: When, by the monotonic clock.
        pending_at: When the first pending version may be claimed.
        leases: When the first lease of each process runs out.
    """

    signature: Signature
    settled: bool
    read_at: float
    pending_at: float | None = None
    leases: tuple[tuple[str | None, float], ...] = ()

    def serves(self, signature: Signature) -> bool:
        """Whether reading again would find the same."""
        fresh = time.monotonic() - self.read_at < _STALE_SECONDS
        return self.settled and fresh and self.signature == signature


class Lookout:
    """Remembers what it saw in each workspace's file. All of it blocks: run it in a thread.

    Args:
        presence: Tells which processes are gone.
        clock: By which leases run out.
    """

    def __init__(self, presence: Presence, clock: Callable[[], float]) -> None:
        self._presence = presence
        self._clock = clock
        self._seen: dict[Path, _Seen] = {}

    def waits(self, workspaces: Iterable[tuple[str, Path]]) -> dict[str, float]:
        """See `Control.waiting`. One that cannot be read counts: who opens it learns why."""
        found = {}
        for name, path in workspaces:
            try:
                wait = self._wait(path)
            except RagEngineError:
                wait = 0.0
            if wait is not None:
                found[name] = wait
        return found

    def _wait(self, path: Path) -> float | None:
        signature = _signature(path)
        if not signature:
            return None
        seen = self._seen.get(path)
        if seen is None or not seen.serves(signature):
            seen = self._seen[path] = _read(path, signature)
        now = self._clock()
        if any(at <= now or self._is_gone(process) for process, at in seen.leases):
            return 0.0
        return None if seen.pending_at is None else max(0.0, seen.pending_at - now)

    def _is_gone(self, process: str | None) -> bool:
        return process is not None and self._presence.is_gone(process)


def _signature(path: Path) -> Signature:
    """Dates and sizes of a workspace's files; empty when it has none."""
    found = []
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            status = file.stat()
        except OSError:
            continue
        found.append((status.st_mtime_ns, status.st_size))
    return tuple(found)


def _read(path: Path, signature: Signature) -> _Seen:
    settled = time.time() - max(date for date, _ in signature) / 1e9 > _UNSETTLED_SECONDS
    seen = _Seen(signature=signature, settled=settled, read_at=time.monotonic())
    with translated(path), closing(connect(path)) as connection:
        schema = applied(connection)
        if schema == 0:  # somebody is about to make it
            return seen
        if schema < LATEST:  # whoever opens it brings it up to date, and there may be work in it
            return replace(seen, settled=False, pending_at=0.0)
        [(pending_at,)] = connection.execute(SQL["next_claimable"]).fetchall()
        leases = tuple(connection.execute(SQL["leases"]).fetchall())
    return replace(seen, pending_at=pending_at, leases=leases)
