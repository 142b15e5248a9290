"""A data folder whose bytes changed: found, named, and repaired where what is left allows it."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from data_folders import (
    blob,
    database,
    document,
    execute,
    flip,
    flip_bit_of_vector,
    garbage_in_a_page,
    halve,
    opened,
    repaired,
    state,
    timeless,
    verified,
)
from engines import put
from rag_engine import Question
from rag_engine.errors import BlobMissing, RagEngineError, StoreCorrupt
from rag_engine.ports.inspection import Remedy
from rag_engine.testing.observation import differences, observed

TEXTS = {
    "lighthouse": "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843. "
    "Ada Brand lit it herself on New Year's Eve.",
    "brand": "# Ada Brand\n\nAda Brand was born in Whitby. She kept bees in Whitby.",
    "mill": "# The mill\n\nAnton Berg bought the mill on the Elder Brook in 1908.",
}
QUESTION = Question(text="Who built the lighthouse of Farne?")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A data folder with three documents, and another workspace with one."""
    async with opened(tmp_path / "data") as engine:
        for id, text in TEXTS.items():
            await put(engine, id, text, metadata={"year": 1843, "tags": ("a", "b")})
        await put(engine, "bees", "# Bees\n\nBees are kept in Whitby.", workspace="other")
    return tmp_path / "data"


async def test_a_whole_folder_has_nothing_to_repair(folder: Path) -> None:
    before = await state(folder)
    assert await verified(folder) == []
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


# ---------------------------------------------------------------- blobs


@pytest.mark.parametrize("how", [flip, Path.unlink, lambda path: path.write_bytes(b"")])
async def test_a_damaged_original_is_named_and_its_document_goes_on_answering(
    folder: Path, how: Callable[[Path], object]
) -> None:
    hash = (await document(folder)).content_hash
    before = await state(folder)
    how(blob(folder, hash))
    [found] = await verified(folder)
    assert (found.check, found.document_id, found.remedy) == (
        "originals",
        "lighthouse",
        Remedy.NONE,
    )
    assert "goes on answering" in found.message
    assert hash in found.message
    assert "ingest it again" in found.message
    assert await repaired(folder) == (found,)
    assert differences(before, await state(folder)) == []
    async with opened(folder) as engine:
        with pytest.raises(BlobMissing, match=hash):
            await engine.original(await engine.document("lighthouse"))
        await put(
            engine, "lighthouse", TEXTS["lighthouse"], metadata={"year": 1843, "tags": ("a", "b")}
        )
    assert await verified(folder) == []


@pytest.mark.parametrize("how", [flip, Path.unlink])
async def test_a_damaged_text_is_read_again_from_the_original(
    folder: Path, how: Callable[[Path], object]
) -> None:
    before = await state(folder)
    how(blob(folder, (await document(folder)).parsed_hash))
    [found] = await verified(folder)
    assert (found.check, found.document_id, found.remedy) == ("texts", "lighthouse", Remedy.PARSE)
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


async def test_a_waiting_document_whose_original_changed_fails_with_that_reason(
    folder: Path,
) -> None:
    async with opened(folder) as engine:
        content = b"# Whitby\n\nWhitby has an abbey."
        version = await engine.submit(content, document_id="whitby", source="whitby.md")
        flip(blob(folder, version.submission.content_hash))
        await engine.work()
        ended = await engine.outcome(version)
    assert ended.error is not None
    assert "have changed on the disk" in ended.error


# ---------------------------------------------------------------- rows

