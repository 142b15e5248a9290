"""The texts of the simulation, a parser and an extractor for them, and what they come to."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.core.evidence import canonical
from rag_engine.core.models import Assertion, Chunk, Extraction, Mention, ParsedDocument
from rag_engine.errors import DocumentUnreadable
from rag_engine.ingest.chunk import ChunkSize, chunk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

    from rag_engine.ports.models import Passage

IDS = ("a", "ä/ö", "z'; --")
UNREADABLE = "\x00"
DEFECT = "defect "
SLOW = "Ann waits. Extracting this takes longer than a lease."

SIZES = (
    ChunkSize(max_tokens=64, target_tokens=16, overlap_tokens=0),
    ChunkSize(max_tokens=64, target_tokens=40, overlap_tokens=8),
)
"""How two releases cut the same text: a version must be of the one or of the other."""

EMBEDDER = HashEmbedder(dimensions=8, max_tokens=64)

NAMES = ("Ann", "Bob", "Carol", "Dublin", "Elba", "Fano")
_WORDS = "river bank keeps the old light over a grey sea and many boats sail".split()
_NAME = re.compile(r"\b[A-Z][a-z]+\b")


def draw_text(random: Random) -> str:
    """A text of a few paragraphs, or one that nobody can read, or that brings up a defect."""
    if random.random() < 0.06:
        return random.choice((UNREADABLE, DEFECT)) + random.choice(NAMES)
    paragraphs = []
    for _ in range(random.choice((1, 1, 2, 6, 12))):
        words = random.choices(_WORDS, k=random.randint(3, 14))
        for _ in range(random.randint(0, 3)):
            words.insert(random.randrange(len(words)), random.choice(NAMES))
        paragraphs.append(" ".join(words).capitalize() + ".")
    return "\n\n".join(paragraphs)


def parsed(text: str) -> ParsedDocument:
    """What the parser makes of a text."""
    if text.startswith(DEFECT):
        raise RuntimeError("a defect of the parser")
    if text.startswith(UNREADABLE):
        raise DocumentUnreadable("Nobody can read it. Write it again.")
    return ParsedDocument(text=text, media_type="text/plain", title=text.split(maxsplit=1)[0])


def found_in(text: str) -> Extraction:
    """What the extractor finds: capitalised words, each joined to the next."""
    names = _NAME.findall(text)
    pairs = [(one, other) for one, other in pairwise(names) if one != other]
    return canonical(
        Extraction(
            mentions=tuple(Mention(name=name, description=text[:12]) for name in names),
            assertions=tuple(Assertion(source=one, target=other) for one, other in pairs),
        )
    )


class PlainParser:
    """A `Parser` of these texts."""

    fingerprint = "plain"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        return parsed(await asyncio.to_thread(path.read_text, encoding="utf-8"))


class NameExtractor:
    """An `Extractor` of `found_in`, which takes its time if chance is given."""

    fingerprint = "names"

    def __init__(self, random: Random | None = None) -> None:
        self._random = random

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        if self._random is not None:
            slow = any(one.text == SLOW for one in passages)
            await asyncio.sleep(50.0 if slow else self._random.choice((0.1, 1.0, 5.0, 50.0)))
        return [found_in(one.text) for one in passages]


@lru_cache(maxsize=4096)
def chunks_of(text: str, id: str, number: int, size: ChunkSize) -> tuple[Chunk, ...]:
    """The chunks a version has to have."""
    return tuple(
        chunk(
            parsed(text),
            document_id=id,
            version=number,
            count_tokens=EMBEDDER.count_tokens,
            size=size,
        )
    )
