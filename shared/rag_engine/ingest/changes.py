"""What people have changed in a workspace's graph by hand: edits, and facts that they added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag_engine.core.edits import FACT_PREFIX, ONLY_FACTS, ActiveEdit, Fact
from rag_engine.errors import BlobMissing
from rag_engine.ingest.parse import recall_fact

if TYPE_CHECKING:
    from rag_engine.core.models import Document
    from rag_engine.ports.blobs import Blobs
    from rag_engine.ports.storage import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What people have changed in a workspace's graph by hand.

    Attributes:
        edits: Aliases and suppressions, by the time they were made.
        facts: By their ids.
        lost: Ids of facts whose originals are gone, so that nobody can tell what they say. They can
            be undone.
    """

    edits: tuple[ActiveEdit, ...]
    facts: tuple[Fact, ...]
    lost: tuple[str, ...] = ()


async def changes(store: Store, blobs: Blobs) -> Changes:
    """All that was changed by hand and not undone."""
    async with store.snapshot() as reader:
        edits = await reader.edits()
        facts: list[Document] = []
        after: str | None = None
        while True:
            page = await reader.list_documents(after=after, filter=ONLY_FACTS)
            facts += page.documents
            if (after := page.next) is None:
                break
    known, lost = list[Fact](), list[str]()
    for one in facts:
        try:
            known.append(await recall_fact(one.content_hash, blobs))
        except BlobMissing:
            lost.append(one.id.removeprefix(FACT_PREFIX))
    return Changes(edits=tuple(edits), facts=tuple(known), lost=tuple(lost))
