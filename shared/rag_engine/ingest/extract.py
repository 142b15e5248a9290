"""The third stage: chunks to the evidence of entities and relations."""

from __future__ import annotations

from collections.abc import Sequence

from rag_engine.core.evidence import canonical
from rag_engine.core.models import Chunk, Extraction
from rag_engine.ports.models import Extractor, Passage


async def extract(
    chunks: Sequence[Chunk], title: str | None, extractor: Extractor
) -> list[Extraction]:
    """The evidence in each chunk, in canonical form."""
    passages = [
        Passage(text=chunk.text, heading_path=chunk.heading_path, title=title) for chunk in chunks
    ]
    return [canonical(found) for found in await extractor.extract(passages)]
