"""Kill this process at a named point, as `kill -9` would, without a hook in the code under test.

The points are: before and after every call of every port (`queue.accept:before`), the beginning of
every stage of ingestion (`stage.embed`), before every statement that writes (`sqlite.show_version`),
and around every flush and rename of a file (`file.replace:after`).

Only for a process that was started to be killed: it dies at once, and closes nothing.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import threading
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from rag_engine.core.models import Stage, Version
from rag_engine.testing.interception import calls

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    Connect = Callable[..., sqlite3.Connection]

_WRITES: Final = re.compile(r"INSERT|UPDATE|DELETE|CREATE")
_PARAMETER: Final = re.compile(r"\?\d*")
_LITERAL: Final = r"(?:NULL|[-+.\de]+|'(?:[^']|'')*'|[xX]'[0-9A-Fa-f]*')"
_FILES: Final = ("file.fsync", "file.replace", "folder.fsync")


def points(statements: Mapping[str, str]) -> list[str]:
    """Names of all points there are.

    Args:
        statements: SQL by name, as the store keeps it; those that only read are no points.
    """
    around = [f"{name}:{side}" for name in (*calls(), *_FILES) for side in ("before", "after")]
    stages = [f"stage.{stage}" for stage in Stage]
    sqlite = ["sqlite.begin", "sqlite.commit", "sqlite.schema", *_patterns(statements)]
    return around + stages + sqlite


class CrashPoints:
    """Where this process dies, and what it passes on its way there. An `Interceptor`.

    Args:
        point: Where it dies; `None` to live and count.
        nth: At which time that the point is reached.

    Attributes:
        reached: How often each point was reached, in the order in which they were first.
    """

    def __init__(self, point: str | None = None, nth: int = 1) -> None:
        self._point = point
        self._nth = nth
        self._lock = threading.Lock()
        self.reached: Counter[str] = Counter()

    def reach(self, point: str) -> None:
        """Be at a point: die here, or go on."""
        with self._lock:
            self.reached[point] += 1
            if point == self._point and self.reached[point] == self._nth:
                os.kill(os.getpid(), signal.SIGKILL)

    @asynccontextmanager
    async def around(self, call: str) -> AsyncIterator[None]:
        """See `Interceptor`."""
        with self.around_blocking(call):
            yield

    @contextmanager
    def around_blocking(self, call: str) -> Iterator[None]:
        """See `Interceptor`. What raises has no `after`."""
        self.reach(f"{call}:before")
        yield
        self.reach(f"{call}:after")

    def progress(self, version: Version, stage: Stage) -> None:
        """Pass it to whoever tells of the stages as they begin."""
        del version
        self.reach(f"stage.{stage}")

    def connecting(self, connect: Connect, statements: Mapping[str, str]) -> Connect:
        """A function that opens connections, watched: put it in the place of `connect`.

        Args:
            connect: Opens a SQLite file.
            statements: SQL by name; see `points`.
        """
        patterns = _patterns(statements)

        def begins(sql: str) -> None:
            if (point := _point_of(sql, patterns)) is not None:
                self.reach(point)

        def watched(path: Path, **how: Any) -> sqlite3.Connection:
            connection = connect(path, **how)
            connection.set_trace_callback(begins)
            return connection

        return watched

    @contextmanager
    def files(self) -> Iterator[None]:
        """Watch every flush and rename of this process for the time of the context."""
        fsync, replace = os.fsync, os.replace

        def watched_fsync(handle: int) -> None:
            is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
            with self.around_blocking("folder.fsync" if is_folder else "file.fsync"):
                fsync(handle)

        def watched_replace(*arguments: Any, **named: Any) -> None:
            with self.around_blocking("file.replace"):
                replace(*arguments, **named)

        os.fsync, os.replace = watched_fsync, watched_replace  # type: ignore[assignment]
        try:
            yield
        finally:
            os.fsync, os.replace = fsync, replace


def _patterns(statements: Mapping[str, str]) -> dict[str, re.Pattern[str]]:
    """What each statement that writes looks like with values in the place of its parameters."""
    patterns = {}
    for name, sql in statements.items():
        if _WRITES.match(sql):
            words = _PARAMETER.split(sql.partition(";")[0])
            patterns[f"sqlite.{name}"] = re.compile(_LITERAL.join(map(re.escape, words)))
    return patterns


def _point_of(sql: str, patterns: Mapping[str, re.Pattern[str]]) -> str | None:
    sql = sql.rstrip(";")  # there where a comment follows it
    if sql == "BEGIN IMMEDIATE":
        return "sqlite.begin"
    if sql == "COMMIT":
        return "sqlite.commit"
    if not _WRITES.match(sql):
        return None
    named = (name for name, pattern in patterns.items() if pattern.fullmatch(sql))
    return next(named, "sqlite.schema" if sql.startswith("CREATE") else None)
