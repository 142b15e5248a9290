"""Archives: what goes out comes in again, and nothing else does."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from engines import put, small_engine
from rag_engine import Engine, Question
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.archive import export_workspace, import_workspace
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
    assert await import_workspace(second, "default", archive, silent) == 2
    one, other = await first.workspace(), await second.workspace()
    assert differences(await observed(one), await observed(other)) == []
    assert await first.blobs.hashes() == await second.blobs.hashes()
    question = Question(text="Who built the lighthouse?")
    assert (await first.query(question)).text == (await second.query(question)).text
    await first.aclose()
    await second.aclose()


async def test_importing_twice_or_submitting_again_changes_nothing(tmp_path: Path) -> None:
    archive = await exported(tmp_path)
    engine = await small_engine(tmp_path / "second")
    await import_workspace(engine, "default", archive, silent)
    assert await import_workspace(engine, "default", archive, silent) == 0
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
