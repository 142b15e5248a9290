"""Archives: what goes out comes in again."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engines import put, small_engine
from rag_engine import Engine, Question
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.archive import check_archive, export_workspace, import_workspace
from rag_engine.core.edits import Alias, Fact, Suppression
from rag_engine.core.models import Submission, VersionStatus
from rag_engine.errors import ModelMismatch, StoreFull
from rag_engine.testing.observation import differences, observed

TEXTS = {
    "lighthouse": "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843.",
    "brand": "# Ada Brand\n\nAda Brand was born in Whitby. She kept bees.",
}


def silent(doing: str, done: int, total: int) -> None:
    assert doing
    assert done <= total


async def filled(folder: Path) -> Engine:
    engine = await small_engine(folder)
    for id, text in TEXTS.items():
        await put(engine, id, text, metadata={"tags": ("a", "b"), "year": 1843})
    return engine


async def exported(tmp_path: Path) -> Path:
    engine = await filled(tmp_path / "first")
    done = await export_workspace(engine, "default", tmp_path / "out.zip", silent)
    assert done.documents == 2
    await engine.aclose()
    return tmp_path / "out.zip"


async def same(first: Engine, second: Engine) -> list[str]:
    one, other = await first.workspace(), await second.workspace()
    return differences(await observed(one), await observed(other))


async def test_an_imported_workspace_equals_the_exported_one(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    assert (await check_archive(archive, silent)).documents == 2
    first = await small_engine(tmp_path / "first")
    second = await small_engine(tmp_path / "second")
    assert (await import_workspace(second, "default", archive, silent)).written == 2
    assert await same(first, second) == []
    assert await first.blobs.hashes() == await second.blobs.hashes()
    question = Question(text="Who built the lighthouse?")
    assert (await first.query(question)).text == (await second.query(question)).text
    await first.aclose()
    await second.aclose()


async def test_a_document_keeps_the_number_of_its_version(tmp_path: Path) -> None:
    """The ids of its passages are made from it, and ties are broken by them."""
    first = await filled(tmp_path / "first")
    await put(first, "brand", "# Ada Brand\n\nAda Brand moved to Leeds.")
    assert (await first.document("brand")).version == 2
    await export_workspace(first, "default", tmp_path / "out.zip", silent)
    second = await small_engine(tmp_path / "second")
    await import_workspace(second, "default", tmp_path / "out.zip", silent)
    assert await same(first, second) == []
    await put(second, "brand", "# Ada Brand\n\nAda Brand moved on.")
    assert (await second.document("brand")).version == 3
    await first.aclose()
    await second.aclose()


async def test_what_was_changed_by_hand_comes_along(tmp_path: Path) -> None:
    first = await filled(tmp_path / "first")
    await first.edit(Alias(source="Ada Brand", target="Ada"))
    await first.edit(Alias(source="Whitby", target="Farne"))
    await first.add_fact(Fact(name="Ada Brand", description="She was a keeper."))
    await first.work()
    done = await export_workspace(first, "default", tmp_path / "out.zip", silent)
    assert done.documents == 3
    second = await small_engine(tmp_path / "second")
    await import_workspace(second, "default", tmp_path / "out.zip", silent)
    assert await same(first, second) == []
    assert (await second.edits()).facts == (await first.edits()).facts

    third = await small_engine(tmp_path / "third")
    await put(third, "other", "Whitby lies by the sea.")
    await third.edit(Alias(source="Whitby", target="Whitby Harbour"))
    done = await import_workspace(third, "default", tmp_path / "out.zip", silent)
    assert (done.written, done.contradicted) == (3, 1)
    for engine in (first, second, third):
        await engine.aclose()


async def test_what_was_changed_by_hand_can_be_undone_there(tmp_path: Path) -> None:
    first = await filled(tmp_path / "first")
    edits = [Alias(source="Ada Brand", target="Ada"), Suppression(name="Whitby")]
    for edit in edits:
        await first.edit(edit)
    await export_workspace(first, "default", tmp_path / "out.zip", silent)
    second = await small_engine(tmp_path / "second")
    await import_workspace(second, "default", tmp_path / "out.zip", silent)
    for engine in (first, second):
        for edit in edits:
            await engine.undo(edit.id)
    assert await same(first, second) == []
    await first.aclose()
    await second.aclose()


async def test_what_waits_comes_along(tmp_path: Path) -> None:
    first = await filled(tmp_path / "first")
    await first.submit(b"Seals lie on Farne.", document_id="seals", source="seals.md")
    await first.submit(b"Ada Brand kept a dog.", document_id="brand", source="brand.md")
    await first.submit(b"%PDF-1.4 broken", document_id="broken", source="broken.pdf")
    assert (await first.cancel("broken")).status is VersionStatus.CANCELLED
    await export_workspace(first, "default", tmp_path / "out.zip", silent)
    second = await small_engine(tmp_path / "second")
    done = await import_workspace(second, "default", tmp_path / "out.zip", silent)
    assert (done.written, done.waiting) == (2, 2)
    assert await same(first, second) == []
    again = await import_workspace(second, "default", tmp_path / "out.zip", silent)
    assert (again.kept, again.waiting) == (2, 0)
    for engine in (first, second):
        await engine.work()
    assert await same(first, second) == []
    assert (await second.document("seals")).version == 1
    assert (await second.document("brand")).version == 2

    third = await small_engine(tmp_path / "third")
    await put(third, "brand", "Ada Brand moved to Leeds.")
    done = await import_workspace(third, "default", tmp_path / "out.zip", silent)
    assert (done.written, done.kept, done.waiting) == (1, 1, 1)
    await third.work()
    assert (await third.document("brand")).version == 1
    for engine in (first, second, third):
        await engine.aclose()


async def test_what_is_given_back_meanwhile_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may stop, and another begin, between any two reads."""
    first = await filled(tmp_path / "first")
    await first.submit(b"Seals lie on Farne.", document_id="seals", source="seals.md")
    queue = (await first.workspace()).queue
    job = await queue.claim("worker", 60.0)
    assert job is not None
    read = type(queue).versions

    async def versions(self: Any, **named: Any) -> Any:
        nonlocal job
        found = await read(self, **named)
        if job is not None:
            await queue.release(job.lease)
            job = None
        return found

    monkeypatch.setattr(type(queue), "versions", versions)
    await export_workspace(first, "default", tmp_path / "out.zip", silent)
    with zipfile.ZipFile(tmp_path / "out.zip") as file:
        [wish] = json.loads(file.read("waiting.json"))
    assert wish["submission"]["document_id"] == "seals"
    await first.aclose()


