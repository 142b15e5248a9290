"""Everything that a workspace holds as of one write counter, read batch by batch, to be copied.

What is gone is kept for minutes only, and copying may take hours. So a `Pin` says from which counter
on nothing may be removed; it is renewed as long as somebody reads, and runs out if nobody does.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np

from rag_engine.adapters.neo4j.connection import Connection, Row
from rag_engine.adapters.neo4j.errors import kept_no_more
from rag_engine.adapters.neo4j.leases import token
from rag_engine.adapters.neo4j.records import (
    Properties,
    chunk_of,
    document_of,
    edit_of,
    edit_vectors,
    extraction_of,
    version_of,
)
from rag_engine.core.edits import ActiveEdit
from rag_engine.core.ids import entity_id
from rag_engine.errors import RagEngineError
from rag_engine.ports.storage import Content, Contents, Vectors
from rag_engine.telemetry import events

logger = logging.getLogger(__name__)

_PINNED: Final = 600.0
"""Seconds for which a pin holds since it was renewed last."""

_RENEWED: Final = 60.0
_LISTED: Final = 10_000
_PAGE: Final = 100
_CHUNKS: Final = 512
"""Chunks read with one statement, unless one document has more."""


@asynccontextmanager
async def opened_contents(
    connection: Connection, workspace: int, dimensions: int
) -> AsyncIterator[Contents]:
    """Open a view of everything, and keep what it shows until it is closed."""
    contents = _Neo4jContents(connection, workspace, dimensions)
    await contents.open()
    try:
        yield contents
    finally:
        await contents.close()


class _Neo4jContents:
    """See `Contents`."""

    def __init__(self, connection: Connection, workspace: int, dimensions: int) -> None:
        self._connection = connection
        self._workspace = workspace
        self._dimensions = dimensions
        self._pin = token()
        self._renew_at = 0.0
        self._counter = 0
        self._rows: list[int] = []
        self._edits: list[Properties] = []

    async def open(self) -> None:
        await self._hold()
        documents: list[tuple[str, int]] = []
        after = 0
        while page := await self._read("versions_to_copy", after=after, limit=_LISTED):
            documents += [(row["document"], row["row"]) for row in page]
            after = page[-1]["row"]
        self._rows = [row for _, row in sorted(documents)]
        self._edits = [row["edit"] for row in await self._read("edits_at")]

    async def close(self) -> None:
        try:
            await self._run("unpin", write=True, pin=self._pin)
        except RagEngineError as error:  # it runs out by itself
            logger.warning(str(error), extra={"action": events.OUTDATED_KEPT})

    @property
    def documents(self) -> int:
        """See `Contents.documents`."""
        return len(self._rows)

    async def read(self) -> AsyncGenerator[Content, None]:
        """See `Contents.read`."""
        for start in range(0, len(self._rows), _PAGE):
            rows = self._rows[start : start + _PAGE]
            found = {
                one["version"]["row"]: one["version"]
                for one in await self._read("version_records", rows=rows)
            }
            if len(found) < len(rows):
                raise kept_no_more()
            for batch in _batches([found[row] for row in rows]):
                for content in await self._contents(batch):
                    yield content

    async def edits(self) -> list[ActiveEdit]:
        """See `Contents.edits`."""
        return sorted(map(edit_of, self._edits), key=lambda one: (one.made_at, one.edit.id))

    async def names(self, keys: Sequence[str]) -> list[Vectors | None]:
        """See `Contents.names`."""
        rows = await self._read("name_vectors", ids=[entity_id(key) for key in keys])
        known = {row["id"]: row["vector"] for row in rows}
        for edit in self._edits:
            for key, vector in edit_vectors(edit).items():
                known.setdefault(entity_id(key), vector)
        return [self._vector(known.get(entity_id(key))) for key in keys]

    def _vector(self, stored: bytes | None) -> Vectors | None:
        if stored is None:
            return None
        return np.frombuffer(stored, dtype="<f2").astype(np.float32)

    async def _contents(self, versions: Sequence[Properties]) -> list[Content]:
        chunks = defaultdict[int, list[Row]](list)
        numbers = [one["row"] for one in versions]
        for row in await self._read("chunks_to_copy", versions=numbers):
            chunks[row["version"]].append(row)
        return [self._content(version, chunks[version["row"]]) for version in versions]

    def _content(self, version: Properties, found: Sequence[Row]) -> Content:
        if len(found) < version["chunks"]:
            raise kept_no_more()
        rows = sorted(found, key=lambda row: int(row["chunk"]["ordinal"]))
        vectors = np.frombuffer(b"".join(row["vector"] for row in rows), dtype="<f2")
        return Content(
            document=document_of(version),
            submission=version_of(version).submission,
            chunks=tuple(chunk_of(row["chunk"]) for row in rows),
            vectors=vectors.reshape(len(rows), self._dimensions).astype(np.float32),
            extractions=tuple(extraction_of(row["extraction"]) for row in rows),
        )

    async def _read(self, query: str, **parameters: Any) -> list[Row]:
        if time.monotonic() > self._renew_at:
            await self._hold()
        return await self._run(query, upto=self._counter, **parameters)

    async def _hold(self) -> None:
        """Make the pin, or renew it."""
        asked = {"pin": self._pin, "milliseconds": int(_PINNED * 1000)}
        rows = await self._run("pin", write=True, **asked)
        if not rows:
            raise self._connection.gone(self._workspace)
        self._counter = int(rows[0]["counter"])
        self._renew_at = time.monotonic() + _RENEWED

    async def _run(self, query: str, *, write: bool = False, **parameters: Any) -> list[Row]:
        return await self._connection.run(
            query, workspace=self._workspace, write=write, **parameters
        )


def _batches(versions: Sequence[Properties]) -> Iterator[list[Properties]]:
    """Versions that are read together."""
    batch: list[Mapping[str, Any]] = []
    chunks = 0
    for version in versions:
        if batch and chunks + version["chunks"] > _CHUNKS:
            yield batch
            batch, chunks = [], 0
        batch.append(version)
        chunks += version["chunks"]
    if batch:
        yield batch
