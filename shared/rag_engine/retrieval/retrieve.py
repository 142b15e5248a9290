"""A question to ranked chunks, within one view of the store."""

from __future__ import annotations

from dataclasses import dataclass

from rag_engine.core.filters import Filter
from rag_engine.ports.models import Embedder
from rag_engine.ports.storage import Hits, Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """Chunks by rank.

    Attributes:
        hits: Best first.
        warnings: What the reader of the answer should know, in sentences.
    """

    hits: Hits
    warnings: tuple[str, ...] = ()


async def retrieve(
    reader: Reader, question: str, *, k: int, filter: Filter | None, embedder: Embedder
) -> Retrieved:
    """The `k` chunks that fit a question best."""
    vectors = await embedder.embed([question], "query")
    [hits] = await reader.search_dense("chunk", vectors, k, filter=filter)
    return Retrieved(hits=hits)
