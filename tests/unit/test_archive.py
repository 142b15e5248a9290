"""Archives: what goes out comes in again, and nothing else does."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines import put, small_engine
from rag_engine import Engine, Question
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.archive import export_workspace, import_workspace
from rag_engine.core.edits import Alias, Fact
from rag_engine.core.models import Submission, VersionStatus
from rag_engine.errors import ArchiveRejected, DocumentUnreadable, ModelMismatch
from rag_engine.testing.observation import differences, observed

TEXTS = {
    "lighthouse": "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843.",
    "brand": "# Ada Brand\n\nAda Brand was born in Whitby. She kept bees.",
}


def silent(done: int, total: int) -> None:
    assert done <= total


async def filled(folder: Path) -> Engine:
    engine = await small_engine(folder)
    for id, text in TEXTS.items():
        await put(engine, id, text, metadata={"tags": ("a", "b"), "year": 1843})
    return engine


async def exported(tmp_path: Path) -> Path:
    engine = await filled(tmp_path / "first")
    assert await export_workspace(engine, "default", tmp_path / "out.zip", silent) == 2
    await engine.aclose()
    return tmp_path / "out.zip"


async def test_an_imported_workspace_equals_the_exported_one(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    first = await small_engine(tmp_path / "first")
    second = await small_engine(tmp_path / "second")
    assert (await import_workspace(second, "default", archive, silent)).written == 2
    one, other = await first.workspace(), await second.workspace()
    assert differences(await observed(one), await observed(other)) == []
    assert await first.blobs.hashes() == await second.blobs.hashes()
    question = Question(text="Who built the lighthouse?")
    assert (await first.query(question)).text == (await second.query(question)).text
    await first.aclose()
    await second.aclose()


async def test_what_was_changed_by_hand_comes_along(tmp_path: Path) -> None:
    first = await filled(tmp_path / "first")
    await first.edit(Alias(source="Ada Brand", target="Ada"))
    await first.edit(Alias(source="Whitby", target="Farne"))
    await first.add_fact(Fact(name="Ada Brand", description="She was a keeper."))
    await first.work()
    assert await export_workspace(first, "default", tmp_path / "out.zip", silent) == 3
    second = await small_engine(tmp_path / "second")
    await import_workspace(second, "default", tmp_path / "out.zip", silent)
    one, other = await first.workspace(), await second.workspace()
    assert differences(await observed(one), await observed(other)) == []
    assert (await second.edits()).facts == (await first.edits()).facts

    third = await small_engine(tmp_path / "third")
    await put(third, "other", "Whitby lies by the sea.")
    await third.edit(Alias(source="Whitby", target="Whitby Harbour"))
    done = await import_workspace(third, "default", tmp_path / "out.zip", silent)
    assert (done.written, done.contradicted) == (3, 1)
    for engine in (first, second, third):
        await engine.aclose()


async def test_importing_twice_or_submitting_again_changes_nothing(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    await import_workspace(engine, "default", archive, silent)
    assert (await import_workspace(engine, "default", archive, silent)).written == 0
    await put(engine, "brand", TEXTS["brand"], metadata={"tags": ("a", "b"), "year": 1843})
    assert (await engine.document("brand")).version == 1
    await engine.aclose()


async def test_an_archive_of_another_model_is_refused(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second", embedder=HashEmbedder(dimensions=16))
    with pytest.raises(ModelMismatch, match="RAG_EMBEDDING_MODEL"):
        await import_workspace(engine, "default", archive, silent)
    assert await engine.control.workspaces() == []
    await engine.aclose()


def _rewritten(archive: Path, change: dict[str, bytes | None]) -> Path:
    """A copy with entries replaced, added, or (with `None`) left out."""
    path = archive.with_name("changed.zip")
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name not in change:
                new.writestr(name, old.read(name))
        for name, content in change.items():
            if content is not None:
                new.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"../../evil": b"x"}, "evil"),
        ({"blobs/short": b"x"}, "short"),
        ({"manifest.json": None}, "no manifest"),
        ({"manifest.json": b"{}"}, "manifest cannot be read"),
        ({"manifest.json": b"not json"}, "manifest cannot be read"),
        ({"documents/00000001.npy": None}, "2 documents"),
    ],
)
async def test_an_archive_that_is_not_whole_writes_nothing(
    tmp_path: Path, change: dict[str, bytes | None], reason: str
) -> None:
    archive = _rewritten(await exported(tmp_path), change)
    engine = await small_engine(tmp_path / "second")
    with pytest.raises(ArchiveRejected, match=reason):
        await import_workspace(engine, "default", archive, silent)
    assert await engine.control.workspaces() == []
    await engine.aclose()


async def test_a_later_format_is_refused(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    with zipfile.ZipFile(archive) as file:
        manifest = json.loads(file.read("manifest.json")) | {"version": 99}
    changed = _rewritten(archive, {"manifest.json": json.dumps(manifest).encode()})
    engine = await small_engine(tmp_path / "second")
    with pytest.raises(ArchiveRejected, match="version 99"):
        await import_workspace(engine, "default", changed, silent)
    await engine.aclose()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", None])
async def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "none.zip"
    if content is not None:
        path.write_bytes(content)
    engine = await small_engine(tmp_path / "second")
    with pytest.raises((ArchiveRejected, DocumentUnreadable), match=r"none\.zip"):
        await import_workspace(engine, "default", path, silent)
    await engine.aclose()


async def test_an_export_that_fails_leaves_no_file(tmp_path: Path) -> None:
    engine = await filled(tmp_path / "first")
    await engine.blobs.delete(await engine.blobs.hashes())
    with pytest.raises(Exception, match="no blob"):
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
        with pytest.raises((asyncio.CancelledError, DocumentUnreadable)):
            await import_workspace(engine, "default", archive, silent)
    assert await opened.queue.versions(status=VersionStatus.RUNNING) == []
    done = await import_workspace(engine, "default", archive, silent)
    assert (done.written, done.unfinished) == (2, 0)
    await engine.aclose()


async def test_what_another_process_works_on_is_not_counted_as_written(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    with zipfile.ZipFile(archive) as file:
        record = json.loads(file.read("documents/00000000.json"))
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


def _changed(archive: Path, name: str, change: Callable[[Any], object]) -> Path:
    """A copy in which one JSON entry is another one."""
    with zipfile.ZipFile(archive) as file:
        record = json.loads(file.read(name))
    change(record)
    return _rewritten(archive, {name: json.dumps(record).encode()})


SECOND = "documents/00000001.json"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.pop("document"),
        lambda record: record["chunks"][0].pop("ordinal"),
        lambda record: record["chunks"][0].update(ordinal=7),
        lambda record: record["chunks"][0].update(pages=[1]),
        lambda record: record["document"].update(size="large"),
        lambda record: record["document"].update(id="another"),
        lambda record: record["document"].update(parsed_hash="../evil"),
        lambda record: record["submission"].update(metadata={"tags": {"a": 1}}),
        lambda record: record["extractions"].append({"mentions": [], "assertions": []}),
        lambda record: record["names"].append("a name without a vector"),
        lambda record: record["extractions"][0]["assertions"].append({"source": "no mention"}),
    ],
)
async def test_a_damaged_document_is_named_and_leaves_no_job(
    tmp_path: Path, change: Callable[[Any], object]
) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    with pytest.raises(ArchiveRejected, match=r"changed\.zip.*00000001"):
        await import_workspace(engine, "default", _changed(archive, SECOND, change), silent)
    assert (await engine.stats()).documents == 1
    queue = (await engine.workspace()).queue
    assert [one.status for one in await queue.versions()] == [VersionStatus.INDEXED]
    # And a whole copy of it goes on from there.
    assert (await import_workspace(engine, "default", archive, silent)).written == 1
    await engine.aclose()


@pytest.mark.parametrize(
    "entry", [{SECOND: b"{"}, {SECOND: b"\xff"}, {"documents/00000001.npy": b""}]
)
async def test_an_entry_that_is_not_even_of_its_format_is_named(
    tmp_path: Path, entry: dict[str, bytes | None]
) -> None:
    archive = _rewritten(await exported(tmp_path), entry)
    engine = await small_engine(tmp_path / "second")
    with pytest.raises(ArchiveRejected, match=r"changed\.zip.*00000001"):
        await import_workspace(engine, "default", archive, silent)
    assert (await engine.stats()).documents == 1
    await engine.aclose()


@pytest.mark.parametrize(
    "change",
    [{"documents": "2"}, {"documents": -1}, {"documents": None}, {"dimensions": "8"}, {"model": 1}],
)
async def test_a_manifest_with_values_of_other_types_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    archive = await exported(tmp_path)
    changed = _changed(archive, "manifest.json", lambda record: record.update(change))
    engine = await small_engine(tmp_path / "second")
    with pytest.raises(ArchiveRejected, match=r"changed\.zip"):
        await import_workspace(engine, "default", changed, silent)
    assert await engine.control.workspaces() == []
    await engine.aclose()
