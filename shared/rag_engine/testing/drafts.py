"""Small documents with everything a pipeline would have found in them, and a way to ingest them.

Vectors are pure functions of the text that has them, from a lattice whose dot products are exact
in float16: equal scores are equal to the last bit on every store, and ties abound.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from rag_engine.core.ids import ChunkId, EntityId, chunk_id, entity_id
from rag_engine.core.models import (
    Assertion,
    Chunk,
    Extraction,
    Mention,
    Metadata,
    Stage,
    Submission,
    Version,
    VersionStatus,
)
from rag_engine.core.names import entity_key
from rag_engine.core.tokens import tokenize
from rag_engine.errors import Conflict, InvalidRequest
from rag_engine.ports.storage import ChunkEvidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rag_engine.core.edits import Edit
    from rag_engine.ports.queue import Job, Lease
    from rag_engine.ports.storage import Control, Ids, Store, Vectors, Workspace

MODEL: Final = "lattice-8"
DIMENSIONS: Final = 8
LEASE: Final = 30.0
"""Seconds for which the contracts lease a version, on the clock of a `Place`."""

WORKER: Final = "worker"
MEDIA_TYPE: Final = "text/plain"
_GAP: Final = "\n\n"


class Place(Protocol):
    """Where workspaces live: a folder, a database. The one fixture the store contracts ask for."""

    def __call__(self, *, model: str = MODEL, dimensions: int = DIMENSIONS) -> Control:
        """Open the place, as another process would; nothing is lost between two calls."""
        ...

    async def pass_time(self, seconds: float) -> None:
        """Let that much time pass on the clock by which leases run out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A chunk to be: its text, what was found in it, and its vector if it is not `lattice(text)`."""

    text: str
    extraction: Extraction = field(default_factory=Extraction)
    vector: tuple[float, ...] | None = None
    pages: tuple[int, int] | None = None
    heading_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A document to be."""

    id: str
    passages: tuple[Passage, ...] = ()
    source: str = "notes.txt"
    root: str | None = None
    title: str | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def submission(self) -> Submission:
        """What the caller hands in: the same passages give the same content."""
        content = repr(self.passages).encode()
        return Submission(
            document_id=self.id,
            source=self.source,
            content_hash=hashlib.sha256(content).hexdigest(),
            size=len(content),
            root=self.root,
            title=self.title,
            metadata=self.metadata,
        )

    def evidence(self, version: int = 1) -> list[ChunkEvidence]:
        """Everything to be staged for that version of it."""
        found, start = [], 0
        for ordinal, passage in enumerate(self.passages):
            end = start + len(passage.text)
            words = tokenize(passage.text)
            chunk = Chunk(
                id=chunk_id(self.id, version, ordinal),
                document_id=self.id,
                version=version,
                ordinal=ordinal,
                text=passage.text,
                start=start,
                end=end,
                tokens=len(words),
                pages=passage.pages,
                heading_path=passage.heading_path,
            )
            vector = lattice(passage.text) if passage.vector is None else floats(passage.vector)
            found.append(
                ChunkEvidence(
                    chunk=chunk,
                    vector=vector,
                    lexemes=" ".join(words),
                    extraction=passage.extraction,
                )
            )
            start = end + len(_GAP)
        return found

    def chunk_ids(self, version: int = 1) -> list[ChunkId]:
        """The ids its chunks have in that version, in order."""
        return [chunk_id(self.id, version, ordinal) for ordinal in range(len(self.passages))]


def told(*names: str, pairs: Iterable[tuple[str, str]] = ()) -> Extraction:
    """Return evidence that mentions `names` and joins `pairs` of them, with nothing else to say."""
    return Extraction(
        mentions=tuple(Mention(name=name) for name in names),
        assertions=tuple(Assertion(source=source, target=target) for source, target in pairs),
    )


def saying(id: str, extraction: Extraction) -> Draft:
    """Return a document of one chunk with this evidence."""
    return Draft(id=id, passages=(Passage(text="x", extraction=extraction),))


def mentioning(id: str, name: str) -> Draft:
    """Return a document of one chunk that is a name and mentions it."""
    return Draft(id=id, passages=(Passage(text=name, extraction=told(name)),))


def one_each(mentions: Iterable[Mention]) -> list[Draft]:
    """Return a document for each mention."""
    return [saying(f"d{n}", Extraction(mentions=(one,))) for n, one in enumerate(mentions)]


def id_of(name: str) -> EntityId:
    """Return the id of the entity of that name."""
    return entity_id(entity_key(name))


def int64(ids: Sequence[int]) -> Ids:
    """Return ids as the ports want them."""
    return np.array(ids, dtype=np.int64)


def floats(values: Iterable[float]) -> Vectors:
    """Return a vector of these values, as the ports want it."""
    return np.array([*values], dtype=np.float32)


def lattice(text: str) -> Vectors:
    """Return a vector of length 1 that is a pure function of `text`: one axis, or four halves."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest()
    signs = [1.0 if digest[1] >> axis & 1 else -1.0 for axis in range(DIMENSIONS)]
    if digest[0] % 2:
        axis = digest[2] % DIMENSIONS
        return floats(signs[one] if one == axis else 0.0 for one in range(DIMENSIONS))
    first = digest[2] % 2
    return floats(signs[one] / 2 if one % 2 == first else 0.0 for one in range(DIMENSIONS))


async def put(store: Store, *edits: Edit) -> list[bool]:
    """Put edits into force; return which of them were new."""
    return [await store.edit(one, np.stack([lattice(key) for key in one.keys])) for one in edits]


async def try_put(store: Store, edit: Edit) -> bool:
    """Put an edit into force, if it makes sense beside the others; return whether it is new."""
    try:
        [new] = await put(store, edit)
    except (Conflict, InvalidRequest):
        return False
    return new


async def stage(store: Store, lease: Lease, evidence: Sequence[ChunkEvidence]) -> None:
    """Stage evidence and the vectors of the names it is the first to mention."""
    missing = await store.stage(lease, evidence)
    if missing:
        await store.stage_names(lease, missing, np.stack([lattice(key) for key in missing]))


async def work(workspace: Workspace, job: Job, draft: Draft) -> Version:
    """Do all of a claimed version's work, in batches of two chunks."""
    lease = job.lease
    await workspace.queue.checkpoint(
        lease, Stage.PARSE, media_type=MEDIA_TYPE, title="Parsed", parsed_hash=f"of {draft.id}"
    )
    evidence = draft.evidence(lease.version)
    for first in range(0, len(evidence), 2):
        await stage(workspace.store, lease, evidence[first : first + 2])
    await workspace.queue.checkpoint(lease, Stage.EMBED)
    return await workspace.store.finish(lease)


async def claim(workspace: Workspace) -> Job:
    """Claim the version that waits; there must be one."""
    job = await workspace.queue.claim(WORKER, LEASE)
    assert job is not None
    return job


async def ingest(workspace: Workspace, *drafts: Draft) -> list[Version]:
    """Take drafts all the way in, one after another; nothing else may be waiting."""
    versions = []
    for draft in drafts:
        version = await workspace.queue.accept(draft.submission)
        if version.status is not VersionStatus.INDEXED:
            job = await claim(workspace)
            assert job.version.document_id == draft.id
            version = await work(workspace, job, draft)
        versions.append(version)
    return versions
