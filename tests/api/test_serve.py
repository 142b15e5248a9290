"""`rag-engine serve` as a process: it serves and ingests, and ends as it is told."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from command_line import started
from rag_engine_api.server import listening
from serving import serving

if TYPE_CHECKING:
    from pathlib import Path

FARNE = b"# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."


def wait_until_indexed(client: httpx.Client, id: str) -> None:
    with client.stream("GET", f"/api/v1/documents/{id}/events") as events:
        names = [line for line in events.iter_lines() if line.startswith("event: ")]
    assert names[-1] == "event: indexed"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_serves_and_ingests_and_ends_as_it_is_told(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with serving(tmp_path / "data") as (process, client):
        assert client.get("/ready").json()["ready"]
        accepted = client.post("/api/v1/documents", files={"files": ("farne.md", FARNE)})
        assert accepted.status_code == 202
        wait_until_indexed(client, "farne.md")
        answer = client.post("/api/v1/query", json={"question": "Who built the lighthouse?"}).json()
        assert "Ada Brand" in answer["answer"]
        process.send_signal(number)
        assert process.wait(timeout=20) == code
    with started(tmp_path / "data", "search", "lighthouse", "--json") as process:
        out, err = process.communicate(timeout=60)
        assert "farne.md" in out, err


def test_what_was_accepted_without_workers_is_ingested_by_others(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--no-workers") as (_, client):
        client.post("/api/v1/documents", files={"files": ("farne.md", FARNE)})
        time.sleep(1.5)
        newest = client.get("/api/v1/documents/farne.md").json()["newest"]
        assert newest["status"] == "pending"
        with started(data, "worker", "--until-idle") as worker:
            assert worker.wait(timeout=60) == 0
        wait_until_indexed(client, "farne.md")


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started(tmp_path / "data", "serve", "--port", port) as process:
            _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"port {port}" in err
    assert "--port" in err


EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is tested


def test_strangers_are_let_in_only_when_that_is_said(tmp_path: Path) -> None:
    with started(tmp_path / "data", "serve", "--port", "0", "--host", EVERYWHERE) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "keys create" in err
    assert "--open" in err
    with serving(tmp_path / "data", "--host", EVERYWHERE, "--open") as (process, client):
        assert process.stderr is not None
        assert "WITHOUT A KEY" in process.stderr.readline()
        port = client.base_url.port
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/workspaces").status_code == 200


def test_it_asks_for_keys_when_that_is_said_though_there_are_none(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--keys", "--no-workers") as (_, client):
        assert client.get("/api/v1/workspaces").status_code == 401
        assert client.get("/health").status_code == 200


def test_with_a_key_it_asks_for_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started(data, "keys", "create", "Test", "--scope", "write") as making:
        token, told = making.communicate(timeout=30)
    assert making.returncode == 0, told
    with serving(data, "--host", EVERYWHERE) as (_, client):
        port = client.base_url.port
        place = f"http://127.0.0.1:{port}/api/v1/documents"
        files = {"files": ("farne.md", FARNE)}
        assert httpx.post(place, files=files).status_code == 401
        mine = {"Authorization": f"Bearer {token.strip()}"}
        assert httpx.post(place, files=files, headers=mine).status_code == 202
        assert httpx.get(place, headers=mine).status_code == 403


def test_an_answer_is_sent_at_once_and_not_when_its_head_is_acknowledged() -> None:
    with listening("127.0.0.1", 0) as door, socket.create_connection(door.getsockname()):
        connection, _ = door.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
