"""A repair loses nothing that could be kept, whenever it ends and whoever else is about."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from data_folders import (
    database,
    execute,
    flip_bit_of_vector,
    garbage_in_a_page,
    opened,
    repaired,
    state,
    timeless,
    verified,
)
from disks import read_only_view
from engines import put, small_engine
from rag_engine import Engine, Question, upkeep
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.sqlite import SqliteInspector
from rag_engine.archive import export_workspace
from rag_engine.core.edits import Alias
from rag_engine.core.models import VersionStatus
from rag_engine.errors import Conflict, DocumentUnreadable, StoreCorrupt
from rag_engine.ports.inspection import Checking, Damage, Remedy
from rag_engine.testing.observation import differences

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine.core.models import ParsedDocument

LIGHTHOUSE = "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
MILL = "# The mill\n\nAnton Berg bought the mill on the Elder Brook in 1908."


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    async with opened(tmp_path / "data") as engine:
        await put(engine, "lighthouse", LIGHTHOUSE)
        await put(engine, "mill", MILL)
    return tmp_path / "data"


def blobs(folder: Path) -> set[str]:
    return {path.name for path in (folder / "blobs").glob("??/*")}


async def passages(engine: Engine, id: str, workspace: str = "default") -> list[str]:
    async with (await engine.workspace(workspace)).store.snapshot() as reader:
        return [one.text for one in await reader.document_chunks(id)]


# ---------------------------------------------------------------- salvage


async def test_a_salvage_keeps_every_original_and_says_what_it_could_not_read(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    async with opened(folder) as engine:
        for number in range(40):
            await put(
                engine, f"doc{number}", f"# Lighthouse {number}\n\nIt was built in 18{number}."
            )
    for path in (folder / "blobs").glob("??/*"):
        os.utime(path, (time.time() - 3 * 86_400,) * 2)
    with closing(sqlite3.connect(folder / "control.sqlite")) as listing, listing:
        listing.execute("UPDATE chore SET begun_at = 0")
    kept = blobs(folder)
    garbage_in_a_page(database(folder), "version")
    [left] = await repaired(folder)
    assert (left.check, left.remedy) == ("salvage", Remedy.NONE)
    assert "could not be read" in left.message
    assert blobs(folder) >= kept
    async with opened(folder) as engine:
        assert 0 < (await engine.stats()).documents < 40
        with pytest.raises(StoreCorrupt, match=r"0001\.sqlite\.damaged.*collect again"):
            await engine.collect()
        database(folder).with_name("0001.sqlite.damaged").unlink()
        assert await engine.collect() > 0


async def test_a_salvage_that_is_interrupted_forgets_no_document(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = timeless(await state(folder))
    for step in ("_make", "set_aside", "_flush"):
        garbage_in_a_page(database(folder))
        with monkeypatch.context() as patched:
            patched.setattr(f"rag_engine.adapters.sqlite.salvage.{step}", _dying)
            with pytest.raises(KeyboardInterrupt):
                await repaired(folder)
        assert await repaired(folder) == ()
        async with opened(folder) as engine:
            await engine.worker.drain(await engine.workspace())
        assert differences(before, timeless(await state(folder))) == []


def _dying(*_: object) -> None:
    raise KeyboardInterrupt


async def test_documents_wait_in_the_new_file_from_its_beginning(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = timeless(await state(folder))
    garbage_in_a_page(database(folder))
    with monkeypatch.context() as patched:
        patched.setattr("rag_engine.upkeep._work", _dying)
        with pytest.raises(KeyboardInterrupt):
            await repaired(folder)
    async with opened(folder) as engine:
        await engine.worker.drain(await engine.workspace())
    assert differences(before, timeless(await state(folder))) == []


async def test_a_file_that_somebody_has_open_is_not_set_aside(folder: Path) -> None:
    async with opened(folder) as running:
        await put(running, "warm", "# Warm\n\nA writer has the file open.")
        garbage_in_a_page(database(folder), "relation_value")
        left = await repaired(folder)
        assert any("another process has it open" in one.message for one in left)
        await running.submit(b"# Later\n\nAccepted.", document_id="later", source="later.md")
    assert await repaired(folder) == ()
    async with opened(folder) as engine:
        await engine.worker.drain(await engine.workspace())
        assert await passages(engine, "later") == ["# Later\n\nAccepted."]


async def test_a_salvaged_workspace_waits_for_the_model_it_was_made_with(folder: Path) -> None:
    before = timeless(await state(folder))
    garbage_in_a_page(database(folder))
    other = await small_engine(folder, embedder=HashEmbedder(dimensions=8))
    left = (await upkeep.repair(other, SqliteInspector(folder))).left
    await other.aclose()
    assert ["RAG_EMBEDDING_MODEL" in one.message for one in left] == [True]
    async with opened(folder) as engine:
        await engine.worker.drain(await engine.workspace())
    assert differences(before, timeless(await state(folder))) == []


# ---------------------------------------------------------------- documents


@pytest.mark.parametrize("newer", ["failed", "cancelled"])
async def test_what_answers_is_ingested_again_and_not_what_failed_or_was_withdrawn(
    folder: Path, newer: str
) -> None:
    async with opened(folder) as engine:
        content = b"%PDF-1.4 broken" if newer == "failed" else b"# Withdrawn\n\nNobody wants it."
        source = "lighthouse.pdf" if newer == "failed" else "lighthouse.md"
        await engine.submit(content, document_id="lighthouse", source=source)
        if newer == "failed":
            await engine.work()
        else:
            await engine.cancel("lighthouse")
    execute(
        folder,
        "UPDATE chunk SET text = 'x' WHERE document = "
        "(SELECT row FROM document WHERE id = 'lighthouse')",
    )
    assert await repaired(folder) == ()
    assert await verified(folder) == []
    async with opened(folder) as engine:
        assert await passages(engine, "lighthouse") == [LIGHTHOUSE]


class Refusing:
    """A parser that lacks something."""

    fingerprint = "refusing"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        raise DocumentUnreadable(f"{name!r} cannot be read. Install Office.")

    async def aclose(self) -> None: ...


async def test_what_cannot_be_read_again_stays_and_is_named_with_the_reason(folder: Path) -> None:
    before = timeless(await state(folder))
    execute(folder, "UPDATE mention SET description = 'x' WHERE chunk = 1")
    engine = await small_engine(folder, parser=Refusing())
    [left] = (await upkeep.repair(engine, SqliteInspector(folder))).left
    await engine.aclose()
    assert (left.check, left.document_id) == ("evidence", "lighthouse")
    assert "Install Office" in left.message
    assert (await state(folder))["stats"] == before["stats"]
    assert await repaired(folder) == ()
    assert differences(before, timeless(await state(folder))) == []


async def test_a_document_whose_damaged_parts_were_dropped_is_damaged_until_it_is_ingested(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = timeless(await state(folder))
    execute(folder, "UPDATE chunk SET text = 'x' WHERE row = 1")
    with monkeypatch.context() as patched:
        patched.setattr("rag_engine.upkeep._Repairing._ingest_again", _dying)
        with pytest.raises(KeyboardInterrupt):
            await repaired(folder)
    [found] = await verified(folder)
    assert (found.check, found.document_id) == ("unfinished repairs", "lighthouse")
    assert await repaired(folder) == ()
    assert differences(before, timeless(await state(folder))) == []


async def test_counters_are_repaired_under_any_model_in_every_workspace(
    folder: Path,
) -> None:
    async with opened(folder) as engine:
        await put(engine, "bees", "# Bees\n\nBees are kept in Whitby.", workspace="other")
    before = await state(folder, "other")
    execute(folder, "UPDATE meta SET value = 99 WHERE key = 'entities'")
    execute(folder, "DELETE FROM chunk_vector WHERE chunk = 1")
    execute(folder, "UPDATE meta SET value = 99 WHERE key = 'entities'", number=2)
    other = await small_engine(folder, embedder=HashEmbedder(dimensions=8))
    left = (await upkeep.repair(other, SqliteInspector(folder))).left
    await other.aclose()
    assert {one.workspace for one in left} == {"default"}
    assert any("RAG_EMBEDDING_MODEL" in one.message for one in left)
    assert "totals" not in {one.check for one in left}
    assert differences(before, await state(folder, "other")) == []


async def test_a_version_that_waits_is_not_what_a_repair_asks_for(folder: Path) -> None:
    async with opened(folder) as engine:
        await engine.submit(b"# New\n\nNewer.", document_id="lighthouse", source="lighthouse.md")
    execute(folder, "UPDATE chunk SET text = 'x' WHERE row = 1")
    assert await repaired(folder) == ()
    async with opened(folder) as engine:
        version = await (await engine.workspace()).queue.version("lighthouse")
        assert version is not None
        assert (version.number, version.status) == (2, VersionStatus.INDEXED)
        assert await passages(engine, "lighthouse") == ["# New\n\nNewer."]


# ---------------------------------------------------------------- the list of workspaces


async def test_an_empty_list_is_made_again(folder: Path) -> None:
    before = await state(folder)
    with closing(sqlite3.connect(folder / "control.sqlite")) as listing, listing:
        listing.execute("DELETE FROM workspace")
    [found] = await verified(folder)
    assert (found.check, found.remedy) == ("listing", Remedy.REBUILD)
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


async def test_a_copy_beside_the_workspaces_is_left_alone(folder: Path) -> None:
    before = await state(folder)
    copy = database(folder).with_name("0001-before.sqlite")
    shutil.copyfile(database(folder), copy)
    assert await verified(folder) == []
    (folder / "control.sqlite").unlink()
    assert await repaired(folder) == ()
    async with opened(folder) as engine:
        assert await engine.control.workspaces() == ["default"]
    assert differences(before, await state(folder)) == []
    assert copy.exists()


async def test_two_files_of_one_workspace_are_both_named_and_the_listed_one_answers(
    folder: Path,
) -> None:
    before = await state(folder)
    shutil.copyfile(database(folder), database(folder, 2))
    execute(folder, "UPDATE meta SET value = 99 WHERE key = 'entities'")
    [left] = await repaired(folder)
    assert left.remedy is Remedy.NONE
    assert "0001.sqlite" in left.message
    assert "0002.sqlite" in left.message
    assert differences(before, await state(folder)) == []
    (folder / "control.sqlite").unlink()
    assert "0002.sqlite" in " ".join(one.message for one in await repaired(folder))
    database(folder, 2).rename(folder / "elsewhere.sqlite")
    assert await repaired(folder) == ()
    assert differences(before, await state(folder)) == []


@pytest.mark.parametrize("how", ["missing", "garbage"])
async def test_a_workspace_that_is_lost_can_be_given_up_and_begun_anew(
    folder: Path, how: str
) -> None:
    async with opened(folder) as engine:
        with pytest.raises(Conflict, match="not lost"):
            await upkeep.forget(engine, SqliteInspector(folder), "default")
    if how == "missing":
        database(folder).unlink()
    else:
        database(folder).write_bytes(b"garbage" * 9999)
    [found] = await verified(folder)
    assert found.remedy is Remedy.NONE
    assert "doctor --forget default" in found.message
    async with opened(folder) as engine:
        await upkeep.forget(engine, SqliteInspector(folder), "default")
        await put(engine, "lighthouse", LIGHTHOUSE)
        assert (await engine.stats()).documents == 1
    assert database(folder).with_name("0001.sqlite.damaged").exists() == (how == "garbage")
    assert await verified(folder) == []


# ---------------------------------------------------------------- edits


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM edited_chunk",
        "DELETE FROM edited_key",
        "UPDATE edited_chunk SET extraction = replace(extraction, 'Ada Brand', 'Ada Brant')",
        "UPDATE edited_chunk SET extraction = '[]'",
    ],
)
async def test_what_was_found_under_an_edit_is_verified_and_found_again(
    folder: Path, statement: str
) -> None:
    edit = Alias(source="Ada Brand", target="Ada Thorne")
    before = timeless(await state(folder))
    async with opened(folder) as engine:
        await engine.edit(edit)
    edited = timeless(await state(folder))
    assert await verified(folder) == []
    execute(folder, statement)
    assert {one.remedy for one in await verified(folder)} == {Remedy.INGEST}
    assert await repaired(folder) == ()
    assert differences(edited, timeless(await state(folder))) == []
    async with opened(folder) as engine:
        await engine.undo(edit.id)
    assert differences(before, timeless(await state(folder))) == []


async def test_a_vector_that_an_edit_may_bring_to_light_is_verified_and_made_again(
    folder: Path,
) -> None:
    before = timeless(await state(folder))
    edit = Alias(source="Ada Brand", target="Ada Thorne")
    async with opened(folder) as engine:
        await engine.edit(edit)
    edited = timeless(await state(folder))
    flip_bit_of_vector(folder, "edit_vector", "key", "'ada brand'")
    [found] = await verified(folder)
    assert (found.check, found.remedy) == ("edit vectors", Remedy.EMBED)
    async with opened(folder) as engine:
        with pytest.raises(StoreCorrupt, match=r"'ada brand'"):
            await engine.undo(edit.id)
        with pytest.raises(StoreCorrupt, match="a vector is not what was written"):
            await export_workspace(engine, "default", folder.parent / "x.zip", lambda *_: None)
    assert await repaired(folder) == ()
    assert await verified(folder) == []
    execute(folder, "DELETE FROM edit_vector WHERE key = 'ada brand'")
    assert [one.check for one in await verified(folder)] == ["edit vectors"]
    assert await repaired(folder) == ()
    assert differences(edited, timeless(await state(folder))) == []
    async with opened(folder) as engine:
        await engine.undo(edit.id)
    assert differences(before, timeless(await state(folder))) == []


async def test_an_edit_that_nobody_made_is_named(folder: Path) -> None:
    async with opened(folder) as engine:
        await engine.edit(Alias(source="Ada Brand", target="Ada Thorne"))
    execute(folder, "UPDATE edit SET other = 'Ada Brand', other_key = 'ada brand'")
    found = await verified(folder)
    assert ("edits", Remedy.NONE) in {(one.check, one.remedy) for one in found}
    async with opened(folder) as engine:
        with pytest.raises(StoreCorrupt, match=r"'ada brand'.*circle.*doctor --verify"):
            await engine.search(Question(text="Who is Ada Brand?", mode="graph"))


# ---------------------------------------------------------------- what cannot be written


async def test_a_mounted_backup_is_verified_but_for_its_word_index(
    folder: Path, tmp_path: Path
) -> None:
    execute(folder, "UPDATE meta SET value = 99 WHERE key = 'entities'")
    with read_only_view(folder, tmp_path / "view") as view:
        engine = await small_engine(view)
        found = [one async for one in upkeep.verify(engine, SqliteInspector(view))]
        await engine.aclose()
    assert [one.check for one in found if isinstance(one, Damage)] == ["totals"]
    [skipped] = [one for one in found if isinstance(one, Checking) and one.skipped]
    assert skipped.check == "default: word index"
