"""Processes that are gone are missed: real processes, killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rag_engine.adapters.sqlite import SqliteControl
from rag_engine.adapters.sqlite import lookout as lookouts
from rag_engine.adapters.sqlite import presence as presences
from rag_engine.adapters.sqlite.connection import connect
from rag_engine.adapters.sqlite.presence import Presence
from rag_engine.core.models import VersionStatus
from rag_engine.testing.drafts import WORKER, Draft, claim, work

HOLD = """
import asyncio, sys
from pathlib import Path
from rag_engine.adapters.sqlite import SqliteControl

async def hold():
    control = SqliteControl(Path(sys.argv[1]), model="m", dimensions=8)
    queue = (await control.open("default")).queue
    print((await queue.claim("doomed", 3600)).version.document_id, flush=True)
    await asyncio.sleep(3600)

asyncio.run(hold())
"""


def control(folder: Path) -> SqliteControl:
    return SqliteControl(folder, model="m", dimensions=8)


def holding(folder: Path) -> subprocess.Popen[str]:
    """A process that has claimed a version and sits on it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "a\n"
    return process


async def test_what_a_killed_process_held_goes_on_at_once(tmp_path: Path) -> None:
    one = control(tmp_path)
    workspace = await one.open("default", create=True)
    await workspace.queue.accept(Draft(id="a").submission)
    with holding(tmp_path) as process:
        try:
            assert await workspace.queue.release_stalled() == 0
            assert await one.waiting() == {}
        finally:
            process.kill()
    assert await one.waiting() == {"default": 0}
    assert await workspace.queue.release_stalled() == 1
    job = await claim(workspace)
    assert job.version.attempt == 2
    version = await work(workspace, job, Draft(id="a"))
    assert version.status is VersionStatus.INDEXED
    assert len([*(tmp_path / "workers").iterdir()]) == 1  # the killed one's file is gone
    await one.aclose()
    assert [*(tmp_path / "workers").iterdir()] == []


async def test_who_only_reads_leaves_no_file(tmp_path: Path) -> None:
    one = control(tmp_path)
    workspace = await one.open("default", create=True)
    assert await workspace.queue.claim(WORKER, 60) is None
    assert await workspace.queue.release_stalled() == 0
    assert not (tmp_path / "workers").exists()
    await one.aclose()


def test_files_of_killed_processes_do_not_pile_up(tmp_path: Path) -> None:
    first, second = Presence(tmp_path), Presence(tmp_path)
    mine = first.name()
    assert mine is not None
    left = [tmp_path / mine.replace(mine[-4:], f"{number:04}") for number in range(3)]
    for path in left:
        path.touch()
    assert second.name() != mine
    assert not any(path.exists() for path in left)
    assert (second.is_gone(mine), first.is_gone(mine)) == (False, False)
    first.close()
    assert second.is_gone(mine)
    second.close()
    assert [*tmp_path.iterdir()] == []


def test_other_hosts_are_taken_to_be_alive(tmp_path: Path) -> None:
    one = Presence(tmp_path)
    assert not one.is_gone("another-host.0123")
    (tmp_path / "another-host.0123").touch()
    assert one.name() is not None
    assert (tmp_path / "another-host.0123").exists()
    one.close()


def test_where_nothing_can_be_locked_leases_have_to_run_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int) -> bool:
        raise OSError(95, os.strerror(95))

    one = Presence(tmp_path)
    name = one.name()
    assert name is not None
    monkeypatch.setattr(presences, "_locked", refuse)
    other = Presence(tmp_path)
    assert not other.is_gone(name)
    assert other.name() is None
    assert other.name() is None
    assert caplog.text.count("can be locked") == 1
    one.close()


async def test_workspaces_are_not_opened_while_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counted(path: Path):  # type: ignore[no-untyped-def]
        opened.append(path)
        return connect(path)

    one = control(tmp_path)
    queues = [(await one.open(f"w{number}", create=True)).queue for number in range(5)]
    for path in (tmp_path / "workspaces").iterdir():
        os.utime(path, (1_000_000, 1_000_000))
    monkeypatch.setattr(lookouts, "connect", counted)
    for _ in range(3):
        assert await one.waiting() == {}
    assert len(opened) == 5
    await queues[3].accept(Draft(id="a").submission)
    for _ in range(3):
        assert await one.waiting() == {"w3": 0}
    assert len(opened) == 8  # what changed a moment ago may change again within the same tick
    await one.aclose()


async def test_a_workspace_that_cannot_be_read_counts(tmp_path: Path) -> None:
    one = control(tmp_path)
    for name in ("good", "bad"):
        await one.open(name, create=True)
    await one.aclose()
    (tmp_path / "workspaces" / "0002.sqlite").write_bytes(b"nothing of the kind" * 1000)
    two = control(tmp_path)
    assert await two.waiting() == {"bad": 0}
    await two.aclose()
