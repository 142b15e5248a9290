"""Promise 9, Honest: an outage is an error, and every response says where it comes from.

Which calls a question makes is found out by asking one without faults; then each of them fails in
turn. A call that is added later is tested without anybody thinking of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from engines import put, small_engine
from rag_engine import Engine, Question, RagEngineError, WorldError
from rag_engine.adapters.models.fake import ScriptedChat
from rag_engine.core.edits import Alias
from rag_engine.retrieval.plan import MODES
from rag_engine.testing.faults import Fault, FaultKind, Faults, always, faulty, no_faults

LIGHTHOUSE = "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
ASKED = Question(text="Who built the lighthouse of Farne?")
BEHIND = {"blobs.read", "blobs.local"}
"""Calls that no question makes: what is quoted is in the store."""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path, chat=ScriptedChat(["Ada Brand built it [1]."]))
    await put(engine, "lighthouse", LIGHTHOUSE)
    await put(engine, "brand", "# Ada Brand\n\nAda Brand was born in Whitby. She kept bees.")
    await engine.edit(Alias(source="AB", target="Ada Brand"))
    yield engine
    await engine.aclose()


def faulted(engine: Engine, faults: Faults) -> Engine:
    """The engine with every port behind faults."""
    assert engine.chat is not None
    pipeline = replace(
        engine.pipeline,
        embedder=faulty("embedder", engine.pipeline.embedder, faults),
        parser=faulty("parser", engine.pipeline.parser, faults),
        extractor=faulty("extractor", engine.pipeline.extractor, faults),
        blobs=faulty("blobs", engine.blobs, faults),
    )
    return replace(
        engine,
        control=faulty("control", engine.control, faults),
        blobs=pipeline.blobs,
        pipeline=pipeline,
        chat=faulty("chat", engine.chat, faults),
    )


@pytest.mark.parametrize("written", [True, False], ids=["written", "quoted"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.TIMEOUT])
async def test_an_outage_of_anything_a_question_needs_is_an_error(
    engine: Engine, kind: FaultKind, mode: str, written: bool
) -> None:
    faults = Faults(no_faults)
    broken = faulted(engine, faults)
    if not written:
        broken = replace(broken, chat=None)
    asked = replace(ASKED, mode=mode)
    whole = await broken.query(asked)
    calls = sorted(faults.calls)
    assert {"control.open", "store.snapshot", "reader.search_dense"} <= set(calls)
    assert not BEHIND & set(calls)
    for call in calls:
        faults.plan = always(call, Fault(kind=kind))
        async with asyncio.timeout(10):
            with pytest.raises(WorldError, match=call) as caught:
                await broken.query(asked)
        assert str(caught.value).endswith("Try again."), call
    faults.plan = no_faults
    assert (await broken.query(asked)).text == whole.text


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.TIMEOUT])
async def test_an_outage_of_anything_a_submission_needs_is_an_error(
    engine: Engine, kind: FaultKind
) -> None:
    """What was not acknowledged changed nothing that can be seen, and may be asked for again."""
    faults = Faults(no_faults)
    broken = faulted(engine, faults)
    await broken.submit(b"Cid Fox.", document_id="c", source="c.txt")
    for number, call in enumerate(sorted(faults.calls)):
        faults.plan = always(call, Fault(kind=kind))
        with pytest.raises(RagEngineError, match=call):
            await broken.submit(b"Dan Gray.", document_id=f"d{number}", source="d.txt")
        assert await (await engine.workspace()).queue.version(f"d{number}") is None
    faults.plan = no_faults
    await broken.submit(b"Dan Gray.", document_id="d", source="d.txt")
    assert await broken.work() == 2


async def test_nothing_found_is_said_in_words_and_costs_no_model(engine: Engine) -> None:
    answer = await replace(engine, chat=None).query(Question(text="zzz?", mode="fusion"))
    assert answer.text
    assert answer.mode == "fusion"


async def test_a_response_says_what_made_it_and_what_it_cost(engine: Engine) -> None:
    answer = await engine.query(ASKED)
    assert (answer.mode, answer.extractive, answer.model) == ("graph", False, "scripted")
    assert answer.prompt
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    assert {"search"} <= answer.timings.keys()
    quoted = await replace(engine, chat=None).query(ASKED)
    assert (quoted.extractive, quoted.model, quoted.usage) == (True, None, None)


async def test_every_claim_says_where_it_comes_from(engine: Engine) -> None:
    for chat in (engine.chat, None):
        answer = await replace(engine, chat=chat).query(ASKED)
        assert answer.references
        for reference in answer.references:
            document = await engine.document(reference.document_id)
            assert document.version == reference.version
            text = (await engine.parsed(document)).text
            chunk = text[reference.start : reference.end]
            assert chunk.strip()
            assert f"[{reference.number}]" in answer.text


async def test_a_citation_of_what_was_not_given_is_taken_out_and_counted(engine: Engine) -> None:
    answer = await replace(engine, chat=ScriptedChat(["She did [1] [99]."])).query(ASKED)
    assert "[99]" not in answer.text
    assert answer.citations_removed == 1