STATEMENTS = {
    "totals": "UPDATE meta SET value = value + 1 WHERE key = 'mentions'",
    "entity counts": "UPDATE entity SET mentions = mentions + 1",
    "entity values": "UPDATE entity_value SET count = count + 1",
    "relation counts": "UPDATE relation SET weight = weight - 1",
    "word counts": "UPDATE term SET chunks = chunks + 1",
    "word index": "DELETE FROM lexical_data WHERE id > 10",
    "fields": "DELETE FROM field_value WHERE field = 'year'",
    "field counts": "UPDATE field SET documents = 9",
    "packed mentions": "UPDATE chunk_vector SET mentions = x''",
    "held in memory": "UPDATE chunk_vector SET length = 1",
    "answering versions": "UPDATE document SET current = NULL WHERE id = 'mill'",
    "lexemes": "UPDATE lexeme SET lexemes = lexemes || ' more' WHERE chunk = 1",
    "references": "DELETE FROM entity WHERE row = 1",
    "staged evidence": "INSERT INTO staged_name (version, key) VALUES (1, 'ada')",
    "checksums": "DELETE FROM chunk_checksum",
    "entity vectors": "DELETE FROM entity_vector WHERE entity = 2",
}


@pytest.mark.parametrize("check", STATEMENTS)
async def test_rows_that_are_derived_are_made_again_as_they_were(folder: Path, check: str) -> None:
    before, other = await state(folder), await state(folder, "other")
    execute(folder, STATEMENTS[check])
    found = await verified(folder)
    assert check in {one.check for one in found}
    assert {one.workspace for one in found} == {"default"}
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []
    assert differences(other, await state(folder, "other")) == []


@pytest.mark.parametrize(
    ("table", "key", "check"),
    [("chunk_vector", "chunk", "passage vectors"), ("entity_vector", "entity", "entity vectors")],
)
async def test_one_flipped_bit_of_a_vector_is_found_and_embedded_again(
    folder: Path, table: str, key: str, check: str
) -> None:
    before = await state(folder)
    flip_bit_of_vector(folder, table, key, 1)
    [found] = await verified(folder)
    assert (found.check, found.remedy) == (check, Remedy.EMBED)
    async with opened(folder) as engine:
        with pytest.raises(StoreCorrupt, match=r"0001\.sqlite.*doctor --verify"):
            await engine.search(QUESTION)
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


async def test_a_passage_and_a_name_in_rows_of_one_number_are_both_made_again(
    folder: Path,
) -> None:
    before = await state(folder)
    execute(
        folder,
        "DELETE FROM chunk_vector WHERE chunk = 1",
        "DELETE FROM lexeme WHERE chunk = 1",
        "DELETE FROM entity_vector WHERE entity = 1",
    )
    assert {"passage vectors", "lexemes", "entity vectors"} <= {
        one.check for one in await verified(folder)
    }
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


async def test_a_process_that_holds_the_damage_in_memory_reads_anew_after_a_repair(
    folder: Path,
) -> None:
    before = await state(folder)
    execute(folder, "UPDATE chunk_vector SET length = length + 1")
    async with opened(folder) as engine:
        wrong = await observed(await engine.workspace())
        assert differences(before, wrong) != []
        assert await repaired(folder) == ()
        assert differences(before, await observed(await engine.workspace())) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mention SET description = 'something else' WHERE chunk = 1",
        "UPDATE mention SET name = 'Somebody' WHERE chunk = 1",
        "UPDATE assertion SET weight = weight + 1 WHERE chunk = 1",
        "DELETE FROM mention WHERE chunk = 1",
        "UPDATE chunk SET text = 'Nothing of the kind.' WHERE row = 1",
        'UPDATE chunk SET "end" = "end" - 1 WHERE row = 1',
        "UPDATE chunk SET heading_path = '[]' WHERE row = 1",
        "UPDATE chunk SET text = CAST(x'c328' AS TEXT) WHERE row = 1",
        "UPDATE mention SET name = CAST(x'c328' AS TEXT) WHERE chunk = 1",
        "DELETE FROM chunk WHERE row = 1",
    ],
)
async def test_evidence_that_changed_is_taken_from_the_original_again(
    folder: Path, statement: str
) -> None:
    before = timeless(await state(folder))
    execute(folder, statement)
    found = await verified(folder)
    assert ("lighthouse", Remedy.INGEST) in {(one.document_id, one.remedy) for one in found}
    assert await repaired(folder) == ()
    assert differences(before, timeless(await state(folder))) == []
    async with opened(folder) as engine:
        assert "1843" in (await engine.query(QUESTION)).text


