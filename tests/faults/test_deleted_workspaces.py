"""Deleting a workspace that is interrupted, or in use: it is there whole, or gone, and nothing lingers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import data_folders
from engines import put, small_engine
from rag_engine.errors import NotFound
from rag_engine.testing.observation import differences

FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."

# Each a call on the way of a deletion; the process dies before or after the nth of them.
_DYING = """
import asyncio, os, pathlib, signal, sys
from engines import small_engine

folder, point, nth = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
left, side = nth, point.partition(":")[2]

def dying(call):
    def called(*arguments, **named):
        global left
        left -= 1
        if not left and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = call(*arguments, **named)
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return called

async def main():
    engine = await small_engine(folder)
    await engine.stats("mills")
    where = {"replace": pathlib.Path, "unlink": pathlib.Path, "fsync": os}[point.partition(":")[0]]
    name = point.partition(":")[0]
    setattr(where, name, dying(getattr(where, name)))
    await engine.control.delete("mills")
    await engine.aclose()

asyncio.run(main())
"""


def run(folder: Path, point: str, nth: int) -> int:
    here = str(Path(__file__).parent.parent)
    path = os.pathsep.join([here, *sys.path])
    words = [sys.executable, "-c", _DYING, str(folder), point, str(nth)]
    return subprocess.run(
        words, env={**os.environ, "PYTHONPATH": path}, check=False, timeout=120
    ).returncode


@pytest.mark.parametrize(
    ("point", "nth", "gone"),
    [
        ("replace:before", 1, False),
        ("replace:after", 1, True),
        ("fsync:after", 1, True),
        ("unlink:before", 1, True),
        ("unlink:after", 1, True),
        ("unlink:after", 2, True),
        ("unlink:before", 3, True),
        ("unlink:after", 3, True),
    ],
)
async def test_killed_there_it_is_whole_or_gone_and_nothing_stays_in_the_way(
    tmp_path: Path, point: str, nth: int, gone: bool
) -> None:
    folder = tmp_path / "data"
    async with data_folders.opened(folder) as engine:
        await put(engine, "farne", FARNE)
        await put(engine, "mill", "# Mill\n\nThe mill of Anton Berg.", workspace="mills")
    before = await data_folders.state(folder, "mills")
    kept = await data_folders.state(folder)
    assert run(folder, point, nth) == -signal.SIGKILL
    async with data_folders.opened(folder) as engine:
        assert await engine.control.workspaces() == (["default"] if gone else ["default", "mills"])
        assert [*(await engine.control.waiting())] == []
    assert await data_folders.verified(folder) == []
    if not gone:
        assert differences(before, await data_folders.state(folder, "mills")) == []
    async with data_folders.opened(folder) as engine:
        assert await engine.control.delete("mills") is not gone
        with pytest.raises(NotFound):
            await engine.stats("mills")
        await put(engine, "farne", FARNE, workspace="mills")
        assert (await engine.stats("mills")).documents == 1
        await engine.delete_workspace("mills")
        hashes = await engine.blobs.hashes()
        assert await engine.control.referenced(hashes)
        names = sorted(path.name for path in (folder / "workspaces").iterdir())
    assert [name for name in names if name.endswith((".sqlite", ".deleted"))] == ["0001.sqlite"]
    assert differences(kept, await data_folders.state(folder)) == []


async def test_the_originals_of_a_deleted_workspace_are_collected(tmp_path: Path) -> None:
    engine = await small_engine(tmp_path / "data")
    await put(engine, "farne", FARNE)
    await put(engine, "mill", "# Mill\n\nThe mill of Anton Berg.", workspace="mills")
    stored = await engine.blobs.hashes()
    await engine.delete_workspace("mills")
    kept = await engine.control.referenced(stored)
    assert 0 < len(kept) < len(stored)
    await engine.blobs.delete([one for one in stored if one not in kept])
    assert {*(await engine.blobs.hashes())} == kept
    await engine.aclose()
