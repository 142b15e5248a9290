"""Backups while something else happens: writes, a kill, a full disk."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import started, write_documents
from data_folders import opened
from disks import disk
from engines import put, small_engine
from rag_engine.backup import Kept, back_up, check_backup, restore
from rag_engine.errors import StoreFull
from rag_engine.testing.observation import differences, observed

if TYPE_CHECKING:
    from rag_engine import Engine
    from rag_engine.backup import Backup

STABLE = {f"s{n}": f"# Stable\n\nThe lamp number {n} of Farne burns oil." for n in range(4)}


def silent(doing: str, done: int, total: int) -> None:
    assert done <= total, doing


async def backed_up(engine: Engine, folder: Path, kept: Kept | None = None) -> Backup:
    return await back_up(
        engine,
        folder,
        settings={},
        now=datetime.now(UTC),
        kept=kept or Kept(),
        progress=silent,
    )


def text_of(id: str, number: int) -> str:
    return f"# Log of {id}\n\nEntry {number}: the seal Number{number} was seen at Skerry{number}."


async def test_under_write_load_each_document_is_whole_and_none_that_was_there_is_missing(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "first") as engine, opened(tmp_path / "first") as writer:
        for id, text in STABLE.items():
            await put(engine, id, text)
        acknowledged: dict[str, int] = {}
        busy = asyncio.Event()

        async def write() -> None:
            for number in itertools.count():
                id = f"d{number % 7}"
                await put(writer, id, text_of(id, number))
                acknowledged[id] = number
                if number % 5 == 4:
                    gone = f"d{(number + 3) % 7}"
                    acknowledged.pop(gone, None)
                    await writer.delete([gone])
                if number == 10:
                    busy.set()

        writing = asyncio.create_task(write())
        await busy.wait()
        before = dict(acknowledged)
        done = await backed_up(engine, tmp_path / "backups")
        await asyncio.sleep(0.2)
        assert not writing.done()
        after = dict(acknowledged)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    async with opened(tmp_path / "second") as second:
        await restore(second, done.path, force=False, progress=silent)
        await second.work()
        found = {one.id: one for one in (await second.documents()).documents}
        assert found.keys() >= STABLE.keys()
        for id, number in before.items():
            # What was there when it began is there, unless it was deleted meanwhile.
            assert id in found or after.get(id) != number
        for id, document in found.items():
            text = (await second.parsed(document)).text
            if id in STABLE:
                assert text.strip() == STABLE[id]
            else:
                number = int(text.split("Entry ")[1].split(":")[0])
                assert text.strip() == text_of(id, number)
                assert number >= before.get(id, 0)
        again = await backed_up(second, tmp_path / "again")
        assert (await check_backup(again.path, silent)).workspaces[0].documents == len(found)


async def test_a_restored_place_equals_the_one_that_was_backed_up(tmp_path: Path) -> None:
    async with opened(tmp_path / "first") as first, opened(tmp_path / "second") as second:
        for id, text in STABLE.items():
            await put(first, id, text)
            await put(first, id, f"{text} It was repaired.", workspace="other")
        done = await backed_up(first, tmp_path / "backups")
        restored = await restore(second, done.path, force=False, progress=silent)
        assert [(one.name, one.compared.equal) for one in restored] == [
            ("default", 4),
            ("other", 4),
        ]
        for name in ("default", "other"):
            one, other = await first.workspace(name), await second.workspace(name)
            assert differences(await observed(one), await observed(other)) == []


def test_a_backup_that_is_killed_leaves_none_and_the_next_one_is_whole(tmp_path: Path) -> None:
    docs, data, place = write_documents(tmp_path / "docs"), tmp_path / "data", tmp_path / "backups"
    with started(data, "ingest", docs) as ingesting:
        assert ingesting.wait() == 0
    for delay in (0.0, 0.05, 0.15):
        with started(data, "backup", place) as process:
            partial = _appeared(place, ".rag-engine-*.partial/workspaces/*")
            time.sleep(delay if partial else 0)
            process.send_signal(signal.SIGKILL)
            process.wait()
        whole = list(place.glob("rag-engine-*"))
        for backup in whole:
            assert json.loads((backup / "backup.json").read_text())["workspaces"]
    with started(data, "backup", place, "--keep", "1") as process:
        assert process.wait() == 0
    [backup] = place.glob("rag-engine-*")
    assert list(place.glob(".rag-engine-*")) == []
    with zipfile.ZipFile(backup / "workspaces/default.zip") as archive:
        assert archive.testzip() is None


def _appeared(folder: Path, pattern: str) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(folder.glob(pattern)):
            return True
        time.sleep(0.002)
    return False


async def test_on_a_full_disk_the_older_backups_stay(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path / "data")
    await put(engine, "large", " ".join(f"word{n:x}{n * 7919 % 65521:x}" for n in range(40_000)))
    with disk(tmp_path / "disk", 8.0) as small:
        place = small.folder / "backups"
        first = await backed_up(engine, place)
        small.fill(leaving=64 << 10)
        with pytest.raises(StoreFull, match="space"):
            await backed_up(engine, place, Kept(count=1))
        assert [path.name for path in place.iterdir()] == [first.path.name]
        assert (await check_backup(first.path, silent)).workspaces[0].documents == 1
        small.free()
        second = await backed_up(engine, place, Kept(count=1))
        assert second.deleted == (first.path,)
    await engine.aclose()
