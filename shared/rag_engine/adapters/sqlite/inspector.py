"""Looks below the words of the store: at the files of a data folder themselves."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from rag_engine.adapters.sqlite.connection import can_be_written, connect, translated
from rag_engine.adapters.sqlite.control import (
    emptied,
    gone,
    holds_documents,
    is_listing,
    name_of,
    number_of,
    numbered_files,
)
from rag_engine.adapters.sqlite.deletion import is_deleted
from rag_engine.adapters.sqlite.migrations import LATEST, applied, migrate
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.repair import Repair, hollows
from rag_engine.adapters.sqlite.rows import chunk_of, version_of
from rag_engine.adapters.sqlite.salvage import readable, remove, salvage, set_aside
from rag_engine.adapters.sqlite.verify import UPKEEP, damages, open_for_upkeep, words_are_whole
from rag_engine.core.models import Chunk, Version
from rag_engine.errors import NotFound, StoreCorrupt, StoreUnavailable, WorldError
from rag_engine.ports.inspection import Checking, Damage, Filling, Hollow, Inspection, Remedy

T = TypeVar("T")

_BATCH: Final = 100
"""Findings handed over at a time."""


class SqliteInspector:
    """See `Inspector`.

    Args:
        data_dir: The data folder.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._listing = data_dir / "control.sqlite"

    async def workspaces(self) -> list[str]:
        """See `Inspector.workspaces`."""
        names = await asyncio.to_thread(self._names)
        return await asyncio.to_thread(
            lambda: sorted({name for path, name in names.items() if name and path.exists()})
        )

    def _names(self) -> dict[Path, str | None]:
        """Every workspace's file with its name: its own, else the listed one, if there is one."""
        listed = self._listed() or {}
        paths = numbered_files(self._data_dir / "workspaces") | listed.keys()
        return {path: name_of(path) or listed.get(path) for path in sorted(paths)}

    def _listed(self) -> dict[Path, str] | None:
        """Listed files with their names; `None` where the list cannot be read."""
        if not self._listing.exists():
            return None
        try:
            with translated(self._listing), closing(connect(self._listing)) as connection:
                if not is_listing(connection):
                    return None
                rows = connection.execute(SQL["listed_workspaces"]).fetchall()
        except WorldError:
            return None
        folder = self._data_dir / "workspaces"
        listed = {folder / f"{number:04d}.sqlite": name for number, name in rows}
        return {path: name for path, name in listed.items() if not is_deleted(path)}

    async def listing(self) -> list[Damage]:
        """See `Inspector.listing`."""
        return list(await asyncio.to_thread(lambda: list(self._compared())))

    def _compared(self) -> Iterator[Damage]:
        listed, names = self._listed(), self._names()
        twice = _twice(names)
        for double, paths in twice.items():
            message = (
                f"{' and '.join(repr(str(path)) for path in paths)} both are workspace {double!r}. Move "
                "the one that is not wanted out of the folder, then: rag-engine doctor --repair"
            )
            yield Damage(check="listing", message=message, remedy=Remedy.NONE, workspace=double)
        if listed is None and (names or self._listing.exists()):
            message = f"{str(self._listing)!r}, the list of workspaces, is missing or damaged."
            yield Damage(check="listing", message=message, remedy=Remedy.REBUILD)
        for path, name in names.items():
            if not path.exists():
                message = (
                    f"{str(path)!r}, workspace {name!r}, is missing. Restore it from a backup, or give "
                    f"it up with: rag-engine doctor --forget {name}"
                )
                yield Damage(
                    check="file", message=message, remedy=Remedy.NONE, workspace=name or ""
                )
            elif name is None:
                message = f"{str(path)!r} cannot be read, and nobody knows its name."
                yield Damage(check="listing", message=message, remedy=Remedy.NONE)
            elif listed is None or listed.get(path) == name or name in twice:
                continue
            elif path in listed or _is_used(path):  # else it is half made, and made anew
                known = f"listed as {listed[path]!r}" if path in listed else "not listed"
                message = f"{str(path)!r} is workspace {name!r} and {known}."
                yield Damage(check="listing", message=message, remedy=Remedy.REBUILD)

    async def relist(self) -> None:
        """See `Inspector.relist`. A list that cannot be read is set aside."""
        await asyncio.to_thread(self._relist)

    def _relist(self) -> None:
        names, listed = self._names(), self._listed()
        twice = _twice(names)
        if listed is None:
            for path in sorted(self._data_dir.glob("control.sqlite*")):
                if not path.name.endswith(".damaged"):
                    path.replace(path.with_name(f"{path.name}.damaged"))
        with (
            translated(self._listing),
            closing(connect(self._listing, create=True)) as connection,
        ):
            connection.execute(SQL["make_workspaces"])
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SQL["forget_workspaces"])
            for path, name in names.items():
                # Of two files with one name only the one that was listed goes on being used.
                if name is not None and (name not in twice or (listed or {}).get(path) == name):
                    connection.execute(SQL["add_workspace"], (number_of(path), name))
            connection.execute("COMMIT")

    def _path(self, workspace: str) -> Path:
        found = [path for path, name in self._names().items() if name == workspace]
        if found:
            listed = self._listed() or {}
            return next((path for path in found if listed.get(path) == workspace), found[0])
        raise NotFound(
            f"There is no workspace {workspace!r}. List those there are with: "
            "rag-engine workspaces list"
        )

    @asynccontextmanager
    async def open(self, workspace: str) -> AsyncIterator[Inspection]:
        """See `Inspector.open`."""
        path = await asyncio.to_thread(self._path, workspace)
        view = _View(path)
        try:
            await asyncio.to_thread(view.begin)
            yield view
        finally:
            await asyncio.to_thread(view.close)

    async def repair(
        self,
        workspace: str,
        damages: Sequence[Damage],
        fill: Callable[[Sequence[Hollow]], Awaitable[Sequence[Filling]]],
    ) -> None:
        """See `Inspector.repair`."""
        path = await asyncio.to_thread(self._path, workspace)

        def read() -> list[Hollow]:
            with translated(path), closing(open_for_upkeep(path)) as connection:
                return hollows(connection, damages)

        empty = await asyncio.to_thread(read)
        filled = await fill(empty) if empty else []

        def write() -> None:
            with translated(path), closing(open_for_upkeep(path)) as connection:
                connection.execute(UPKEEP["make_words"])
                connection.execute("BEGIN IMMEDIATE")
                Repair(connection, damages).run(list(zip(empty, filled, strict=True)))
                connection.execute("COMMIT")

        await asyncio.to_thread(write)

    async def can_salvage(self, workspace: str) -> bool:
        """See `Inspector.can_salvage`."""
        path = await asyncio.to_thread(self._path, workspace)
        return bool((await asyncio.to_thread(readable, path)).versions)

    async def forget(self, workspace: str) -> None:
        """See `Inspector.forget`. Its file, if there is one, is set aside."""
        path = await asyncio.to_thread(self._path, workspace)
        with _able_to_set_aside(path):
            await asyncio.to_thread(self._forget, path, workspace)

    def _forget(self, path: Path, workspace: str) -> None:
        if path.exists():
            set_aside(path)
            remove(path)
        with (
            translated(self._listing),
            closing(connect(self._listing, create=True)) as connection,
        ):
            connection.execute(SQL["make_workspaces"])
            connection.execute(SQL["forget_workspace"], (workspace,))

    async def salvage(self, workspace: str, fingerprint: str) -> list[Damage]:
        """See `Inspector.salvage`."""
        path = await asyncio.to_thread(self._path, workspace)
        with _able_to_set_aside(path):
            return await asyncio.to_thread(salvage, path, workspace, fingerprint)


