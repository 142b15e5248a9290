"""A workspace's store in one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from rag_engine.adapters.sqlite.beside import Beside
from rag_engine.adapters.sqlite.connection import Writer
from rag_engine.adapters.sqlite.contents import SqliteContents
from rag_engine.adapters.sqlite.edits import (
    Editor,
    active_edit_of,
    edits_about,
    known_vectors,
    selecting,
)
from rag_engine.adapters.sqlite.filters import stored
from rag_engine.adapters.sqlite.leases import find_version, held
from rag_engine.adapters.sqlite.ledger import Ledger, StagedChunk
from rag_engine.adapters.sqlite.looking import at_once, finished
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.reader import SqliteReader
from rag_engine.adapters.sqlite.resident import Residents
from rag_engine.adapters.sqlite.rows import (
    document_of,
    extraction_of,
    pack_chunk,
    pack_extraction,
    pack_usage,
    staged_chunk_of,
)
from rag_engine.adapters.sqlite.views import Readers, View
from rag_engine.core.edits import Edit
from rag_engine.core.evidence import canonical
from rag_engine.core.filters import fields_of, values_of
from rag_engine.core.ids import entity_id
from rag_engine.core.models import Document, Stage, Usage, Version, VersionStatus
from rag_engine.core.names import entity_key
from rag_engine.core.vectors import canonical as canonical_vectors
from rag_engine.errors import LeaseLost, ModelMismatch
from rag_engine.ports.queue import Lease
from rag_engine.ports.storage import ChunkEvidence, Contents, Reader, Vectors

T = TypeVar("T")

_LOGGED: Final = 1_000
"""Writes whose removals are remembered for processes that hold an older state."""


class SqliteStore:
    """See `Store`. Evidence is staged as packed rows and unpacked by `finish` in one transaction."""

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        beside: Beside,
        dimensions: int,
        clock: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._beside = beside
        self._dimensions = dimensions
        self._clock = clock
        self._residents = Residents(dimensions)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """See `Store.snapshot`."""
        async with self._readers.view() as view:
            yield SqliteReader(self._readers.run, view, self._residents)

    async def look(self, work: Callable[[Reader], Coroutine[Any, Any, T]]) -> T:
        """See `Store.look`: in a process beside this one, or all of it on one thread."""
        context = copy_context()

        def whole(view: View) -> T:
            return context.run(finished, work(SqliteReader(at_once, view, self._residents)))

        path, dimensions = self._readers.path, self._dimensions
        here = partial(self._readers.look, whole)
        async with self._readers.used():
            return await self._beside.look(path, dimensions, work, here)

    @asynccontextmanager
    async def contents(self) -> AsyncIterator[Contents]:
        """See `Store.contents`."""
        async with self._readers.view() as view:
            yield await self._readers.run(
                lambda: SqliteContents(self._readers, view, self._dimensions)
            )

    async def stage(self, lease: Lease, evidence: Sequence[ChunkEvidence]) -> list[str]:
        """See `Store.stage`."""
        rows, keys = await asyncio.to_thread(self._packed, evidence)

        def write(connection: sqlite3.Connection) -> list[str]:
            version = held(connection, lease, self._clock()).row
            connection.executemany(SQL["stage_chunk"], [(version, *row) for row in rows])
            named = [(version, key, entity_id(key)) for key in sorted(keys)]
            connection.executemany(SQL["stage_known_name"], named)
            return [key for (key,) in connection.execute(SQL["missing_names"], (version,))]

        return await self._writer.run(write)

    def _packed(self, evidence: Sequence[ChunkEvidence]) -> tuple[list[tuple[Any, ...]], set[str]]:
        """Evidence as rows to stage, and the entity keys it mentions."""
        rows: list[tuple[Any, ...]] = []
        keys: set[str] = set()
        for one in evidence:
            self._check(one.vector)
            extraction = canonical(one.extraction)
            keys.update(entity_key(mention.name) for mention in extraction.mentions)
            rows.append(
                (one.chunk.ordinal, pack_chunk(one.chunk), one.lexemes)
                + (pack_extraction(extraction), _bytes(one.vector))
            )
        return rows, keys

    async def stage_names(self, lease: Lease, keys: Sequence[str], vectors: Vectors) -> None:
        """See `Store.stage_names`."""
        for vector in vectors:
            self._check(vector)

        def write(connection: sqlite3.Connection) -> None:
            version = held(connection, lease, self._clock()).row
            rows = [(_bytes(one), version, key) for key, one in zip(keys, vectors, strict=True)]
            connection.executemany(SQL["stage_name"], rows)

        await self._writer.run(write)

    async def finish(self, lease: Lease, *, usage: Usage | None = None) -> Version:
        """See `Store.finish`."""
        return await self._writer.run(lambda connection: self._finish(connection, lease, usage))

    def _finish(self, connection: sqlite3.Connection, lease: Lease, usage: Usage | None) -> Version:
        now = self._clock()
        found = held(connection, lease, now)
        version, row = found.version, found.row
        newest = find_version(connection, "newest_version", lease.document_id)
        if newest is not None and newest.version.number != version.number:
            raise LeaseLost(
                f"Version {newest.version.number} of {lease.document_id!r} was requested after version "
                f"{version.number}. Stop working on the older one."
            )
        document, current = connection.execute(SQL["document_row"], (lease.document_id,)).fetchone()
        ledger = Ledger(connection, self._count_write(connection))
        before = ledger.shown(document)
        staged = _staged(connection, row, version)
        names = dict(connection.execute(SQL["staged_names"], (row,)))
        edits = edits_about(names, selecting(connection))
        names |= known_vectors(connection, map(edits.canonical, names))
        # First add, then remove: an entity that both versions mention keeps its row.
        ledger.add(document, staged, edits, names)
        ledger.remove(before)
        if current is None:
            connection.execute(SQL["add_meta"], ("documents", 1))
        connection.execute(SQL["complete_version"], (now, len(staged), pack_usage(usage), row))
        self._show(connection, document, row, now)
        return replace(
            version,
            status=VersionStatus.INDEXED,
            stage=Stage.WRITE,
            error=None,
            error_code=None,
            chunks=len(staged),
            finished_at=now,
            usage=version.usage if usage is None else usage,
        )

    def _show(self, connection: sqlite3.Connection, document: int, row: int, now: float) -> None:
        """Point a document at its new version and let go of what led there."""
        connection.execute(SQL["show_version"], (row, now, now, document))
        connection.execute(SQL["unstage_chunks"], (row,))
        connection.execute(SQL["unstage_names"], (row,))
        connection.execute(SQL["forget_old_versions"], (document, row))
        _remove_fields(connection, document)
        sql = f"{SQL['document_columns']} {SQL['document_by_row']}"
        _add_fields(
            connection, document, document_of(connection.execute(sql, (document,)).fetchone())
        )

    def _count_write(self, connection: sqlite3.Connection) -> int:
        """Advance the write counter and forget removals that no process can still need."""
        connection.execute(SQL["add_meta"], ("counter", 1))
        counter = int(connection.execute(SQL["meta"], ("counter",)).fetchone()[0])
        [known_from] = connection.execute(SQL["removed_from"]).fetchone()
        # A repair may have changed what no log tells of: nothing is followed across it.
        oldest = max(known_from, counter - _LOGGED)
        connection.execute(SQL["trim_removed"], (oldest,))
        connection.execute(SQL["set_meta"], ("removed_from", oldest))
        return counter

    def _check(self, vector: Vectors) -> None:
        if vector.shape != (self._dimensions,):
            raise ModelMismatch(
                f"A vector has shape {vector.shape}, the workspace's have ({self._dimensions},). "
                "Embed with the model that made them."
            )

    async def delete(self, document_ids: Sequence[str]) -> int:
        """See `Store.delete`."""

        def write(connection: sqlite3.Connection) -> int:
            found = [
                row
                for id in dict.fromkeys(document_ids)
                if (row := connection.execute(SQL["document_row"], (id,)).fetchone())
            ]
            if found:
                ledger = Ledger(connection, self._count_write(connection))
                for document, current in found:
                    self._forget(connection, ledger, document, current)
            return len(found)

        return await self._writer.run(write)

    def _forget(
        self, connection: sqlite3.Connection, ledger: Ledger, document: int, current: int | None
    ) -> None:
        if current is not None:
            ledger.remove(ledger.shown(document))
            _remove_fields(connection, document)
            connection.execute(SQL["add_meta"], ("documents", -1))
        for query in ("unstage_document_chunks", "unstage_document_names", "forget_versions"):
            connection.execute(SQL[query], (document,))
        connection.execute(SQL["forget_document"], (document,))

    async def edit(self, edit: Edit, vectors: Vectors) -> bool:
        """See `Store.edit`."""
        for vector in vectors:
            self._check(vector)

        def write(connection: sqlite3.Connection) -> bool:
            if connection.execute(SQL["edit"], (edit.id,)).fetchone():
                return False
            edits_about(edit.keys, selecting(connection)).check(edit)
            ledger = Ledger(connection, self._count_write(connection))
            Editor(connection, ledger).put(edit, [_bytes(one) for one in vectors], self._clock())
            return True

        return await self._writer.run(write)

    async def undo(self, edit_id: str) -> bool:
        """See `Store.undo`."""

        def write(connection: sqlite3.Connection) -> bool:
            row = connection.execute(SQL["edit"], (edit_id,)).fetchone()
            if row is None:
                return False
            ledger = Ledger(connection, self._count_write(connection))
            Editor(connection, ledger).take_back(active_edit_of(row).edit)
            return True

        return await self._writer.run(write)

    def rest(self) -> None:
        """Let go of what is held in memory until somebody asks for it."""
        self._residents.rest()
        self._beside.forget(self._readers.path)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.close)


def _staged(connection: sqlite3.Connection, row: int, version: Version) -> list[StagedChunk]:
    return [
        StagedChunk(
            chunk=staged_chunk_of(chunk, version.document_id, version.number),
            lexemes=lexemes,
            extraction=extraction_of(extraction),
            vector=vector,
        )
        for chunk, lexemes, extraction, vector in connection.execute(SQL["staged_chunks"], (row,))
    ]


def _add_fields(connection: sqlite3.Connection, row: int, document: Document) -> None:
    fields = fields_of(document)
    for name in fields:
        values = values_of(fields, name)
        connection.executemany(
            SQL["add_field_value"], [(name, *stored(value), row) for value in values]
        )
        if values:
            connection.execute(SQL["count_field"], (name, 1))


def _remove_fields(connection: sqlite3.Connection, row: int) -> None:
    names = connection.execute(SQL["fields_of_document"], (row,)).fetchall()
    connection.execute(SQL["remove_field_values"], (row,))
    connection.executemany(SQL["count_field"], [(name, -1) for (name,) in names])
    connection.executemany(SQL["remove_unused_field"], names)


def _bytes(vector: Vectors) -> bytes:
    return canonical_vectors(vector).astype("<f2").tobytes()
