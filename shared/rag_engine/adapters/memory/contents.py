"""Everything that a workspace holds, to be copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rag_engine.ports.storage import Content

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from rag_engine.adapters.memory.tables import Tables
    from rag_engine.core.edits import ActiveEdit
    from rag_engine.ports.storage import Vectors


class MemoryContents:
    """A view of a workspace; see `rag_engine.ports.storage.Contents`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    @property
    def documents(self) -> int:
        return len(self._tables.documents)

    async def read(self) -> AsyncGenerator[Content, None]:
        for id, document in sorted(self._tables.documents.items()):
            evidence = self._tables.evidence[id, document.version].values()
            found = sorted(evidence, key=lambda one: one.chunk.ordinal)
            vectors = [np.zeros((0, self._tables.dimensions), dtype=np.float32)]
            yield Content(
                document=document,
                submission=self._tables.versions[id, document.version].version.submission,
                chunks=tuple(one.chunk for one in found),
                vectors=np.concatenate(vectors + [one.vector[None, :] for one in found]),
                extractions=tuple(one.extraction for one in found),
            )

    async def edits(self) -> list[ActiveEdit]:
        edits = self._tables.edits.values()
        return sorted(edits, key=lambda one: (one.made_at, one.edit.id))

    async def names(self, keys: Sequence[str]) -> list[Vectors | None]:
        known = {**self._tables.vectors_of_edits(), **self._tables.names}
        return [known.get(key) for key in keys]
