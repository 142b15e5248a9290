"""The workspaces of a data folder: one SQLite file each, and one that lists them.

A file knows its own name too, so that the list can be made again, and so that a list of another
time never gives out one workspace for another.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rag_engine.adapters.sqlite.beside import Beside
from rag_engine.adapters.sqlite.connection import (
    Original,
    Writer,
    connect,
    connect_to_read,
    translated,
)
from rag_engine.adapters.sqlite.deletion import (
    delete_file,
    deleted_files,
    is_deleted,
    remove_deleted,
)
from rag_engine.adapters.sqlite.handles import Handle, Handles
from rag_engine.adapters.sqlite.idempotency import SqliteIdempotency
from rag_engine.adapters.sqlite.lookout import Lookout
from rag_engine.adapters.sqlite.migrations import LATEST, applied, migrate
from rag_engine.adapters.sqlite.presence import Presence
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.queue import SqliteQueue
from rag_engine.adapters.sqlite.rows import key_of, pack, row_of_key
from rag_engine.adapters.sqlite.store import SqliteStore
from rag_engine.adapters.sqlite.views import Readers
from rag_engine.core.keys import Key
from rag_engine.core.names import NORMALISER_VERSION
from rag_engine.core.submissions import check_workspace
from rag_engine.core.tokens import TOKENISER_VERSION
from rag_engine.errors import (
    ModelMismatch,
    NotFound,
    RagEngineError,
    StoreCorrupt,
    StoreTooNew,
    StoreUnavailable,
    WorldError,
)
from rag_engine.ports.storage import Workspace

_READERS: Final = 4
"""Reader threads of the process: SQLite and numpy let go of the interpreter while they work."""

_ANSWERING: Final = 2
"""Threads for work of many steps (`Store.look`). Two answer more questions a second than one; four
answer fewer, for they wait for the interpreter instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A workspace that this process has opened, with its file."""

    workspace: Workspace
    number: int
    original: Original
    handle: Handle


class SqliteControl:
    """See `Control`.

    Args:
        data_dir: The folder; it is created when it is not there.
        model: Name of the embedding model.
        dimensions: Length of its vectors.
        clock: Seconds since the epoch; the processes of one host share theirs.
        search_processes: How many processes there may be that look for passages beside this one.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        model: str,
        dimensions: int,
        clock: Callable[[], float] = time.time,
        search_processes: int = 0,
    ) -> None:
        self._data_dir = data_dir
        self._model = model
        self._dimensions = dimensions
        self._clock = clock
        self._executor = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._answering = ThreadPoolExecutor(_ANSWERING, thread_name_prefix="sqlite-answers")
        self._beside = Beside(search_processes)
        self._listing = data_dir / "control.sqlite"
        self.idempotency = SqliteIdempotency(self._listing, self._path, clock)
        self._presence = Presence(data_dir / "workers")
        self._lookout = Lookout(self._presence, clock)
        self._handles = Handles()
        self._opened: dict[str, _Opened] = {}
        self._lock = asyncio.Lock()

    async def workspaces(self) -> list[str]:
        """See `Control.workspaces`."""
        async with self._lock:
            rows = await self._listed(SQL["numbered_workspaces"])
        return [name for name, _ in rows]

    async def open(self, name: str, *, create: bool = False) -> Workspace:
        """See `Control.open`."""
        check_workspace(name)
        async with self._lock:
            known = self._opened.get(name)
            if known is None or (known.original.lost and not await self._is_there(name, known)):
                number = await self._number(name, create=create)
                self._opened[name] = await self._open(name, number)
            return self._opened[name].workspace

    async def _is_there(self, name: str, known: _Opened) -> bool:
        """Whether a file that was not found is still meant; else what was opened is let go.

        Who deletes a workspace leaves the list: where that is gone too, the folder was moved.
        """
        moved = not await asyncio.to_thread(self._listing.exists)
        if moved or await self._listed(SQL["numbered_workspace"], name, known.number):
            return True
        del self._opened[name]
        await asyncio.to_thread(known.handle.rest)
        return False

    async def delete(self, name: str) -> bool:
        """See `Control.delete`."""
        check_workspace(name)
        async with self._lock:
            known = self._opened.pop(name, None)
            if known is not None:
                await asyncio.to_thread(known.handle.rest)
            rows = await self._listed(SQL["workspace"], name)
            if rows:
                await asyncio.to_thread(self._delete, self._path(int(rows[0][0])))
            return bool(rows)

    def _delete(self, path: Path) -> None:
        if path.exists():
            delete_file(path)
        elif not is_deleted(path):
            raise gone(path)
        self._remove_deleted()

    def _remove_deleted(self) -> None:
        """Remove what is left of workspaces that were deleted, here or by who was killed then."""
        if paths := deleted_files(self._data_dir / "workspaces"):
            with translated(self._listing), closing(connect(self._listing)) as connection:
                remove_deleted(connection, sorted(paths))

    async def referenced(self, hashes: Sequence[str]) -> set[str]:
        """See `Control.referenced`. Every file counts, whether it is listed or not.

        What a file that was set aside names nobody can tell.
        """
        numbers = [number for _, number in await self._listed(SQL["numbered_workspaces"])]
        return await asyncio.to_thread(self._referenced, list(hashes), numbers)

    def _referenced(self, hashes: list[str], numbers: Sequence[int]) -> set[str]:
        found = set[str]()
        for path in sorted((self._data_dir / "workspaces").glob("*.damaged")):
            raise _set_aside(path)
        listed = {self._path(number) for number in numbers}
        for path in sorted(listed | self._files()):
            if is_deleted(path):
                continue
            if not path.exists():
                raise gone(path)
            with translated(path), closing(connect(path)) as connection:
                if not applied(connection):
                    raise emptied(path)
                found |= {one for (one,) in connection.execute(SQL["named_blobs"], (pack(hashes),))}
        return found

    async def waiting(self) -> dict[str, float]:
        """See `Control.waiting`."""
        rows = await self._listed(SQL["numbered_workspaces"])
        listed = [(name, self._path(number)) for name, number in rows]
        return await asyncio.to_thread(self._lookout.waits, listed)

    async def due(self, chore: str, seconds: float) -> bool:
        """See `Control.due`."""
        return await asyncio.to_thread(self._due, chore, seconds)

    def _due(self, chore: str, seconds: float) -> bool:
        if not self._listing.exists():
            return False
        self._remove_deleted()
        with translated(self._listing), closing(connect(self._listing)) as connection:
            connection.execute(SQL["make_chores"])
            now = self._clock()
            begun = connection.execute(SQL["chore_begun_at"], (chore,)).fetchone()
            if begun and begun[0] > now - seconds:  # told without waiting for who writes
                return False
            return connection.execute(SQL["begin_chore"], (chore, now, seconds)).rowcount > 0

    async def keys(self) -> list[Key]:
        """See `Control.keys`."""
        return [key_of(row) for row in await self._looked_up(_keys)]

    async def add_key(self, key: Key) -> None:
        """See `Control.add_key`."""
        await self._looked_up(_keys)  # a list that was lost is not begun anew with this

        def add() -> None:
            _make_folder(self._data_dir)
            with (
                translated(self._listing),
                closing(connect(self._listing, create=True)) as connection,
            ):
                connection.execute(SQL["make_workspaces"])
                connection.execute(SQL["make_keys"])
                connection.execute(SQL["add_key"], row_of_key(key))

        await asyncio.to_thread(add)

    async def remove_key(self, id: str) -> bool:
        """See `Control.remove_key`."""
        if not any(key.id == id for key in await self.keys()):
            return False

        def remove() -> bool:
            with translated(self._listing), closing(connect(self._listing)) as connection:
                return connection.execute(SQL["remove_key"], (id,)).rowcount > 0

        return await asyncio.to_thread(remove)

    def _path(self, number: int) -> Path:
        return self._data_dir / "workspaces" / f"{number:04d}.sqlite"

    async def aclose(self) -> None:
        """See `Control.aclose`."""
        async with self._lock:
            for one in self._opened.values():
                await one.workspace.store.aclose()
            self._opened.clear()
            await self._beside.aclose()
            await asyncio.to_thread(self._handles.close)
            await asyncio.to_thread(self._presence.close)
            await asyncio.to_thread(self._answering.shutdown)
            await asyncio.to_thread(self._executor.shutdown)

    async def _listed(self, sql: str, *parameters: object) -> list[Any]:
        """Rows of the list that end with a number, but for workspaces that were deleted."""

        def look(connection: sqlite3.Connection) -> list[Any]:
            rows = connection.execute(sql, parameters).fetchall()
            return [row for row in rows if not is_deleted(self._path(row[-1]))]

        return await self._looked_up(look)

    async def _looked_up(self, look: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
        """Rows of the list of workspaces, which is read without waiting for who writes it."""

        def read() -> list[Any]:
            if not self._listing.exists():
                if self._files():
                    raise _lost(self._listing)
                return []
            with translated(self._listing), closing(connect_to_read(self._listing)) as connection:
                if self._files() and not is_listing(connection):
                    raise _lost(self._listing)
                connection.execute(SQL["make_workspaces"])
                return look(connection)

        return await asyncio.to_thread(read)

    def _files(self) -> set[Path]:
        folder = self._data_dir / "workspaces"
        try:
            return set(folder.glob("*.sqlite"))
        except OSError as error:
            raise StoreUnavailable(
                f"{str(folder)!r} cannot be listed ({error.strerror}). Check its permissions and how "
                "many files a process may open (ulimit -n)."
            ) from error

    async def _number(self, name: str, *, create: bool) -> int:
        rows = await self._listed(SQL["workspace"], name)
        if not rows and create:
            await asyncio.to_thread(self._add_to_list, name)
            rows = await self._listed(SQL["workspace"], name)
        if not rows and await asyncio.to_thread(self._is_unlisted, name):
            raise _lost(self._listing)
        if not rows:
            raise NotFound(
                f"There is no workspace {name!r}. Create it by ingesting a document into it: "
                f"rag-engine ingest --workspace {name} FILE"
            )
        return int(rows[0][0])

    def _is_unlisted(self, name: str) -> bool:
        """Whether a file that is not listed is a workspace of that name, and not one half made.

        The file is made before it is listed; who is killed in between leaves one that holds nothing.
        """
        files = numbered_files(self._data_dir / "workspaces")
        return any(name_of(path) == name and holds_documents(path) for path in files)

    def _add_to_list(self, name: str) -> None:
        """List a workspace whose file is there: what is listed and missing has been lost."""
        _make_folder(self._data_dir / "workspaces")
        with (
            translated(self._listing),
            closing(connect(self._listing, create=True)) as connection,
        ):
            connection.execute(SQL["make_workspaces"])
            remove_deleted(connection, sorted(deleted_files(self._data_dir / "workspaces")))
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not connection.execute(SQL["workspace"], (name,)).fetchone():
                    number = self._free_number(connection, name)
                    self._make_file(self._path(number), name)
                    connection.execute(SQL["add_workspace"], (number, name))
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    def _free_number(self, connection: sqlite3.Connection, name: str) -> int:
        """The number of a file that has this name and is not listed, else one that nothing has."""
        listed = {number for (number,) in connection.execute(SQL["workspace_numbers"])}
        files = sorted(numbered_files(self._data_dir / "workspaces"))
        for path in files:
            if number_of(path) not in listed and name_of(path) == name:
                return number_of(path)
        used = listed | {number_of(path) for path in files}
        if connection.execute(SQL["has_deleted"]).fetchone():
            # Who still has a workspace open that was deleted must not take another one for it.
            used |= {number for (number,) in connection.execute(SQL["last_deleted"])}
        return 1 + max(used, default=0)

    def _make_file(self, path: Path, name: str) -> None:
        with translated(path), closing(connect(path, create=True)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._prepare(connection, path, name)
            connection.execute("COMMIT")

    async def _open(self, name: str, number: int) -> _Opened:
        path = self._path(number)
        original, handle = Original(path), self._handles.handle()
        writer = Writer(path, original, handle)
        readers = Readers(path, original, handle, self._executor, self._answering)
        try:
            if not await readers.run(lambda: self._is_ready(path, name)):
                await writer.run(lambda connection: self._prepare(connection, path, name))
        except BaseException:
            await asyncio.to_thread(writer.close)
            raise
        store = SqliteStore(writer, readers, self._beside, self._dimensions, self._clock)
        handle.parts = (writer.rest, readers.rest, store.rest)
        queue = SqliteQueue(writer, readers, self._presence, self._clock)
        workspace = Workspace(name=name, store=store, queue=queue)
        return _Opened(workspace=workspace, number=number, original=original, handle=handle)

    def _prepare(self, connection: sqlite3.Connection, path: Path, name: str) -> None:
        migrate(connection, path)
        meta = dict(connection.execute(SQL["all_meta"]).fetchall())
        holds_vectors = meta.get("chunks", 0) or meta.get("salvaged", 0) or _has_others(connection)
        for key, mine in self._meta().items():
            if holds_vectors and meta.get(key) != mine:
                raise self._mismatch(path, name, key, meta)
            connection.execute(SQL["set_meta"], (key, mine))
        connection.execute(SQL["add_meta"], ("counter", 0))
        connection.execute(SQL["set_meta"], ("name", name))

    def _is_ready(self, path: Path, name: str) -> bool:
        """Whether a file needs no change, so that opening it waits for nobody who writes."""
        if not path.exists():
            raise gone(path)
        with translated(path), closing(connect_to_read(path)) as connection:
            there = applied(connection)
            if not there:
                raise emptied(path)
            meta = dict(connection.execute(SQL["all_meta"]).fetchall())
            if meta.get("name", name) != name:
                raise _misnamed(path, name, meta["name"])
            return (
                there == LATEST
                and "name" in meta
                and all(meta.get(key) == mine for key, mine in self._meta().items())
            )

    def _meta(self) -> dict[str, str | int]:
        """What a workspace's index was made with, and must have been to be read."""
        return {
            "model": self._model,
            "dimensions": self._dimensions,
            "normaliser": NORMALISER_VERSION,
            "tokeniser": TOKENISER_VERSION,
        }

    def _mismatch(self, path: Path, name: str, key: str, meta: Mapping[str, Any]) -> RagEngineError:
        theirs, mine = meta.get(key), self._meta()[key]
        if key in ("model", "dimensions"):
            return ModelMismatch(
                f"The vectors of workspace {name!r} were made by {meta.get('model')!r} "
                f"({meta.get('dimensions')} dimensions), not by {self._model!r} "
                f"({self._dimensions} dimensions). Set RAG_EMBEDDING_MODEL back, or ingest the "
                "documents into a new workspace. (Aliases and suppressions have vectors too.)"
            )
        if isinstance(theirs, int) and theirs > int(mine):
            return StoreTooNew(
                f"{str(path)!r} was written with {key} {theirs}; this release has {mine}. "
                "Upgrade with: pip install --upgrade rag-engine-server"
            )
        return ModelMismatch(
            f"The index of workspace {name!r} was made with {key} {theirs!r}, this release has "
            f"{mine}. Ingest the documents into a new workspace."
        )


def _keys(connection: sqlite3.Connection) -> list[Any]:
    if not connection.execute(SQL["has_keys"]).fetchall():  # as the release before left it
        return []
    return connection.execute(SQL["keys"]).fetchall()


def numbered_files(folder: Path) -> set[Path]:
    """The files of workspaces: copies that somebody made beside them have other names."""
    return {path for path in folder.glob("*.sqlite") if path.stem.isdigit()}


def number_of(path: Path) -> int:
    """The number of a workspace's file."""
    return int(path.stem)


def name_of(path: Path) -> str | None:
    """The name that a workspace's file says it has; `None` for one that cannot be read."""
    if not path.exists():  # which connecting to it would change
        return None
    try:
        with translated(path), closing(connect(path)) as connection:
            if not applied(connection):
                return None
            found = connection.execute(SQL["meta"], ("name",)).fetchone()
    except WorldError:  # whoever asks looks for a file that can be read
        return None
    return str(found[0]) if found else None


def holds_documents(path: Path) -> bool:
    """Whether there is any document in a workspace's file."""
    with translated(path), closing(connect_to_read(path)) as connection:
        return connection.execute(SQL["any_document"]).fetchone() is not None


def is_listing(connection: sqlite3.Connection) -> bool:
    """Whether a database has a list of workspaces, if an empty one."""
    return connection.execute(SQL["has_listing"]).fetchone() is not None


def _lost(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"{str(path)!r}, the list of workspaces, is missing or empty, and there are workspaces. "
        "Make it again with: rag-engine doctor --repair"
    )


def gone(path: Path) -> StoreCorrupt:
    """The error of a workspace's file that is listed and not there."""
    return StoreCorrupt(
        f"{str(path)!r} is missing, though it is listed as a workspace. Restore it from a backup."
    )


def _set_aside(path: Path) -> StoreCorrupt:
    return StoreCorrupt(
        f"{str(path)!r} was set aside by a repair, and documents that could not be read from it may "
        "need any original. Delete it when nothing is missed, then collect again."
    )


def emptied(path: Path) -> StoreCorrupt:
    """The error of a workspace's file that is no database of ours, though SQLite can open it."""
    return StoreCorrupt(f"{str(path)!r} is damaged (it holds no tables). Restore it from a backup.")


def _misnamed(path: Path, listed: str, named: object) -> StoreCorrupt:
    return StoreCorrupt(
        f"{str(path)!r} is listed as workspace {listed!r}, but holds {named!r}: the list of "
        "workspaces is of another time. Make it again with: rag-engine doctor --repair"
    )


def _has_others(connection: sqlite3.Connection) -> bool:
    """Whether there are vectors beside those of chunks: staged ones, or of what edits name."""
    return connection.execute(SQL["any_other_vector"]).fetchone() is not None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"The data folder {str(path)!r} cannot be made ({error.strerror}). Check that the "
            "folder above it is yours and not read-only, or choose another with --data-dir."
        ) from error
