"""A generated workspace of any size, written through the real ports.

Words and mentions follow Zipf's law; every document has metadata that selects 1 %, 20 % or half of
them. Everything is drawn from a seed, so that two runs write the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rag_engine.core.ids import chunk_id
from rag_engine.core.models import Assertion, Chunk, Extraction, Mention, Submission
from rag_engine.ports.queue import Lease
from rag_engine.ports.storage import ChunkEvidence, Workspace

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the workspace is.

    Attributes:
        names: To draw mentions from; some are never drawn (202,000 are, of 300,000).
        mentions: Of each chunk.
        relations: Assertions of each chunk.
        words: Of each chunk; about seven characters each.
    """

    documents: int = 20_000
    chunks_per_document: int = 5
    names: int = 300_000
    mentions: int = 8
    relations: int = 3
    words: int = 130
    vocabulary: int = 60_000
    dimensions: int = 384


class Corpus:
    """Documents drawn from a seed.

    Args:
        shape: How large they are.
        seed: What is drawn follows from it.
        word: A word by its number; common ones have small numbers.
        name: The name of an entity by its number.
    """

    def __init__(
        self,
        shape: Shape,
        seed: int = 7,
        *,
        word: Callable[[int], str] = "word{:05d}".format,
        name: Callable[[int], str] = "Name {:06d}".format,
    ) -> None:
        self.shape = shape
        self._word, self._name = word, name
        self._random = np.random.default_rng(seed)
        self._words = _zipf(shape.vocabulary, 1.05)
        self._entities = _zipf(shape.names, 0.8)
        self._centres = self._random.standard_normal((500, shape.dimensions)).astype(np.float32)

    def document(self, number: int) -> list[ChunkEvidence]:
        """The evidence of the first version of document `number`."""
        shape = self.shape
        return [self._chunk(number, ordinal) for ordinal in range(shape.chunks_per_document)]

    def vector(self) -> Floats:
        """A unit vector near one of the topics."""
        centre = self._centres[self._random.integers(len(self._centres))]
        noise = self._random.standard_normal(self.shape.dimensions).astype(np.float32)
        vector: Floats = centre + noise
        return vector / np.linalg.norm(vector)

    def words(self, count: int) -> list[str]:
        """Words as common as their numbers are small."""
        return [self._word(n) for n in _draw(self._random, self._words, count).tolist()]

    def names(self, count: int) -> list[str]:
        """Distinct names of entities, few of them very common."""
        numbers = dict.fromkeys(_draw(self._random, self._entities, count).tolist())
        return [self._name(n) for n in numbers]

    def submission(self, number: int) -> Submission:
        """Document `number` with metadata for filters."""
        return Submission(
            document_id=f"document-{number:06d}",
            source=f"folder/document-{number:06d}.txt",
            content_hash=f"{number:064x}",
            size=5000,
            title=f"Document {number}",
            metadata={"bucket": number % 100, "fifth": number % 5, "half": number % 2 == 0},
        )

    def _chunk(self, number: int, ordinal: int) -> ChunkEvidence:
        shape, id = self.shape, f"document-{number:06d}"
        words, names = self.words(shape.words), self.names(shape.mentions)
        text = " ".join(words)
        start = ordinal * (len(text) + 1)
        pairs = itertools.pairwise(names)
        return ChunkEvidence(
            chunk=Chunk(
                id=chunk_id(id, 1, ordinal),
                document_id=id,
                version=1,
                ordinal=ordinal,
                text=text,
                start=start,
                end=start + len(text),
                tokens=2 * len(words),
            ),
            vector=self.vector(),
            lexemes=text,
            extraction=Extraction(
                mentions=tuple(Mention(name=name, type="name") for name in names),
                assertions=tuple(
                    Assertion(source=a, target=b, keywords="near")
                    for a, b in list(pairs)[: shape.relations]
                ),
            ),
        )


async def fill(
    workspace: Workspace, corpus: Corpus, first: int, last: int, told: Callable[[int], None]
) -> None:
    """Write documents `first` to before `last` through queue and store."""
    for number in range(first, last):
        await add(workspace, corpus, number)
        told(number)


async def add(workspace: Workspace, corpus: Corpus, number: int) -> None:
    """Write one document, durably."""
    await workspace.queue.accept(corpus.submission(number))
    job = await workspace.queue.claim("benchmark", 600)
    if job is None:
        raise RuntimeError("Nothing to claim: is another process working on this workspace?")
    await stage_and_finish(workspace, corpus, job.lease, corpus.document(number))


async def stage_and_finish(
    workspace: Workspace, corpus: Corpus, lease: Lease, evidence: Sequence[ChunkEvidence]
) -> None:
    """Write the evidence of a version that was claimed, and make it visible."""
    missing = await workspace.store.stage(lease, evidence)
    if missing:
        vectors = np.stack([corpus.vector() for _ in missing])
        await workspace.store.stage_names(lease, missing, vectors)
    await workspace.store.finish(lease)


def _zipf(count: int, exponent: float) -> npt.NDArray[np.float64]:
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    return np.cumsum(weights / weights.sum())


def _draw(
    random: np.random.Generator, cumulative: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.int64]:
    return np.minimum(np.searchsorted(cumulative, random.random(count)), len(cumulative) - 1)