def _is_used(path: Path) -> bool:
    try:
        return holds_documents(path)
    except WorldError:  # it holds something that cannot be read
        return True


def _twice(names: Mapping[Path, str | None]) -> dict[str, list[Path]]:
    """Names that several files have, with these files."""
    found: dict[str, list[Path]] = {}
    for path, name in names.items():
        if name is not None and path.exists():
            found.setdefault(name, []).append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


@contextmanager
def _able_to_set_aside(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(
            f"{str(path)!r} cannot be set aside ({error.strerror}). Check the disk and that its "
            "folder is yours and not read-only."
        ) from error


class _View:
    """See `Inspection`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._words_are_whole = True
        self._writable = True

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreCorrupt(f"{str(self._path)!r} is not open. Open it again.")
        return self._connection

    def begin(self) -> None:
        with translated(self._path):
            if not self._path.exists():
                raise gone(self._path)
            connection = self._connection = open_for_upkeep(self._path)
            if not applied(connection):
                raise emptied(self._path)
            self._writable = can_be_written(self._path)
            if self._writable:
                self._prepare(connection)
            elif applied(connection) < LATEST:
                raise StoreUnavailable(
                    f"{str(self._path)!r} is of an older release and cannot be written, so that it "
                    "cannot be verified. Copy the data folder to where it can be written."
                )
            connection.execute(UPKEEP["make_words"])
            connection.execute("BEGIN")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            migrate(connection, self._path)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("BEGIN IMMEDIATE")
        self._words_are_whole = words_are_whole(connection)
        connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    async def damages(self) -> AsyncIterator[Damage | Checking]:
        """See `Inspection.damages`."""
        if not self._writable:
            yield Checking(
                check="word index",
                skipped=f"{str(self._path)!r} is read-only, and SQLite checks it "
                "only where it may write",
            )
        if not self._words_are_whole:
            message = "The word index is not that of the passages."
            yield Damage(check="word index", message=message, remedy=Remedy.REBUILD)
        found = damages(self._open, words=self._words_are_whole)
        while batch := await self._run(lambda: list(islice(found, _BATCH))):
            for one in batch:
                yield one

    async def versions(self) -> AsyncIterator[tuple[Version, bool]]:
        """See `Inspection.versions`."""
        last = 0
        while batch := await self._run(partial(self._versions_after, last)):
            for row, version, current in batch:
                last = row
                yield version, current

    def _versions_after(self, last: int) -> list[tuple[int, Version, bool]]:
        sql = f"{SQL['version_columns']} {UPKEEP['versions_in_order']}"
        rows = self._open.execute(sql, (last,)).fetchall()
        if not rows:
            return []
        bounds = (rows[0][20], rows[-1][20])
        current = {row for (row,) in self._open.execute(UPKEEP["current_rows"], bounds)}
        return [(row[20], version_of(row), row[20] in current) for row in rows]

    async def version(self, document_id: str, number: int | None = None) -> Version | None:
        """See `Inspection.version`."""
        clause = UPKEEP["answering_version" if number is None else "version_of_document"]
        parameters = (document_id,) if number is None else (document_id, number)
        sql = f"{SQL['version_columns']} {clause}"
        rows = await self._run(lambda: self._open.execute(sql, parameters).fetchall())
        return version_of(rows[0]) if rows else None

    async def chunks(self, document_id: str) -> list[Chunk]:
        """See `Inspection.chunks`."""
        sql = f"{SQL['chunk_columns']} {SQL['chunks_of_document']}"
        return await self._run(
            lambda: [chunk_of(row) for row in self._open.execute(sql, (document_id,))]
        )

    async def _run(self, work: Callable[[], T]) -> T:
        def translating() -> T:
            with translated(self._path):
                return work()

        return await asyncio.to_thread(translating)
