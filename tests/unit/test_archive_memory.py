"""An archive is written and read part by part: a larger workspace takes no more memory."""

from __future__ import annotations

import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines import put, small_engine
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.archive import check_archive, export_workspace, exporter
from rag_engine.core.ids import chunk_id
from rag_engine.core.models import Assertion, Chunk, Document, Extraction, Mention, Submission
from rag_engine.ports.storage import Content, Workspace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from rag_engine import Engine
    from rag_engine.core.edits import ActiveEdit
    from rag_engine.ports.storage import Vectors

DIMENSIONS = 384
CHUNKS = 20


def silent(doing: str, done: int, total: int) -> None:
    assert done <= total, doing


def content(number: int, hash: str) -> Content:
    """A document that shares nothing but its original with the others."""
    random = np.random.default_rng(number)
    id = f"document {number:06d}"
    text = " ".join(f"{word:x}" for word in random.integers(0, 1 << 30, 60))
    names = [f"name {number} {n}" for n in range(8)]
    extraction = Extraction(
        mentions=tuple(Mention(name=name) for name in names),
        assertions=(Assertion(source=names[0], target=names[1]),),
    )
    return Content(
        document=Document(
            id=id,
            source=id,
            root=None,
            title=None,
            media_type="text/plain",
            metadata={},
            version=1,
            content_hash=hash,
            parsed_hash="",
            size=10,
            chunks=CHUNKS,
            created_at=0.0,
            updated_at=0.0,
        ),
        submission=Submission(document_id=id, source=id, content_hash=hash, size=10),
        chunks=tuple(
            Chunk(
                id=chunk_id(id, 1, n),
                document_id=id,
                version=1,
                ordinal=n,
                text=text,
                start=0,
                end=len(text),
                tokens=60,
            )
            for n in range(CHUNKS)
        ),
        vectors=random.standard_normal((CHUNKS, DIMENSIONS)).astype(np.float32),
        extractions=(extraction,) * CHUNKS,
    )


class Large:
    """A store of as many documents as asked for, none of which is anywhere."""

    def __init__(self, documents: int, hash: str) -> None:
        self.documents = documents
        self._hash = hash

    @asynccontextmanager
    async def contents(self) -> AsyncIterator[Large]:
        yield self

    async def read(self) -> AsyncGenerator[Content, None]:
        for number in range(self.documents):
            yield content(number, self._hash)

    async def edits(self) -> list[ActiveEdit]:
        return []

    async def names(self, keys: Sequence[str]) -> list[Vectors | None]:
        return list(np.ones((len(keys), DIMENSIONS), dtype=np.float32))

    async def versions(self, **_: object) -> list[object]:
        return []

    async def open(self, name: str) -> Workspace:
        mine: Any = self
        return Workspace(name=name, store=mine, queue=mine)

    async def aclose(self) -> None:
        pass


async def peak(work: Callable[[], Awaitable[object]]) -> float:
    """The most memory, in MB, that something takes beyond what there is."""
    tracemalloc.start()
    try:
        await work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path / "data", embedder=HashEmbedder(dimensions=DIMENSIONS))
    yield engine
    await engine.aclose()


async def test_three_times_the_documents_take_no_more_memory(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_CHUNKS", 200)
    hash, _ = await engine.blobs.put(b"original")
    written, read = [], []
    for documents in (30, 90):
        large: Any = Large(documents, hash)
        path = tmp_path / f"{documents}.zip"
        exporting = replace(engine, control=large)
        written.append(
            await peak(lambda e=exporting, p=path: export_workspace(e, "default", p, silent))  # type: ignore[misc]
        )
        read.append(await peak(lambda p=path: check_archive(p, silent)))  # type: ignore[misc]
    print(written, read)
    # What the larger one has more are vectors of 2.5 MB, and texts.
    assert written[1] < written[0] + 1
    assert read[1] < read[0] + 1


async def test_an_export_holds_no_vectors_as_a_search_does(engine: Engine, tmp_path: Path) -> None:
    await put(engine, "brand", "# Ada Brand\n\nAda Brand was born in Whitby.")
    store: Any = (await engine.workspace()).store
    await export_workspace(engine, "default", tmp_path / "out.zip", silent)
    assert not store._residents._states
    async with store.snapshot() as reader:
        await reader.vectors("chunk", np.zeros(1, dtype=np.int64))
    assert store._residents._states
