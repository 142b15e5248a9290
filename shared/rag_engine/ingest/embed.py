"""The fourth stage: vectors for chunks and for names that have none yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from rag_engine.core.models import Chunk
from rag_engine.ingest.chunk import ChunkSize, embedded_text
from rag_engine.ports.models import Embedder
from rag_engine.ports.storage import Vectors


def texts_of(chunks: Sequence[Chunk], title: str | None, size: ChunkSize) -> list[str]:
    """What is embedded and indexed of each chunk: its title, its headings and its text."""
    return [
        embedded_text(title, chunk.heading_path, chunk.text, prefix_bytes=size.prefix_bytes)
        for chunk in chunks
    ]


async def embed_names(keys: Sequence[str], embedder: Embedder) -> Vectors:
    """Vectors of entity keys. A key too long for the model is embedded by its beginning.

    Returns:
        Shape `(len(keys), dimensions)`.
    """
    if not keys:
        return np.zeros((0, embedder.dimensions), dtype=np.float32)
    counts = await asyncio.to_thread(embedder.count_tokens, keys)
    fitting = [
        key if count <= embedder.max_tokens else _beginning(key, embedder)
        for key, count in zip(keys, counts, strict=True)
    ]
    return await embedder.embed(fitting, "document")


def _beginning(key: str, embedder: Embedder) -> str:
    # No tokenizer makes more tokens than bytes.
    return key.encode()[: embedder.max_tokens].decode("utf-8", "ignore")
