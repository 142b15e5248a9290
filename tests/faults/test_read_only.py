"""A data folder on a read-only medium: everything can be read, and what cannot be done says so."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from disks import Disk, disk, read_only_view
from engines import put, small_engine
from rag_engine import Question
from rag_engine.archive import export_workspace
from rag_engine.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_engine.engine import Engine

TEXT = "Clara Weiss met Anton Berg at the mill on the Elder Brook."


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Disk]:
    with disk(tmp_path / "medium", 30) as one:
        yield one


async def filled(folder: Path) -> None:
    engine = await small_engine(folder)
    await put(engine, "a", TEXT)
    await engine.aclose()


async def read_all(engine: Engine, tmp_path: Path, *, documents: int = 1) -> None:
    """Ask, list, look at the graph, give the original back, export."""
    assert (await engine.search(Question(text="Who met Anton Berg?"))).context.passages
    assert (await engine.query(Question(text="Who met Anton Berg?"))).references
    page = await engine.documents()
    assert len(page.documents) == (await engine.stats()).documents == documents
    assert (await engine.original(page.documents[0])).decode() == TEXT
    assert await engine.graph("Clara Weiss")
    assert (await engine.edits()).edits == ()
    (tmp_path / "out.zip").unlink(missing_ok=True)
    assert await export_workspace(engine, "default", tmp_path / "out.zip", lambda *_: None)


async def refused(engine: Engine) -> None:
    """Nothing can be written, and the error says where and what to do."""
    for what in (
        engine.submit(b"new", document_id="b", source="b.txt"),
        engine.delete(["a"]),
        engine.work(),
        engine.submit(b"new", document_id="b", source="b.txt", workspace="another"),
    ):
        with pytest.raises(StoreUnavailable, match=r"data.*cannot be (written|made).*--data-dir"):
            await what


async def test_all_can_be_read_and_nothing_written(medium: Disk, tmp_path: Path) -> None:
    data = medium.folder / "data"
    await filled(data)
    medium.forbid_writing()
    before = sorted(medium.folder.rglob("*"))
    engine = await small_engine(data)
    await read_all(engine, tmp_path)
    await refused(engine)
    await read_all(engine, tmp_path)
    await engine.aclose()
    assert sorted(medium.folder.rglob("*")) == before


async def test_a_folder_that_becomes_read_only_meanwhile(medium: Disk, tmp_path: Path) -> None:
    data = medium.folder / "data"
    await filled(data)
    engine = await small_engine(data)
    await read_all(engine, tmp_path)
    await engine.aclose()
    medium.forbid_writing()
    again = await small_engine(data)
    await read_all(again, tmp_path)
    medium.allow_writing()
    await put(again, "b", "Ada Holm met Anton Berg at the station.")
    await read_all(again, tmp_path, documents=2)
    await again.aclose()


async def test_read_only_here_while_another_process_writes_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await filled(data)
    with read_only_view(data, tmp_path / "view of data") as view:
        reader = await small_engine(view)
        await read_all(reader, tmp_path)
        writer = await small_engine(data)
        for number, id in enumerate(("b", "c", "d"), start=2):
            await put(writer, id, f"Ada Holm met Anton Berg {number} times.")
            await read_all(reader, tmp_path, documents=number)
        await refused(reader)
        await writer.aclose()
        await read_all(reader, tmp_path, documents=4)
        await reader.aclose()


async def test_what_is_written_elsewhere_meanwhile_is_never_mixed_in(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await filled(data)
    with read_only_view(data, tmp_path / "view") as view:
        reader = await small_engine(view)
        store = (await reader.workspace()).store
        async with store.snapshot() as snapshot:
            assert (await snapshot.stats()).documents == 1
            writer = await small_engine(data)
            await put(writer, "b", "Ada Holm met Anton Berg at the station.")
            for _ in range(2):
                for read in (
                    snapshot.stats(),
                    snapshot.documents(["a"]),
                    snapshot.search_dense("chunk", np.ones((1, 64), np.float32), 3),
                ):
                    with pytest.raises(StoreUnavailable, match=r"Another process.*Try again"):
                        await read
                await writer.aclose()  # without a log, it is another file than it was
        await read_all(reader, tmp_path, documents=2)
        await reader.aclose()


async def test_changes_in_a_log_are_seen_or_named_never_left_out(tmp_path: Path) -> None:
    """A copy of a folder whose last process was killed: its log holds what the file lacks."""
    data, copy = tmp_path / "data", tmp_path / "copy of data"
    await filled(data)
    with closing(sqlite3.connect(data / "workspaces" / "0001.sqlite")):
        engine = await small_engine(data)
        await put(engine, "b", "Ada Holm met Anton Berg at the station.")
        shutil.copytree(data, copy)
        await engine.aclose()
    assert (copy / "workspaces" / "0001.sqlite-wal").stat().st_size
    with read_only_view(copy, tmp_path / "view") as view:
        reader = await small_engine(view)
        await read_all(reader, tmp_path, documents=2)
        await reader.aclose()
        (copy / "workspaces" / "0001.sqlite-shm").unlink()
        reader = await small_engine(view)
        with pytest.raises(StoreUnavailable, match=r"0001\.sqlite' has changes in a log.*Copy"):
            await reader.stats()
        await reader.aclose()
    reader = await small_engine(copy)
    await read_all(reader, tmp_path, documents=2)
    await reader.aclose()