async def test_evidence_without_its_original_is_left_and_named(folder: Path) -> None:
    blob(folder, (await document(folder)).content_hash).unlink()
    execute(folder, "UPDATE mention SET description = 'something else' WHERE chunk = 1")
    left = await repaired(folder)
    assert {"originals", "evidence"} <= {one.check for one in left}
    async with opened(folder) as engine:
        assert "1843" in (await engine.query(QUESTION)).text


async def test_text_that_is_none_is_an_error_and_no_answer(folder: Path) -> None:
    execute(folder, "UPDATE chunk SET text = CAST(x'c328' AS TEXT)")
    async with opened(folder) as engine:
        with pytest.raises(StoreCorrupt, match=r"0001\.sqlite"):
            await engine.query(QUESTION)


async def test_metadata_that_is_none_is_found_and_named(folder: Path) -> None:
    execute(folder, 'UPDATE version SET metadata = \'{"tags":["a\'')
    found = await verified(folder)
    assert any(one.check == "fields" and "cannot be read" in one.message for one in found)


# ---------------------------------------------------------------- files


async def test_a_file_with_a_broken_page_is_salvaged_from_its_originals(folder: Path) -> None:
    before = timeless(await state(folder))
    garbage_in_a_page(database(folder))
    found = await verified(folder)
    assert {one.remedy for one in found} == {Remedy.SALVAGE}
    async with opened(folder) as engine:
        with pytest.raises(StoreCorrupt, match=r"0001\.sqlite.*doctor --verify"):
            await engine.query(QUESTION)
    assert await repaired(folder) == ()
    assert differences(before, timeless(await state(folder))) == []
    assert database(folder).with_name("0001.sqlite.damaged").exists()


@pytest.mark.parametrize("how", [halve, lambda path: path.write_bytes(b"garbage" * 9999)])
async def test_a_file_of_which_too_little_is_left_is_never_an_empty_answer(
    folder: Path, how: Callable[[Path], object]
) -> None:
    before, other = timeless(await state(folder)), await state(folder, "other")
    how(database(folder))
    found = await verified(folder)
    assert found
    assert {one.workspace for one in found} == {"default"}
    assert {one.remedy for one in found} <= {Remedy.SALVAGE, Remedy.NONE}
    assert "0001.sqlite" in found[0].message or "SQLite" in found[0].message
    async with opened(folder) as engine:
        with pytest.raises(StoreCorrupt, match=r"0001\.sqlite"):
            await engine.query(QUESTION)
        with pytest.raises(StoreCorrupt, match=r"0001\.sqlite"):
            await engine.submit(b"more", document_id="more", source="more.txt")
    if await repaired(folder):  # nothing could be read: it is said, and nothing is put in its place
        async with opened(folder) as engine:
            with pytest.raises(StoreCorrupt, match=r"0001\.sqlite"):
                await engine.query(QUESTION)
    else:
        assert differences(before, timeless(await state(folder))) == []
    assert differences(other, await state(folder, "other")) == []


@pytest.mark.parametrize("how", ["missing", "empty"])
async def test_a_listed_file_that_is_gone_is_never_an_empty_workspace(
    folder: Path, how: str
) -> None:
    database(folder).unlink() if how == "missing" else os.truncate(database(folder), 0)
    assert "default" in {one.workspace for one in await verified(folder)}
    async with opened(folder) as engine:
        for create in (False, True):
            with pytest.raises(StoreCorrupt, match=r"0001\.sqlite.*Restore it from a backup"):
                await engine.control.open("default", create=create)


# ---------------------------------------------------------------- the list of workspaces


