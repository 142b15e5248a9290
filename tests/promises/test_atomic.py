"""Promise 3, Atomic: a version becomes visible whole, and no question mixes two.

While two engines over one data folder replace, delete and add documents, questions are asked of
both: every sentence says of which document and version it is.
"""

from __future__ import annotations

import asyncio
import random
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from engines import put, small_engine
from rag_engine import Engine, Question, VersionStatus
from rag_engine.core.models import Document, ParsedDocument
from rag_engine.errors import DocumentUnreadable, NotFound
from rag_engine.retrieval.plan import MODES

IDS = ("d0", "d1", "d2", "d3")
ROUNDS = 12
pytestmark = pytest.mark.timeout(120)

MARK = re.compile(r"\((d\d) (\d+)\)")


class PlainText:
    """A parser for texts, in this process so that many documents take little time."""

    fingerprint = "plain"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        return ParsedDocument(
            text=await asyncio.to_thread(path.read_text, "utf-8"), media_type="text/plain"
        )


def text_of(id: str, number: int) -> str:
    """A text of several chunks whose sentences all carry the same mark."""
    lines = [f"Keeper Ann Lee lit lamp {n} of Farne at dusk ({id} {number})." for n in range(40)]
    return "\n\n".join(lines)


class Story:
    """What was written, by both engines, and which documents are surely gone."""

    def __init__(self, engines: list[Engine]) -> None:
        self.engines = engines
        self.gone: dict[str, int] = {}
        self.deletes = 0
        self.asked = 0
        self.done = False

    async def write(self, engine: Engine, seed: int) -> None:
        """Replace and delete the documents that are this engine's, in a random order."""
        chance = random.Random(seed)
        mine = [id for n, id in enumerate(IDS) if n % 2 == seed]
        for number in range(ROUNDS):
            for id in mine:
                self.gone.pop(id, None)
                content = text_of(id, number).encode()
                metadata = {"number": number}
                await engine.submit(content, document_id=id, source=id, metadata=metadata)
            await engine.work()
            if chance.random() < 0.5:
                id = chance.choice(mine)
                await engine.delete([id])
                self.deletes += 1
                self.gone[id] = self.deletes

    async def ask(self, engine: Engine, mode: str) -> None:
        """Ask again and again, and look at every passage that comes back."""
        while not self.done:
            gone = dict(self.gone)
            with suppress(NotFound):  # nothing was written yet
                question = Question(text="Who lit the lamps of Farne?", mode=mode)
                found = await engine.search(question)
                self.check(
                    [(one.reference.document_id, one.text) for one in found.context.passages], gone
                )
                await self.look(engine, gone)
            await asyncio.sleep(0.005)

    async def look(self, engine: Engine, gone: dict[str, int]) -> None:
        """Read every document of one snapshot from end to end."""
        async with (await engine.workspace()).store.snapshot() as reader:
            documents = (await reader.list_documents()).documents
            for document in documents:
                chunks = await reader.document_chunks(document.id)
                assert len(chunks) == document.chunks
                self.check([(document.id, chunk.text) for chunk in chunks], gone)
                assert whole(document, [chunk.text for chunk in chunks])
            assert (await reader.stats()).documents == len(documents)

    def check(self, passages: list[tuple[str, str]], gone: dict[str, int]) -> None:
        """Passages of a document are of one version, and of none that was gone before."""
        versions: dict[str, set[str]] = {}
        for id, text in passages:
            marks = MARK.findall(text)
            assert {mark for mark, _ in marks} == {id}
            versions.setdefault(id, set()).update(number for _, number in marks)
            assert id not in gone or self.gone.get(id) != gone[id], f"{id} was deleted before"
        assert all(len(numbers) == 1 for numbers in versions.values()), versions
        self.asked += 1


def whole(document: Document, texts: list[str]) -> bool:
    """Whether chunks hold every sentence of the document's version, and of no other."""
    numbers = {int(number) for text in texts for _, number in MARK.findall(text)}
    assert numbers == {document.metadata["number"]}
    sentences = text_of(document.id, numbers.pop()).split("\n\n")
    return all(any(sentence in text for text in texts) for sentence in sentences)


async def test_no_question_mixes_versions_while_documents_come_and_go(tmp_path: Path) -> None:
    engines = [await small_engine(tmp_path, parser=PlainText()) for _ in range(2)]
    story = Story(engines)
    asking = [
        asyncio.create_task(story.ask(engine, mode))
        for engine, mode in zip((*engines, engines[0]), MODES, strict=True)
    ]
    await asyncio.gather(*(story.write(engine, seed) for seed, engine in enumerate(engines)))
    story.done = True
    await asyncio.gather(*asking)
    assert story.asked > 20
    assert story.deletes > 0
    for engine in engines:
        await engine.aclose()


class Refusing(PlainText):
    """A parser that refuses what says so."""

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        parsed = await super().parse(path, name)
        if "refuse" in parsed.text:
            raise DocumentUnreadable(f"{name!r} says so. Write something else.")
        return parsed


async def test_a_failed_replacement_leaves_the_old_version_answering(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path, parser=Refusing())
    await put(engine, "a", "Ann Lee met Bob Day.")
    wanted = await engine.submit(b"refuse", document_id="a", source="a.md")
    await engine.work()
    assert (await engine.outcome(wanted)).status is VersionStatus.FAILED
    assert "Bob Day" in (await engine.query(Question(text="Whom did Ann Lee meet?"))).text
    assert (await engine.document("a")).version == 1
    await engine.aclose()


async def test_a_cancelled_replacement_leaves_the_old_version_answering(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path, parser=PlainText())
    await put(engine, "a", "Ann Lee met Bob Day.")
    wanted = await engine.submit(b"Ann Lee met nobody.", document_id="a", source="a.md")
    await (await engine.workspace()).queue.cancel("a")
    await engine.work()
    assert (await engine.outcome(wanted)).status is VersionStatus.CANCELLED
    assert "Bob Day" in (await engine.query(Question(text="Whom did Ann Lee meet?"))).text
    await engine.aclose()


async def test_of_two_replacements_the_one_requested_last_wins(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path, parser=PlainText())
    older = await engine.submit(b"Ann Lee met Bob Day.", document_id="a", source="a.md")
    newer = await engine.submit(b"Ann Lee met Cid Fox.", document_id="a", source="a.md")
    await engine.work()
    assert (await engine.outcome(older)).status is VersionStatus.SUPERSEDED
    assert (await engine.outcome(newer)).status is VersionStatus.INDEXED
    assert "Cid Fox" in (await engine.query(Question(text="Whom did Ann Lee meet?"))).text
    await engine.aclose()


async def test_a_delete_supersedes_what_is_wanted_and_what_is_visible(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path, parser=PlainText())
    await put(engine, "a", "Ann Lee met Bob Day.")
    wanted = await engine.submit(b"Ann Lee met Cid Fox.", document_id="a", source="a.md")
    assert await engine.delete(["a"]) == 1
    assert await engine.work() == 0
    ended = await engine.outcome(wanted)
    assert ended == replace(wanted, status=VersionStatus.SUPERSEDED)
    assert (await engine.stats()).documents == 0
    await engine.aclose()
