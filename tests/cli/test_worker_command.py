"""`rag-engine worker`: real processes, real signals, several on one data folder."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from command_line import started
from neo4j_server import free_port
from rag_engine_cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from command_line import Run
    from rag_engine import Version
    from rag_engine.engine import Engine

SLOW = " ".join(f"Keeper {number} lit lamp {number} at dusk." for number in range(4000)).encode()


def submit(data: Path, texts: Mapping[str, bytes], workspace: str = "default") -> None:
    """Put documents into a queue, as another process would, and do no work on them."""

    async def put(engine: Engine) -> None:
        for id, text in texts.items():
            source = f"{id}.txt"
            await engine.submit(text, document_id=id, source=source, workspace=workspace)

    Session(data_dir=data).run(put)


def versions(data: Path, workspace: str = "default") -> dict[str, Version]:
    """What became of all documents of a workspace."""

    async def look(engine: Engine) -> dict[str, Version]:
        queue = (await engine.workspace(workspace)).queue
        return {one.document_id: one for one in await queue.versions(limit=1000)}

    return Session(data_dir=data).run(look)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def status_of(data: Path, id: str) -> str:
    return str(versions(data)[id].status)


def texts(count: int, what: str = "d") -> dict[str, bytes]:
    return {f"{what}{n}": f"Document {n} is about ferry {n}.".encode() for n in range(count)}


def test_works_on_all_workspaces_and_ends_when_nothing_waits(run: Run, data: Path) -> None:
    submit(data, texts(2), "one")
    submit(data, {**texts(1), "empty": b" "}, "two")
    done = run("worker", "--until-idle", "--json")
    assert done.code == 1  # one of them holds no text
    *lines, last = done.lines
    assert sorted((line["workspace"], line["id"], line["status"]) for line in lines) == [
        ("one", "d0", "indexed"),
        ("one", "d1", "indexed"),
        ("two", "d0", "indexed"),
        ("two", "empty", "failed"),
    ]
    assert [line["error_code"] for line in lines if line["id"] == "empty"] == ["DocumentEmpty"]
    assert last == {"summary": {"indexed": 3, "failed": 1}}
    assert run("worker", "--until-idle").out == "Nothing waits: 0 documents indexed.\n"


def test_one_workspace_alone_if_it_is_named(run: Run, data: Path) -> None:
    submit(data, texts(1), "one")
    submit(data, texts(1), "two")
    done = run("worker", "--until-idle", "-w", "two")
    assert done.out.startswith("indexed    d0.txt: 1 passage\n")
    assert versions(data, "one")["d0"].status == "pending"


def test_a_workspace_that_is_not_there_is_no_idle_one(run: Run, data: Path) -> None:
    submit(data, texts(1), "one")
    done = run("worker", "--until-idle", "-w", "noe")
    assert done.code == 2
    assert "There is no workspace 'noe'" in done.error
    assert "'one'" in done.error
    assert run("worker", "-w", "a/b").code == 2


@pytest.mark.slow
def test_a_workspace_that_is_not_there_yet_is_waited_for(data: Path) -> None:
    with started(data, "worker", "-w", "late") as worker:
        assert worker.stderr is not None
        assert any("no workspace 'late' yet" in line for line in worker.stderr)
        submit(data, texts(1), "late")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "indexed    d0.txt: 1 passage\n"
        worker.terminate()
        worker.communicate(timeout=30)
        assert worker.returncode == 0


def test_there_may_be_nothing_at_all(run: Run) -> None:
    done = run("worker", "--until-idle")
    assert (done.code, done.out) == (0, "Nothing waits: 0 documents indexed.\n")


@pytest.mark.slow
def test_any_number_of_workspaces_takes_few_open_files(data: Path) -> None:
    async def put(engine: Engine) -> None:
        for number in range(100):
            text = f"Document {number}.".encode()
            place = f"w{number}"
            await engine.submit(text, document_id="d", source="d.txt", workspace=place)

    Session(data_dir=data).run(put)
    limited = ["sh", "-c", 'ulimit -n 128; exec "$@"', "sh", sys.executable, "-m", "rag_engine_cli"]
    words = ["--data-dir", str(data), "worker", "--until-idle"]
    done = subprocess.run(
        [*limited, *words], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.stderr == ""
    assert done.stdout.endswith("Nothing waits: 100 documents indexed.\n")


@pytest.mark.slow
def test_any_number_of_workers_share_the_work(data: Path) -> None:
    submit(data, texts(40))
    with ExitStack() as stack:
        words = ("worker", "--until-idle", "--json", "--concurrency", "2")
        workers = [stack.enter_context(started(data, *words)) for _ in range(3)]
        printed = [worker.communicate(timeout=120)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0]
    lines = [json.loads(line) for one in printed for line in one.splitlines()]
    indexed = [line["id"] for line in lines if line.get("status") == "indexed"]
    assert sorted(indexed) == sorted(texts(40))  # each once, none lost
    assert {(one.status, one.attempt) for one in versions(data).values()} == {("indexed", 1)}
    assert [*(data / "workers").iterdir()] == []


@pytest.mark.slow
def test_workers_and_an_ingest_at_the_same_time(run: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for id, text in texts(12, "file").items():
        (folder / f"{id}.txt").write_bytes(text)
    with started(data, "worker") as one, started(data, "worker") as other:
        for worker in (one, other):
            assert worker.stderr is not None
            assert "Working on" in worker.stderr.readline()
        submit(data, texts(12))
        done = run("ingest", folder, "--json")
        assert done.code == 0
        until(lambda: all(version.status == "indexed" for version in versions(data).values()))
        for worker in (one, other):
            worker.terminate()
            _, err = worker.communicate(timeout=30)
            assert worker.returncode == 0, err
    found = versions(data)
    assert len(found) == 24
    assert {version.attempt for version in found.values()} == {1}


@pytest.mark.slow
def test_sigterm_and_ctrl_c_put_back_what_is_in_hand(data: Path) -> None:
    for sent, code in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        submit(data, {"slow": SLOW + str(sent).encode()})
        with started(data, "worker") as worker:
            until(lambda: status_of(data, "slow") == "running")
            began = time.monotonic()
            worker.send_signal(sent)
            _, err = worker.communicate(timeout=30)
            assert worker.returncode == code
            assert time.monotonic() - began < 10
            assert "Traceback" not in err
        version = versions(data)["slow"]
        assert (version.status, version.attempt) == ("pending", 0)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_it_at_once(data: Path) -> None:
    submit(data, {"slow": SLOW})
    with started(data, "worker", "--grace", "600") as worker:
        until(lambda: status_of(data, "slow") == "running")
        worker.send_signal(signal.SIGINT)
        time.sleep(1)
        assert worker.poll() is None
        worker.send_signal(signal.SIGINT)
        worker.communicate(timeout=5)
        assert worker.returncode == 130
    assert status_of(data, "slow") == "running"  # put back by whoever looks next


@pytest.mark.slow
def test_a_worker_finishes_what_it_can_within_its_grace(data: Path) -> None:
    submit(data, {"slow": SLOW[:12_000]})
    with started(data, "worker", "--grace", "60") as worker:
        until(lambda: status_of(data, "slow") == "running")
        submit(data, texts(1))
        worker.terminate()
        out, _ = worker.communicate(timeout=90)
        assert worker.returncode == 0
    assert out.startswith("indexed    slow.txt")
    assert status_of(data, "slow") == "indexed"


@pytest.mark.slow
def test_what_a_killed_worker_held_goes_on_in_another_at_once(data: Path) -> None:
    submit(data, {"slow": SLOW[:12_000]})
    with started(data, "worker") as other, started(data, "worker") as one:
        until(lambda: status_of(data, "slow") == "running")
        one.kill()
        other.kill()
    assert status_of(data, "slow") == "running"
    began = time.monotonic()
    with started(data, "worker", "--until-idle") as worker:
        out, _ = worker.communicate(timeout=120)
    assert "indexed    slow.txt" in out
    assert time.monotonic() - began < 40  # its lease lasts longer
    version = versions(data)["slow"]
    assert (version.status, version.attempt) == ("indexed", 2)
    assert [*(data / "workers").iterdir()] == []


@pytest.mark.slow
def test_new_workspaces_are_found_and_broken_ones_left_aside(data: Path) -> None:
    submit(data, texts(1), "broken")
    path = data / "workspaces" / "0001.sqlite"
    path.write_bytes(b"nothing of the kind" * 1000)
    with started(data, "worker") as worker:
        assert worker.stderr is not None
        for line in worker.stderr:
            if "'broken' is left aside" in line:
                break
        submit(data, texts(1), "late")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "indexed    d0.txt: 1 passage  [late]\n"
        worker.terminate()
        worker.communicate(timeout=30)
        assert worker.returncode == 0


def test_until_idle_says_what_is_wrong_with_a_workspace(run: Run, data: Path) -> None:
    submit(data, texts(1))
    (data / "workspaces" / "0001.sqlite").write_bytes(b"nothing of the kind" * 1000)
    done = run("worker", "--until-idle")
    assert done.code == 3
    assert "0001.sqlite" in done.error


def test_a_worker_can_be_watched(data: Path) -> None:
    submit(data, {**texts(2), "empty": b" "})
    port = free_port()
    with (
        started(data, "worker", "--metrics-port", str(port)) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        until(lambda: status_of(data, "empty") == "failed" and status_of(data, "d1") == "indexed")
        assert client.get("/health").json()["status"] == "ok"
        response = client.get("/metrics")
        assert client.get("/api/v1/documents").status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert response.headers["content-type"].startswith("text/plain")
    told = {
        (one.name, *one.labels.values()): one.value
        for family in text_string_to_metric_families(response.text)
        for one in family.samples
    }
    assert told["rag_ingest_attempts_total", "indexed"] == 2
    assert told["rag_ingest_attempts_total", "failed"] == 1
    assert told["rag_ingest_stage_seconds_count", "write"] == 2
    assert told["rag_queue_versions", "pending"] == 0
    assert told["rag_store_up",] == 1
    assert [value for (name, *_), value in told.items() if name == "rag_build_info"] == [1]


def test_a_port_that_another_worker_has_is_named(data: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("worker", "--until-idle", "--metrics-port", str(port))
    assert done.code == 2
    assert "--metrics-port" in done.error
    assert str(port) in done.error
