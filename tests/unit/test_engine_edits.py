"""The graph changed by hand, from end to end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engines import put, small_engine
from rag_engine import (
    Alias,
    Engine,
    Fact,
    Question,
    Suppression,
    VersionStatus,
)
from rag_engine.errors import InvalidRequest, NotFound
from rag_engine.testing.observation import differences, observed

LIGHTHOUSE = "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
NICKNAME = "The Lady of Farne kept bees. Jonas Reed painted the Lady of Farne."
SISTER = Fact(name="Jonas Reed", target="Ada Brand", keywords="brother of")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path)
    await put(engine, "lighthouse", LIGHTHOUSE, metadata={"kind": "history"})
    await put(engine, "nickname", NICKNAME, metadata={"kind": "gossip"})
    yield engine
    await engine.aclose()


async def test_a_question_by_another_name_reaches_what_was_merged(engine: Engine) -> None:
    await engine.edit(Alias(source="AB", target="Ada Brand"))
    found = await engine.search(Question(text="What did AB do?"))
    assert found.context.passages[0].reference.document_id == "lighthouse"


async def test_a_merged_name_shows_its_aliases_and_what_was_written(engine: Engine) -> None:
    await engine.edit(Alias(source="Lady of Farne", target="Ada Brand"))
    around = await engine.graph("lady of farne")
    assert around.entity.name == "Ada Brand"
    assert around.aliases == ("Lady of Farne",)
    assert "Lady of Farne" in {one.name for one in around.sightings}


async def test_a_hidden_name_says_how_to_show_it_again(engine: Engine) -> None:
    edit = Suppression(name="Ada Brand")
    await engine.edit(edit)
    with pytest.raises(NotFound, match=f"hidden.*undo {edit.id}"):
        await engine.graph("Ada Brand")
    await engine.undo(edit.id)
    assert (await engine.graph("Ada Brand")).entity.mentions == 1


async def test_a_fact_is_found_and_cited_and_survives_reingestion(engine: Engine) -> None:
    assert (await engine.add_fact(SISTER)).status is VersionStatus.PENDING
    await engine.work()
    await put(engine, "lighthouse", f"{LIGHTHOUSE} It is white.")
    answer = await engine.query(Question(text="Who is the brother of Ada Brand?"))
    assert SISTER.document_id in {one.document_id for one in answer.context}
    joined = {one.target_name for one in (await engine.graph("Ada Brand")).relations}
    assert "Jonas Reed" in joined
    document = await engine.document(SISTER.document_id)
    assert (await engine.parsed(document)).text == "Jonas Reed – brother of – Ada Brand"


async def test_the_same_fact_twice_is_one(engine: Engine) -> None:
    await engine.add_fact(SISTER)
    await engine.work()
    assert (await engine.add_fact(SISTER)).status is VersionStatus.INDEXED
    assert (await engine.edits()).facts == (SISTER,)


async def test_a_fact_undone_leaves_nothing(engine: Engine) -> None:
    before = await observed(await engine.workspace())
    await engine.add_fact(SISTER)
    await engine.work()
    assert differences(before, await observed(await engine.workspace())) != []
    await engine.undo(SISTER.id)
    assert differences(before, await observed(await engine.workspace())) == []


async def test_ids_of_facts_are_kept_for_facts(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="begin with 'manual:'"):
        await engine.submit(b"x", document_id="manual:1", source="x.txt")


@pytest.mark.parametrize(
    "fact",
    [Fact(name=" "), Fact(name="a", target="A"), Fact(name="a", description="x" * 5000)],
)
async def test_a_fact_that_cannot_be_kept_is_refused(engine: Engine, fact: Fact) -> None:
    with pytest.raises(InvalidRequest):
        await engine.add_fact(fact)
    assert await engine.work() == 0


async def test_undoing_what_is_not_there_names_the_list(engine: Engine) -> None:
    with pytest.raises(NotFound, match="graph edits"):
        await engine.undo("nothing")


async def test_a_very_long_fact_is_evidence_once(engine: Engine) -> None:
    long = Fact(name="Zoe", description=" ".join(f"Word{n} follows." for n in range(200)))
    await engine.add_fact(long)
    await engine.work()
    assert (await engine.document(long.document_id)).chunks > 1
    assert (await engine.graph("Zoe")).entity.mentions == 1


async def test_edits_may_come_before_the_first_document(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path)
    with pytest.raises(InvalidRequest, match="'' names nothing"):
        await engine.edit(Alias(source="", target="IBM"), "new")
    assert await engine.control.workspaces() == []
    assert await engine.edit(Alias(source="Lady of Farne", target="Ada Brand"), "new")
    await put(engine, "nickname", NICKNAME, workspace="new")
    assert (await engine.graph("Lady of Farne", "new")).entity.name == "Ada Brand"
    await engine.aclose()


async def test_a_fact_whose_original_is_gone_does_not_hide_the_others(engine: Engine) -> None:
    other = Fact(name="Zoe", type="cat")
    for fact in (SISTER, other):
        await engine.add_fact(fact)
    await engine.work()
    gone = (await engine.document(other.document_id)).content_hash
    assert await engine.blobs.delete([gone]) == 1
    found = await engine.edits()
    assert (found.facts, found.lost) == ((SISTER,), (other.id,))
    await engine.undo(other.id)
    assert (await engine.edits()).lost == ()
