"""Everything that a workspace's file holds, read row by row, to be copied."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np

from rag_engine.adapters.sqlite.edits import active_edit_of
from rag_engine.adapters.sqlite.evidence import found_in
from rag_engine.adapters.sqlite.functions import checksum, damaged
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import chunk_of, document_of, id_list, version_of
from rag_engine.adapters.sqlite.views import Readers, View
from rag_engine.core.edits import ActiveEdit
from rag_engine.core.ids import entity_id
from rag_engine.core.models import Document
from rag_engine.ports.storage import Content, Vectors

T = TypeVar("T")

_PAGE: Final = 100


class SqliteContents:
    """See `Contents`: one read transaction, whose vectors are not held by the process.

    Args:
        readers: Who runs the statements.
        view: The read transaction.
        dimensions: Of the vectors.
    """

    def __init__(self, readers: Readers, view: View, dimensions: int) -> None:
        self._readers = readers
        self._view = view
        self._dimensions = dimensions
        found: list[Any] = view.rows(SQL["meta"], "documents")
        self._documents = int(found[0][0]) if found else 0

    @property
    def documents(self) -> int:
        """See `Contents.documents`."""
        return self._documents

    async def read(self) -> AsyncGenerator[Content, None]:
        """See `Contents.read`."""
        sql = f"{SQL['document_columns']} {SQL['listed_by_id']}"
        after = ""
        while page := await self._run(partial(self._view.rows, sql, None, after, None, _PAGE)):
            for document in map(document_of, page):
                yield await self._run(partial(self._content, document))
                after = document.id

    async def edits(self) -> list[ActiveEdit]:
        """See `Contents.edits`."""
        return [
            active_edit_of(row) for row in await self._run(lambda: self._view.rows(SQL["edits"]))
        ]

    async def names(self, keys: Sequence[str]) -> list[Vectors | None]:
        """See `Contents.names`."""
        ids = [entity_id(key) for key in keys]
        found = await self._run(partial(self._names, ids, keys))
        return [found.get(key) for key in keys]

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._readers.run(work)

    def _content(self, document: Document) -> Content:
        rows: list[Any] = self._view.rows(SQL["chunks_to_copy"], document.id)
        versions = f"{SQL['version_columns']} {SQL['version_by_number']}"
        [version] = self._view.rows(versions, document.id, document.version)
        vectors = self._vectors([row[-2:] for row in rows])
        return Content(
            document=document,
            submission=version_of(version).submission,
            chunks=tuple(chunk_of(row) for row in rows),
            vectors=vectors.reshape(len(rows), self._dimensions),
            extractions=tuple(found_in(self._view, [row[0] for row in rows])),
        )

    def _names(self, ids: Sequence[int], keys: Sequence[str]) -> dict[str, Vectors]:
        rows: list[Any] = self._view.rows(SQL["name_vectors"], id_list(ids), id_list(keys))
        vectors = self._vectors([row[1:] for row in rows])
        return {row[0]: vector for row, vector in zip(rows, vectors, strict=True)}

    def _vectors(self, found: Sequence[tuple[bytes, int | None]]) -> Vectors:
        """Vectors whose bytes are those that were written, by their checksums."""
        with self._view.exclusive():  # which says of what file it is that is damaged
            for vector, written in found:
                if len(vector) != 2 * self._dimensions or written not in (None, checksum(vector)):
                    raise damaged("a vector is not what was written")
        values = np.frombuffer(b"".join(vector for vector, _ in found), dtype="<f2")
        return values.reshape(-1, self._dimensions).astype(np.float32)
