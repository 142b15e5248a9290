"""A program that writes a data folder, or asks it, beside others that do. Run it as a script.

What it did it appends to a file, a line of JSON each, with times that all processes share
(`CLOCK_MONOTONIC`). When its time is over it says so, waits until it is told that the others are
done too, and leaves behind all that it sees of the folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import random
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from crashing import EMBEDDER, embedded

from rag_engine.core.vectors import best, canonical
from rag_engine.engine import Question
from rag_engine.errors import NotFound
from rag_engine.ingest.embed import texts_of
from rag_engine.testing.observation import list_all, observe

if TYPE_CHECKING:
    from rag_engine.core.models import Chunk, Document
    from rag_engine.engine import Engine
    from rag_engine.ports.storage import Reader

DOCUMENTS = 3
SENTENCES = 45
NEAREST = 10
MARK = re.compile(r"\((\w+-\d+) (\d+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What was done, or seen, between two moments.

    Attributes:
        what: `write`, `delete`, or `ask`.
        began: Before the call.
        ended: When it had returned; of a write, when it was seen to be indexed.
        documents: The text's number of each document that was written, deleted (0) or seen.
    """

    what: str
    began: float
    ended: float
    documents: dict[str, int]


def text_of(id: str, number: int) -> str:
    """A text of several chunks, every sentence of which says what it is from."""
    return "\n\n".join(
        f"Keeper Ann Lee lit lamp {n} of Farne at dusk ({id} {number})." for n in range(SENTENCES)
    )


class Writer:
    """Submits, replaces and deletes documents that nobody else writes, and ingests what is pending.

    Args:
        engine: Over the folder.
        seed: Names its documents, and draws what it does.
    """

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._ids = [f"w{seed}-{number}" for number in range(DOCUMENTS)]
        self._random = random.Random(seed)
        self._number = 0

    async def act(self) -> Deed:
        """Do the next thing."""
        id, began = self._random.choice(self._ids), time.monotonic()
        if self._random.random() < 0.3:
            try:
                await self._engine.delete([id])
            except NotFound:  # the workspace is not there yet
                await asyncio.sleep(0.01)
            return Deed(what="delete", began=began, ended=time.monotonic(), documents={id: 0})
        for _ in range(self._random.choice((1, 1, 2))):  # of two the first is never worth seeing
            self._number += 1
            version = await self._engine.submit(
                text_of(id, self._number).encode(), document_id=id, source=f"{id}.txt"
            )
        await self._engine.work()
        await self._engine.outcome(version)
        seen = {id: self._number}
        return Deed(what="write", began=began, ended=time.monotonic(), documents=seen)


class Asker:
    """Looks at all of a snapshot, and asks questions.

    Args:
        engine: Over the folder.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def act(self) -> Deed:
        """Look once; what is not whole, or not found where it is, raises."""
        began = time.monotonic()
        try:
            store = (await self._engine.workspace()).store
        except NotFound:  # nobody has written yet
            await asyncio.sleep(0.01)
            return Deed(what="ask", began=began, ended=time.monotonic(), documents={})
        async with store.snapshot() as reader:
            ended = time.monotonic()
            documents = await list_all(reader)
            chunks = {one.id: await reader.document_chunks(one.id) for one in documents}
            shown = {one.id: whole(one, chunks[one.id]) for one in documents}
            await self._compare(reader, documents, chunks)
        await self._ask()
        return Deed(what="ask", began=began, ended=ended, documents=shown)

    async def _compare(
        self, reader: Reader, documents: list[Document], chunks: dict[str, list[Chunk]]
    ) -> None:
        """A dense search finds what a scan over the vectors of this snapshot's texts finds."""
        size = self._engine.pipeline.size
        texts = [t for one in documents for t in texts_of(chunks[one.id], one.title, size)]
        if not texts:
            return
        ids = np.array([one.id for part in chunks.values() for one in part], dtype=np.int64)
        values = canonical(await EMBEDDER.embed(texts, "document"))
        query = np.random.default_rng().standard_normal((1, EMBEDDER.dimensions), np.float32)
        query /= np.linalg.norm(query)
        scores = values.astype(np.float64) @ query[0]
        _, expected = best(ids, scores, NEAREST)
        [found] = await reader.search_dense("chunk", query, NEAREST)
        np.testing.assert_allclose(found.scores, expected, atol=1e-5)
        own = dict(zip(ids.tolist(), scores.tolist(), strict=True))
        np.testing.assert_allclose(found.scores, [own[id] for id in found.ids.tolist()], atol=1e-5)

    async def _ask(self) -> None:
        found = await self._engine.search(Question(text="Who lit the lamp of Farne at dusk?"))
        seen: dict[str, str] = {}
        for passage in found.context.passages:
            for id, number in MARK.findall(passage.text):
                assert seen.setdefault(id, number) == number, "two versions in one answer"


def whole(document: Document, chunks: list[Chunk]) -> int:
    """The number of the text that a document shows, all of which is there and nothing else."""
    [(id, number)] = {mark for chunk in chunks for mark in MARK.findall(chunk.text)}
    text = text_of(id, int(number))
    assert id == document.id
    assert len(chunks) == document.chunks > 1
    assert all(text[one.start : one.end] == one.text for one in chunks)
    assert (chunks[0].start, chunks[-1].end) == (0, len(text))
    return int(number)


async def live(role: str, folder: Path, seconds: float, seed: int, log: Path) -> None:
    """Act until the time is over, then wait and look."""
    engine = embedded(folder, None)
    one = Writer(engine, seed) if role == "write" else Asker(engine)
    until = time.monotonic() + seconds
    with log.open("w", buffering=1) as file:
        while time.monotonic() < until:
            print(json.dumps(asdict(await one.act())), file=file)
    await engine.work()
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with (await engine.workspace()).store.snapshot() as reader:
        log.with_suffix(".seen").write_bytes(pickle.dumps(await observe(reader)))
    await engine.aclose()


if __name__ == "__main__":
    logging.disable()
    role, folder, seconds, seed, log = sys.argv[1:]
    asyncio.run(live(role, Path(folder), float(seconds), int(seed), Path(log)))