@pytest.mark.parametrize("how", ["missing", "empty", "garbage"])
async def test_a_lost_list_of_workspaces_is_made_again_on_request(folder: Path, how: str) -> None:
    before, other = await state(folder), await state(folder, "other")
    listing = folder / "control.sqlite"
    match how:
        case "missing":
            listing.unlink()
        case "empty":
            listing.write_bytes(b"")
        case "garbage":
            listing.write_bytes(b"garbage" * 9999)
    async with opened(folder) as engine:
        for call in (engine.control.workspaces(), engine.query(QUESTION)):
            with pytest.raises(StoreCorrupt, match=r"control\.sqlite"):
                await call
        with pytest.raises(StoreCorrupt, match=r"control\.sqlite"):
            await engine.submit(b"new", document_id="new", source="new.txt", workspace="new")
    found = await verified(folder)
    assert "listing" in {one.check for one in found}
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []
    assert differences(other, await state(folder, "other")) == []


async def test_a_list_of_another_time_never_gives_out_one_workspace_for_another(
    folder: Path,
) -> None:
    before, other = await state(folder), await state(folder, "other")
    with closing(sqlite3.connect(folder / "control.sqlite")) as listing, listing:
        listing.execute("UPDATE workspace SET number = 9 WHERE number = 1")
        listing.execute("UPDATE workspace SET number = 1 WHERE name = 'other'")
        listing.execute("DELETE FROM workspace WHERE number = 9")
    async with opened(folder) as engine:
        for name, create in (("other", False), ("other", True), ("default", False)):
            with pytest.raises(StoreCorrupt, match="doctor --repair"):
                await engine.control.open(name, create=create)
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []
    assert differences(other, await state(folder, "other")) == []


async def test_a_workspace_that_is_not_listed_is_found_by_its_name(folder: Path) -> None:
    before = await state(folder)
    with closing(sqlite3.connect(folder / "control.sqlite")) as listing, listing:
        listing.execute("DELETE FROM workspace WHERE name = 'default'")
    async with opened(folder) as engine:
        await engine.control.open("third", create=True)  # and takes no number that is taken
        with pytest.raises(StoreCorrupt, match="doctor --repair"):
            await engine.control.open("default")
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


# ---------------------------------------------------------------- the write-ahead log


async def left_with_a_log(folder: Path, copy: Path) -> None:
    """A copy as a process leaves it that is killed: the last writes stand in the log alone."""
    async with opened(folder) as engine:
        await put(engine, "whitby", "# Whitby\n\nWhitby has an abbey.")
        await asyncio.to_thread(shutil.copytree, folder, copy)
    assert database(copy).with_name("0001.sqlite-wal").stat().st_size > 0


@pytest.mark.parametrize("how", [os.unlink, halve, flip, lambda path: os.truncate(path, 40)])
async def test_without_its_log_a_file_is_as_it_was_at_an_earlier_moment_and_whole(
    folder: Path, tmp_path: Path, how: Callable[[Path], object]
) -> None:
    before = timeless(await state(folder))
    copy = tmp_path / "copy"
    await left_with_a_log(folder, copy)
    how(database(copy).with_name("0001.sqlite-wal"))
    assert [one for one in await verified(copy) if one.remedy is not Remedy.REBUILD] == []
    assert await repaired(copy) == ()
    async with opened(copy) as engine:
        await engine.work()
        await put(engine, "whitby", "# Whitby\n\nWhitby has an abbey.")
        await engine.delete(["whitby"])
    assert differences(before, timeless(await state(copy))) == []


async def test_damage_is_never_a_traceback(folder: Path) -> None:
    """Whatever byte of the file is changed: an answer, or an error that we raise on purpose."""
    whole = database(folder).read_bytes()
    chance = random.Random(4)
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        content = bytearray(whole)
        content[at : at + 16] = chance.randbytes(16)
        for path in folder.glob("workspaces/*-*"):
            path.unlink()
        database(folder).write_bytes(content)
        async with opened(folder) as engine:
            with suppress(RagEngineError):
                await engine.query(QUESTION)
        await verified(folder)