async def test_importing_twice_or_submitting_again_changes_nothing(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    await import_workspace(engine, "default", archive, silent)
    assert (await import_workspace(engine, "default", archive, silent)).written == 0
    await put(engine, "brand", TEXTS["brand"], metadata={"tags": ("a", "b"), "year": 1843})
    assert (await engine.document("brand")).version == 1
    await engine.aclose()


async def test_equal_workspaces_give_equal_archives(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "first")
    await export_workspace(engine, "default", tmp_path / "again.zip", silent)
    assert archive.read_bytes() == (tmp_path / "again.zip").read_bytes()
    await engine.aclose()


async def test_an_archive_of_another_model_is_refused(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second", embedder=HashEmbedder(dimensions=16))
    with pytest.raises(ModelMismatch, match="RAG_EMBEDDING_MODEL"):
        await import_workspace(engine, "default", archive, silent)
    assert await engine.control.workspaces() == []
    await engine.aclose()


async def test_no_model_is_needed(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    embedder = HashEmbedder()
    engine = await small_engine(tmp_path / "second", embedder=embedder)

    async def refuse(*_: object) -> None:
        raise AssertionError("something was embedded")

    embedder.embed = refuse  # type: ignore[assignment, method-assign]
    assert (await import_workspace(engine, "default", archive, silent)).written == 2
    await engine.aclose()


async def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    engine = await filled(tmp_path / "first")
    await engine.blobs.delete(await engine.blobs.hashes())
    with pytest.raises(Exception, match="no blob"):
        await export_workspace(engine, "default", tmp_path / "out.zip", silent)
    assert not list(tmp_path.glob("out.zip*"))
    await engine.aclose()


async def test_an_export_onto_a_full_disk_says_so(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no full device here")
    engine = await filled(tmp_path / "first")
    (tmp_path / "out.zip.part").symlink_to(full)
    with pytest.raises(StoreFull, match=r"out\.zip"):
        await export_workspace(engine, "default", tmp_path / "out.zip", silent)
    assert not list(tmp_path.glob("out.zip*"))
    await engine.aclose()


async def test_an_import_puts_nothing_old_over_what_is_there(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    await put(engine, "brand", "# Ada Brand\n\nAda Brand moved to Leeds.")
    await engine.submit(b"Wanted, but not indexed yet.", document_id="lighthouse", source="l.md")
    done = await import_workspace(engine, "default", archive, silent)
    assert (done.written, done.kept, done.unfinished) == (0, 2, 0)
    assert (await engine.document("brand")).version == 1
    queue = (await engine.workspace()).queue
    waiting = await queue.version("lighthouse")
    assert waiting is not None
    assert (waiting.number, waiting.status) == (1, VersionStatus.PENDING)
    await engine.aclose()


async def test_what_answers_stays_although_its_replacement_failed(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    await put(engine, "brand", "# Ada Brand\n\nAda Brand moved to Leeds.")
    await engine.submit(b"%PDF-1.4 broken", document_id="brand", source="brand.pdf")
    await engine.work("default")
    done = await import_workspace(engine, "default", archive, silent)
    assert (done.written, done.kept) == (1, 1)
    assert (await engine.document("brand")).version == 1
    await engine.aclose()


@pytest.mark.parametrize("error", [asyncio.CancelledError, OSError])
async def test_an_import_that_is_interrupted_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    opened = await engine.control.open("default", create=True)
    with monkeypatch.context() as patched:

        async def broken(*_: object) -> None:
            raise error

        patched.setattr(type(opened.store), "finish", broken)
        with pytest.raises(error):
            await import_workspace(engine, "default", archive, silent)
    assert await opened.queue.versions(status=VersionStatus.RUNNING) == []
    done = await import_workspace(engine, "default", archive, silent)
    assert (done.written, done.unfinished) == (2, 0)
    await engine.aclose()


async def test_an_import_that_is_cancelled_gives_back_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    opened = await engine.control.open("default", create=True)
    begun = asyncio.Event()
    with monkeypatch.context() as patched:

        async def endless(*_: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        patched.setattr(type(opened.store), "finish", endless)
        task = asyncio.create_task(import_workspace(engine, "default", archive, silent))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await opened.queue.versions(status=VersionStatus.RUNNING) == []
    assert (await import_workspace(engine, "default", archive, silent)).written == 2
    await engine.aclose()


async def test_what_another_process_works_on_is_not_counted_as_written(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    with zipfile.ZipFile(archive) as file:
        record = json.loads(file.read("documents/000000.json"))["documents"][0]
    engine = await small_engine(tmp_path / "second")
    opened = await engine.control.open("default", create=True)
    metadata = {"tags": ("a", "b"), "year": 1843}
    await opened.queue.accept(Submission(**record["submission"] | {"metadata": metadata}))
    assert await opened.queue.claim("another", 600.0) is not None
    done = await import_workspace(engine, "default", archive, silent)
    assert (done.written, done.kept, done.unfinished) == (1, 0, 1)
    await engine.aclose()


async def test_an_export_that_is_cancelled_in_the_middle_of_a_write_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await filled(tmp_path / "first")
    writing = threading.Event()
    write = zipfile._ZipWriteFile.write  # type: ignore[attr-defined]

    def slow(*arguments: Any) -> Any:
        writing.set()
        time.sleep(0.3)
        return write(*arguments)

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", slow)  # type: ignore[attr-defined]
    task = asyncio.create_task(export_workspace(engine, "default", tmp_path / "out.zip", silent))
    await asyncio.to_thread(writing.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not list(tmp_path.glob("out.zip*"))
    await engine.aclose()
