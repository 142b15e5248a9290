"""`rag-engine documents cancel` and `documents retry`, and what is said of failures."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import pytest

from rag_engine.core.jobs import Decision
from rag_engine_cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from command_line import Run
    from rag_engine.engine import Engine
    from rag_engine.ports.queue import JobQueue

AWAY = Decision(reason="The model is away. Start it.", code="ModelUnavailable", retry_in=300.0)


def on_queue(data: Path, work: Callable[[Engine, JobQueue], Awaitable[object]]) -> None:
    async def whole(engine: Engine) -> None:
        opened = await engine.control.open("default", create=True)
        await work(engine, opened.queue)

    Session(data_dir=data).run(whole)


def submit(data: Path, *ids: str) -> None:
    async def put(engine: Engine, queue: JobQueue) -> None:
        for id in ids:
            await engine.submit(f"Text of {id}.".encode(), document_id=id, source=f"{id}.txt")

    on_queue(data, put)


def test_what_waits_is_cancelled_and_goes_again(run: Run, data: Path) -> None:
    submit(data, "a", "b", "c")
    assert run("documents", "cancel", "a", "b.txt").out == "2 documents cancelled.\n"
    assert "1 indexed" in run("ingest").out
    found = run("documents", "list", "--status", "cancelled", "--json").json["versions"]
    assert sorted(one["id"] for one in found) == ["a", "b"]
    done = run("documents", "retry", "a")
    assert done.out == "1 document put into the queue again. Go on: rag-engine ingest\n"
    assert run("ingest").code == 0
    shown = run("documents", "show", "a", "--json").json
    assert (shown["newest"]["version"], shown["newest"]["status"]) == (2, "indexed")


def test_a_mistake_changes_nothing(run: Run, data: Path) -> None:
    submit(data, "a", "b")
    run("documents", "cancel", "b")
    for words, said in (
        (("cancel", "a", "b"), "'b.txt' is cancelled already"),
        (("retry", "b", "a"), "'a.txt' is pending"),
        (("cancel", "nobody"), "There is no document 'nobody'"),
        (("retry", "nobody"), "There is no document 'nobody'"),
        (("retry",), "Name documents, or give --failed."),
        (("retry", "b", "--failed"), "Name documents, or give --failed."),
    ):
        done = run("documents", *words)
        assert done.code == 2
        assert said in done.error
    assert run("documents", "show", "a", "--json").json["newest"]["status"] == "pending"
    assert run("documents", "show", "b", "--json").json["newest"]["version"] == 1


def test_all_that_failed_goes_again_without_its_file(run: Run, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4")
    assert run("ingest", broken).code == 1
    broken.unlink()
    (failed,) = run("documents", "list", "--json").json["failed"]
    assert failed["error_code"] == "DocumentUnreadable"
    assert failed["attempt"] == 1
    assert "code       DocumentUnreadable" in run("documents", "show", "broken.pdf").out
    (again,) = run("documents", "retry", "--failed", "--json").json["retried"]
    assert (again["version"], again["status"], again["attempt"]) == (2, "pending", 0)
    assert run("ingest").code == 1
    shutil.rmtree(data / "blobs")
    done = run("documents", "retry", "--failed")
    assert done.code == 1
    assert "The original of 'broken.pdf' is gone" in done.err
    done = run("documents", "retry", "broken.pdf")
    assert done.code == 3
    assert "rag-engine ingest FILE" in done.error


def test_nothing_that_failed_is_no_error(run: Run, data: Path) -> None:
    submit(data, "a")
    done = run("documents", "retry", "--failed")
    assert (done.code, done.out) == (0, "0 documents put into the queue again.\n")


def test_what_is_put_off_says_why_how_often_and_when(run: Run, data: Path) -> None:
    submit(data, "a")

    async def fail(engine: Engine, queue: JobQueue) -> None:
        job = await queue.claim("one", 60)
        assert job is not None
        await queue.fail(job.lease, AWAY)

    on_queue(data, fail)
    listed = run("documents", "list", "--json").json
    (version,) = listed["put_off"]
    assert (version["status"], version["attempt"]) == ("pending", 1)
    assert (version["error"], version["error_code"]) == (AWAY.reason, AWAY.code)
    assert version["retry_at"] > version["requested_at"]
    said = "The model is away. Start it. (1 attempt; again at "
    assert said in run("documents", "list").out
    assert said in run("documents", "list", "--status", "pending").out
    shown = run("documents", "show", "a").out
    assert "code       ModelUnavailable" in shown
    assert "attempts   1" in shown
    assert "again" in shown


@pytest.mark.slow
def test_a_document_that_is_being_worked_on_is_cancelled(run: Run, data: Path) -> None:
    """The command runs beside the work, as it would in another process."""
    text = " ".join(f"Keeper {number} lit lamp {number} at dusk." for number in range(4000))

    async def put(engine: Engine, queue: JobQueue) -> None:
        await engine.submit(text.encode(), document_id="slow", source="slow.txt")

    on_queue(data, put)
    heard: list[str] = []

    async def work(engine: Engine, queue: JobQueue) -> None:
        from rag_engine import Watch

        await engine.work(watch=Watch(ended=lambda version: heard.append(version.status)))

    working = threading.Thread(target=on_queue, args=(data, work))
    working.start()
    while not run("documents", "list", "--status", "running", "--json").json["versions"]:
        assert working.is_alive()
    assert run("documents", "cancel", "slow").code == 0
    working.join(10)
    assert not working.is_alive()
    assert heard == ["cancelled"]
