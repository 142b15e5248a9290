"""Ranked chunks into the context of an answer: budgeted, in a stable order, numbered.

A number stands for one passage; an answer cites it as `[n]`. Square brackets around numbers that a
document brings along (footnote marks) are made round, so that only ours can be taken for citations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rag_engine.core.ids import ChunkId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.core.models import Chunk, Document
    from rag_engine.ports.storage import Hits, Reader

_FOOTNOTE: Final = re.compile(r"\[(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\]")
_HEADER_TOKENS: Final = 8  # number, brackets and line ends around a passage
_BYTES_PER_TOKEN: Final = 3  # of a header; English has 4, other languages fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedChunk:
    """A chunk that retrieval found, with its document.

    Attributes:
        score: Larger is better; comparable within one question only.
    """

    chunk: Chunk
    document: Document
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where a passage comes from: what `[number]` in an answer stands for.

    Attributes:
        number: Counts from 1, best passage first.
        document_name: The document's title, else its source.
        pages: First and last page, or `None` where the format has no pages.
        start: First character of the passage in the document's text.
        end: The character after its last.
        score: As retrieval gave it.
    """

    number: int
    document_id: str
    document_name: str
    source: str
    version: int
    chunk_id: int
    ordinal: int
    start: int
    end: int
    pages: tuple[int, int] | None
    heading_path: tuple[str, ...]
    score: float

    @property
    def label(self) -> str:
        """The reference in words: name, pages, headings."""
        parts = [self.document_name]
        if self.pages:
            first, last = self.pages
            parts.append(f"page {first}" if first == last else f"pages {first}–{last}")
        headings = [h for h in self.heading_path if h != self.document_name]
        if headings:
            parts.append(" › ".join(headings))
        return ", ".join(" ".join(part.split()) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One numbered text of the context.

    Attributes:
        text: The chunk's text, footnote marks made round.
        tokens: What it takes of the budget, its header included.
    """

    reference: Reference
    text: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much text an answer may rest on.

    Attributes:
        tokens: All passages together with their headers, in tokens of the embedder.
        passages: How many at most.
        per_document: How many of one document at most.
    """

    tokens: int = 6000
    passages: int = 20
    per_document: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an answer rests on.

    Attributes:
        passages: Numbered from 1 in their order.
        left_out: Ranked chunks that did not fit the budget.
    """

    passages: tuple[Passage, ...] = ()
    left_out: int = 0

    @property
    def references(self) -> tuple[Reference, ...]:
        """The references of all passages, by number."""
        return tuple(p.reference for p in self.passages)

    @property
    def tokens(self) -> int:
        """What the passages take of the budget."""
        return sum(p.tokens for p in self.passages)

    def render(self) -> str:
        """The passages as a model reads them: a line `[n] document, pages, headings`, the text."""
        return "\n\n".join(
            f"[{p.reference.number}] {p.reference.label}\n{p.text}" for p in self.passages
        )


async def ranked(reader: Reader, hits: Hits) -> list[RankedChunk]:
    """Hits with their chunks and documents, best first."""
    chunks = await reader.chunks([ChunkId(id) for id in hits.ids.tolist()])
    ids = list(dict.fromkeys(chunk.document_id for chunk in chunks if chunk))
    documents = dict(zip(ids, await reader.documents(ids), strict=True))
    found = []
    for chunk, score in zip(chunks, hits.scores.tolist(), strict=True):
        document = documents[chunk.document_id] if chunk else None
        if chunk and document:
            found.append(RankedChunk(chunk=chunk, document=document, score=score))
    return found


def assemble(ranked: Sequence[RankedChunk], *, budget: Budget | None = None) -> Context:
    """Number the best chunks that fit the budget, best first.

    The order is by score, then by chunk id, so equal results give equal contexts. A chunk that
    repeats the text of a better one is passed over.

    Args:
        ranked: In any order; no chunk twice.
        budget: Limits; the first chunk is taken even when it alone exceeds them.
    """
    budget = budget or Budget()
    passages: list[Passage] = []
    texts: set[str] = set()
    per_document: dict[str, int] = {}
    used = left_out = 0
    for found in sorted(ranked, key=lambda r: (-r.score, r.chunk.id)):
        text = defuse_footnotes(found.chunk.text)
        if text in texts:
            continue
        taken = per_document.get(found.document.id, 0)
        if passages and (len(passages) >= budget.passages or taken >= budget.per_document):
            left_out += 1
            continue
        reference = _reference(len(passages) + 1, found)
        header = len(reference.label.encode()) // _BYTES_PER_TOKEN + _HEADER_TOKENS
        tokens = found.chunk.tokens + header
        if passages and used + tokens > budget.tokens:
            left_out += 1
            continue
        passages.append(Passage(reference=reference, text=text, tokens=tokens))
        texts.add(text)
        per_document[found.document.id] = taken + 1
        used += tokens
    return Context(passages=tuple(passages), left_out=left_out)


def defuse_footnotes(text: str) -> str:
    """Make `[12]` in a document's text `(12)`: it is no citation of ours."""
    return _FOOTNOTE.sub(r"(\1)", text)


def _reference(number: int, found: RankedChunk) -> Reference:
    chunk, document = found.chunk, found.document
    return Reference(
        number=number,
        document_id=document.id,
        document_name=document.name,
        source=document.source,
        version=chunk.version,
        chunk_id=chunk.id,
        ordinal=chunk.ordinal,
        start=chunk.start,
        end=chunk.end,
        pages=chunk.pages,
        heading_path=chunk.heading_path,
        score=found.score,
    )
