"""The pool of workers: every workspace gets its turn, and trouble in one place stays there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from engines import small_engine
from rag_engine import Engine, Version
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.errors import StoreCorrupt, StoreUnavailable
from rag_engine.testing.faults import Fault, FaultKind, Faults, faulty, scripted
from rag_engine_lightrag import pool as pools
from rag_engine_lightrag.pool import WorkerPool

AWAY = Fault(kind=FaultKind.ERROR)
DAMAGED = Fault(kind=FaultKind.ERROR, error=StoreCorrupt)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(tmp_path)
    yield engine
    await engine.aclose()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are a hundredth of what they are."""
    monkeypatch.setattr(pools, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(pools, "_PATIENCE", 0.16)
    monkeypatch.setattr(pools, "LOOK_SECONDS", 0.05)


async def fill(engine: Engine, workspace: str, count: int) -> None:
    for number in range(count):
        id, text = f"d{number}", f"Document {number}.".encode()
        await engine.submit(text, document_id=id, source=f"{id}.md", workspace=workspace)


def with_faults(engine: Engine, script: dict[str, dict[int, Fault]]) -> Engine:
    """The engine over a store that fails when the script says so."""
    return replace(engine, control=faulty("control", engine.control, Faults(scripted(script))))


class Ends:
    """Where documents came to their end, in order."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def __call__(self, workspace: str, version: Version) -> None:
        self.places.append(workspace)


async def test_every_workspace_gets_its_turn(engine: Engine) -> None:
    await fill(engine, "busy", 6)
    await fill(engine, "small", 2)
    ends = Ends()
    await WorkerPool(engine=engine, concurrency=1, until_idle=True, ended=ends).run()
    assert ends.places == ["busy", "small"] * 2 + ["busy"] * 4


async def test_an_outage_is_waited_for(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    await fill(engine, "one", 2)
    script = {"control.waiting": {1: AWAY, 2: AWAY}, "queue.claim": {2: AWAY}}
    ends = Ends()
    pool = WorkerPool(engine=with_faults(engine, script), until_idle=True, ended=ends)
    async with asyncio.timeout(20):
        await pool.run()
    assert ends.places == ["one", "one"]
    assert caplog.text.count("looking again in") == 2
    assert caplog.text.count("workspace 'one' is left aside") == 1


async def test_an_outage_that_does_not_pass_is_an_error_when_the_end_is_waited_for(
    engine: Engine,
) -> None:
    script = {"control.waiting": dict.fromkeys(range(1, 50), AWAY)}
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await WorkerPool(engine=with_faults(engine, script), until_idle=True).run()


async def test_damage_is_an_error_at_once_when_the_end_is_waited_for(engine: Engine) -> None:
    await fill(engine, "one", 1)
    pool = WorkerPool(
        engine=with_faults(engine, {"queue.claim": {1: DAMAGED}}), until_idle=True, concurrency=1
    )
    with pytest.raises(StoreCorrupt):
        await pool.run()


async def test_a_workspace_in_trouble_does_not_keep_the_others_waiting(engine: Engine) -> None:
    await fill(engine, "bad", 1)
    await fill(engine, "good", 3)
    ends = Ends()
    script = {"control.open": dict.fromkeys(range(1, 1000, 2), DAMAGED)}
    pool = WorkerPool(engine=with_faults(engine, script), concurrency=1)

    def ended(workspace: str, version: Version) -> None:
        ends(workspace, version)
        if len(ends.places) == 4:
            pool.stop()

    pool.ended = ended
    async with asyncio.timeout(20):
        await pool.run()
    assert sorted(ends.places) == ["bad", "good", "good", "good"]


async def test_who_has_not_the_originals_leaves_the_work_to_others(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a machine whose shared folder is not mounted: it fails faster than others work."""
    await fill(engine, "one", 12)
    elsewhere = FolderBlobs(tmp_path / "not mounted")
    pipeline = replace(engine.pipeline, blobs=elsewhere)
    lost = WorkerPool(engine=replace(engine, blobs=elsewhere, pipeline=pipeline), concurrency=2)
    losing = asyncio.create_task(lost.run())
    async with asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.01)
            if "workspace 'one' is left aside" in caplog.text:
                break
        await WorkerPool(engine=engine, until_idle=True).run()
    lost.stop()
    await losing
    assert "share this folder" in caplog.text
    versions = await (await engine.workspace("one")).queue.versions()
    assert [version.status for version in versions] == ["indexed"] * 12
    assert max(version.attempt for version in versions) > 1
    assert sum(version.attempt == 1 for version in versions) > 4  # it did not try them all


async def test_a_stopped_pool_puts_back_what_it_holds(engine: Engine) -> None:
    await fill(engine, "one", 8)
    pool = WorkerPool(engine=engine, ended=lambda workspace, version: pool.stop())
    async with asyncio.timeout(20):
        await pool.run()
    versions = await (await engine.workspace("one")).queue.versions()
    assert {version.status for version in versions} == {"indexed", "pending"}
    assert {version.attempt for version in versions if version.status == "pending"} == {0}
