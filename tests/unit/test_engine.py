"""The engine from end to end, on the real embedded store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engines import put, small_engine
from rag_engine import (
    Engine,
    Message,
    Question,
    Suppression,
    TextDelta,
    VersionStatus,
    Watch,
    parse_filter,
)
from rag_engine.adapters.models.fake import HashEmbedder, ScriptedChat
from rag_engine.core.jobs import MAX_ATTEMPTS, Decision
from rag_engine.core.models import ParsedDocument
from rag_engine.errors import InvalidFilter, InvalidRequest, ModelUnavailable, NotFound
from rag_engine.ports.models import TextRole

LIGHTHOUSE = "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
BRAND = "# Ada Brand\n\nAda Brand was born in Whitby. She kept bees."


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path)
    yield engine
    await engine.aclose()


async def test_a_question_is_answered_with_citations_of_the_documents(engine: Engine) -> None:
    await put(engine, "lighthouse", LIGHTHOUSE)
    await put(engine, "brand", BRAND)
    answer = await engine.query(Question(text="Who built the lighthouse of Farne?"))
    assert "Ada Brand" in answer.text
    assert answer.extractive
    assert "lighthouse" in {reference.document_id for reference in answer.references}
    for reference in answer.context:
        document = await engine.document(reference.document_id)
        text = (await engine.parsed(document)).text
        assert text[reference.start : reference.end].strip()


async def test_the_pieces_of_a_stream_make_up_the_answer(engine: Engine) -> None:
    await put(engine, "lighthouse", LIGHTHOUSE)
    events = [event async for event in engine.stream(Question(text="Who built it?"))]
    pieces = [event.text for event in events[:-1] if isinstance(event, TextDelta)]
    assert "".join(pieces) == events[-1].text


async def test_the_same_content_twice_changes_nothing(engine: Engine) -> None:
    await put(engine, "brand", BRAND)
    opened = await engine.workspace()
    async with opened.store.snapshot() as reader:
        before = reader.counter
    again = await engine.submit(BRAND.encode(), document_id="brand", source="brand.md")
    assert (again.number, again.status) == (1, VersionStatus.INDEXED)
    assert await engine.work() == 0
    async with opened.store.snapshot() as reader:
        assert reader.counter == before


async def test_a_replacement_takes_the_place_of_the_old_version(engine: Engine) -> None:
    await put(engine, "brand", BRAND)
    await put(engine, "brand", "# Ada Brand\n\nAda Brand moved to Leeds.")
    answer = await engine.query(Question(text="Where did Ada Brand go?"))
    assert "Leeds" in answer.text
    assert "Whitby" not in answer.text
    assert (await engine.document("brand")).version == 2


async def test_a_replacement_that_cannot_be_read_leaves_the_old_version(engine: Engine) -> None:
    await put(engine, "brand", BRAND)
    failed = await engine.submit(
        b"%PDF-1.7 and nothing more", document_id="brand", source="brand.md"
    )
    await engine.work()
    ended = await engine.outcome(failed)
    assert ended.status is VersionStatus.FAILED
    assert ended.error is not None
    assert "brand.md" in ended.error
    assert (await engine.document("brand")).version == 1


async def test_a_deleted_document_answers_no_more(engine: Engine) -> None:
    await put(engine, "lighthouse", LIGHTHOUSE)
    await put(engine, "brand", BRAND)
    assert await engine.delete(["brand", "never there"]) == 1
    answer = await engine.query(Question(text="Where was Ada Brand born?"))
    assert {reference.document_id for reference in answer.context} <= {"lighthouse"}
    with pytest.raises(NotFound, match="brand"):
        await engine.document("brand")


async def test_a_filter_hides_all_other_documents(engine: Engine) -> None:
    await put(engine, "lighthouse", LIGHTHOUSE, metadata={"kind": "building"})
    await put(engine, "brand", BRAND, metadata={"kind": "person"})
    question = Question(text="Ada Brand", filter=parse_filter({"eq": {"kind": "person"}}))
    found = await engine.search(question)
    assert {reference.document_id for reference in found.context.references} == {"brand"}


async def test_a_filter_over_an_unknown_field_is_refused(engine: Engine) -> None:
    await put(engine, "brand", BRAND, metadata={"kind": "person"})
    question = Question(text="Ada", filter=parse_filter({"eq": {"knid": "person"}}))
    with pytest.raises(InvalidFilter, match=r"'knid'.*'kind'"):
        await engine.search(question)


async def test_workspaces_do_not_see_each_other(engine: Engine) -> None:
    await put(engine, "lighthouse", LIGHTHOUSE, workspace="one")
    await put(engine, "brand", BRAND, workspace="two")
    found = await engine.search(Question(text="Ada Brand", workspace="two"))
    assert {reference.document_id for reference in found.context.references} == {"brand"}
    with pytest.raises(NotFound, match="three"):
        await engine.search(Question(text="Ada Brand", workspace="three"))


@pytest.mark.parametrize("text", ["", "  \n "])
async def test_an_empty_question_is_refused(engine: Engine, text: str) -> None:
    with pytest.raises(InvalidRequest, match="empty"):
        await engine.query(Question(text=text))


@pytest.mark.parametrize(
    "given",
    [
        {"document_id": ""},
        {"document_id": "x" * 5000},
        {"document_id": "\ud800"},
        {"metadata": {"$id": "x"}},
        {"metadata": {"year": float("nan")}},
        {"metadata": {"number": 2**63}},
        {"title": "a\0b"},
    ],
)
async def test_names_that_cannot_be_stored_change_nothing(
    engine: Engine, given: dict[str, object]
) -> None:
    wanted = {"document_id": "a", "source": "a.md"} | given
    with pytest.raises(InvalidRequest):
        await engine.submit(b"text", **wanted)  # type: ignore[arg-type]
    assert await engine.blobs.hashes() == []


async def test_a_model_writes_the_answer_when_there_is_one(tmp_path: Path) -> None:
    chat = ScriptedChat(["Ada Brand built it [1]. Also [99]."])
    engine = await small_engine(tmp_path, chat=chat)
    await put(engine, "lighthouse", LIGHTHOUSE)
    history = [Message(role="user", content="Hello"), Message(role="assistant", content="Hi")]
    answer = await engine.query(Question(text="Who built the lighthouse?", history=history))
    await engine.aclose()
    assert answer.text.startswith("Ada Brand built it [1].")
    assert (answer.extractive, answer.citations_removed) == (False, 1)


async def test_an_outage_of_the_model_is_an_error(tmp_path: Path) -> None:
    chat = ScriptedChat([ModelUnavailable("the model is away. Start it.")])
    engine = await small_engine(tmp_path, chat=chat)
    await put(engine, "lighthouse", LIGHTHOUSE)
    with pytest.raises(ModelUnavailable):
        await engine.query(Question(text="Who built the lighthouse?"))
    await engine.aclose()


class SlowParser:
    """A parser that never comes to an end."""

    fingerprint = "slow"

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        self.begun.set()
        await asyncio.sleep(3600)
        raise AssertionError(path, name)


async def test_an_interrupted_version_goes_on_at_the_next_run(tmp_path: Path) -> None:
    slow = SlowParser()
    engine = await small_engine(tmp_path, parser=slow)
    version = await engine.submit(BRAND.encode(), document_id="brand", source="brand.md")
    work = asyncio.create_task(engine.work())
    await slow.begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await engine.aclose()
    engine = await small_engine(tmp_path)
    assert await engine.work() == 1
    assert (await engine.outcome(version)).status is VersionStatus.INDEXED
    await engine.aclose()


async def test_whoever_watches_hears_of_every_outcome(engine: Engine) -> None:
    heard: list[tuple[str, str]] = []
    await engine.submit(BRAND.encode(), document_id="good", source="good.md")
    await engine.submit(b"", document_id="empty", source="empty.md")
    await engine.work(watch=Watch(ended=lambda v: heard.append((v.document_id, v.status))))
    assert sorted(heard) == [("empty", "failed"), ("good", "indexed")]


async def test_a_version_that_never_comes_to_an_end_is_given_up(engine: Engine) -> None:
    version = await engine.submit(BRAND.encode(), document_id="brand", source="brand.md")
    opened = await engine.workspace()
    for _ in range(MAX_ATTEMPTS):
        job = await opened.queue.claim("one that dies", 60)
        assert job is not None
        await opened.queue.fail(job.lease, Decision(reason="interrupted", retry_in=0))
    await engine.work()
    ended = await engine.outcome(version)
    assert ended.status is VersionStatus.FAILED
    assert "never came to an end" in (ended.error or "")


async def test_a_document_in_a_script_the_model_does_not_know_is_indexed_with_a_warning(
    tmp_path: Path,
) -> None:
    embedder = HashEmbedder(scripts=frozenset({"Latin"}))
    engine = await small_engine(tmp_path, embedder=embedder)
    version = await engine.submit("灯塔建于一八四三年。".encode(), document_id="t", source="t.md")
    await engine.work()
    ended = await engine.outcome(version)
    assert ended.status is VersionStatus.INDEXED
    assert any("Han" in one and "multilingual" in one for one in ended.warnings)
    found = await engine.search(Question(text="灯塔"))
    assert [reference.document_id for reference in found.context.references] == ["t"]
    assert any("Han" in one for one in found.warnings)
    await engine.aclose()


class CountingEmbedder(HashEmbedder):
    """Remembers what it was asked to embed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], kind: TextRole) -> npt.NDArray[np.float32]:
        self.texts += texts
        return await super().embed(texts, kind)


async def test_no_write_embeds_what_it_does_not_own(tmp_path: Path) -> None:
    embedder = CountingEmbedder()
    engine = await small_engine(tmp_path, embedder=embedder)
    await put(engine, "brand", BRAND)
    embedder.texts.clear()
    await put(engine, "lighthouse", LIGHTHOUSE)
    assert "ada brand" not in embedder.texts  # another document brought the name
    assert not [text for text in embedder.texts if "Whitby" in text]
    embedder.texts.clear()
    await put(engine, "brand", f"{BRAND} And a cat.")
    names = [text for text in embedder.texts if "Ada Brand" not in text]
    assert names in ([], ["cat"])  # its one chunk, and a name if it is taken for one
    embedder.texts.clear()
    await engine.delete(["lighthouse"])
    await engine.edit(Suppression(name="Whitby"))
    assert embedder.texts == ["whitby"]
    await engine.aclose()
