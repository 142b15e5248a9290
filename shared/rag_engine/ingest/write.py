"""The last stage: evidence into the store, where it stays invisible until all of it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rag_engine.core.models import Chunk, Extraction
from rag_engine.core.tokens import tokenize
from rag_engine.ingest.embed import embed_names
from rag_engine.ports.models import Embedder
from rag_engine.ports.queue import Lease
from rag_engine.ports.storage import ChunkEvidence, Store, Vectors

_BATCH: Final = 256
"""Chunks staged in one transaction, so that a long document never holds the write lock long."""


def gather(
    chunks: Sequence[Chunk],
    texts: Sequence[str],
    extractions: Sequence[Extraction],
    vectors: Vectors,
) -> list[ChunkEvidence]:
    """What each chunk brings into the store."""
    return [
        ChunkEvidence(
            chunk=chunk, vector=vector, lexemes=" ".join(tokenize(text)), extraction=extraction
        )
        for chunk, text, extraction, vector in zip(chunks, texts, extractions, vectors, strict=True)
    ]


async def stage(
    store: Store, lease: Lease, evidence: Sequence[ChunkEvidence], embedder: Embedder
) -> None:
    """Stage a version's evidence, and embed the names that the store does not know.

    Raises:
        LeaseLost: The lease is no longer held.
    """
    missing: list[str] = []
    for start in range(0, len(evidence), _BATCH):
        missing = await store.stage(lease, evidence[start : start + _BATCH])
    if missing:
        await store.stage_names(lease, missing, await embed_names(missing, embedder))
