"""The workspaces of a data folder: one SQLite file each, and one that lists them."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rag_engine.adapters.sqlite.connection import Readers, Writer
from rag_engine.adapters.sqlite.migrations import migrate
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.queue import SqliteQueue
from rag_engine.adapters.sqlite.store import SqliteStore
from rag_engine.core.names import NORMALISER_VERSION
from rag_engine.core.tokens import TOKENISER_VERSION
from rag_engine.errors import InvalidRequest, ModelMismatch, NotFound, StoreTooNew, StoreUnavailable
from rag_engine.ports.storage import Workspace

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_READERS: Final = 4
"""Reader threads of the process: SQLite and numpy let go of the interpreter while they work."""


class SqliteControl:
    """See `Control`.

    Args:
        data_dir: The folder; it is created when it is not there.
        model: Name of the embedding model.
        dimensions: Length of its vectors.
        clock: Seconds since the epoch; the processes of one host share theirs.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        model: str,
        dimensions: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._data_dir = data_dir
        self._model = model
        self._dimensions = dimensions
        self._clock = clock
        self._executor = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._listing: Writer | None = None
        self._opened: dict[str, Workspace] = {}
        self._lock = asyncio.Lock()

    async def workspaces(self) -> list[str]:
        """See `Control.workspaces`."""
        async with self._lock:
            listing = await self._list()
            return await listing.run(
                lambda connection: [name for (name,) in connection.execute(SQL["workspaces"])]
            )

    async def open(self, name: str, *, create: bool = False) -> Workspace:
        """See `Control.open`."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                f"{name!r} cannot be the name of a workspace. Use 1 to 64 letters, digits, "
                "'-', '_' or '.'."
            )
        async with self._lock:
            if name not in self._opened:
                number = await self._number(name, create=create)
                self._opened[name] = await self._open(name, number)
            return self._opened[name]

    async def aclose(self) -> None:
        """See `Control.aclose`."""
        async with self._lock:
            for workspace in self._opened.values():
                await workspace.store.aclose()
            self._opened.clear()
            if self._listing is not None:
                await asyncio.to_thread(self._listing.close)
                self._listing = None
            await asyncio.to_thread(self._executor.shutdown)

    async def _list(self) -> Writer:
        if self._listing is None:
            await asyncio.to_thread(_make_folder, self._data_dir / "workspaces")
            self._listing = Writer(self._data_dir / "control.sqlite")
            await self._listing.run(lambda connection: connection.execute(SQL["make_workspaces"]))
        return self._listing

    async def _number(self, name: str, *, create: bool) -> int:
        listing = await self._list()

        def write(connection: sqlite3.Connection) -> int | None:
            if create:
                connection.execute(SQL["add_workspace"], (name,))
            found = connection.execute(SQL["workspace"], (name,)).fetchone()
            return found[0] if found else None

        number = await listing.run(write)
        if number is None:
            raise NotFound(
                f"There is no workspace {name!r}. Create it by ingesting a document into it: "
                f"rag-engine ingest --workspace {name} FILE"
            )
        return number

    async def _open(self, name: str, number: int) -> Workspace:
        path = self._data_dir / "workspaces" / f"{number:04d}.sqlite"
        writer, readers = Writer(path), Readers(path, self._executor)
        try:
            await writer.run(lambda connection: self._prepare(connection, path, name))
        except BaseException:
            await asyncio.to_thread(writer.close)
            raise
        return Workspace(
            name=name,
            store=SqliteStore(writer, readers, self._dimensions, self._clock),
            queue=SqliteQueue(writer, readers, self._clock),
        )

    def _prepare(self, connection: sqlite3.Connection, path: Path, name: str) -> None:
        migrate(connection, path)
        meta = dict(connection.execute(SQL["all_meta"]).fetchall())
        for key, mine in (("normaliser", NORMALISER_VERSION), ("tokeniser", TOKENISER_VERSION)):
            if meta.get(key, mine) > mine:
                raise StoreTooNew(
                    f"{str(path)!r} was written with a later {key} ({meta[key]}; this release has "
                    f"{mine}). Upgrade with: pip install --upgrade rag-engine-server"
                )
            connection.execute(SQL["set_meta"], (key, mine))
        same = meta.get("model") == self._model and meta.get("dimensions") == self._dimensions
        if not same and (meta.get("chunks", 0) or _has_staged(connection)):
            raise ModelMismatch(
                f"The vectors of workspace {name!r} were made by {meta['model']!r} "
                f"({meta['dimensions']} dimensions), not by {self._model!r} "
                f"({self._dimensions} dimensions). Set RAG_EMBEDDING_MODEL back, or ingest the documents into a "
                "new workspace."
            )
        connection.execute(SQL["set_meta"], ("model", self._model))
        connection.execute(SQL["set_meta"], ("dimensions", self._dimensions))
        connection.execute(SQL["add_meta"], ("counter", 0))


def _has_staged(connection: sqlite3.Connection) -> bool:
    return connection.execute(SQL["any_staged"]).fetchone() is not None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"The data folder {str(path)!r} cannot be made ({error.strerror}). Check that the "
            "folder above it is yours and not read-only, or choose another with --data-dir."
        ) from error
