"""A server that is told to stop in the middle of an answer ends the answer first."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FARNE = b"# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
ASK = {"question": "Who built the lighthouse?"}


class Hesitant(ThreadingHTTPServer):
    """A model server whose replies begin at once, and end when it is told to go on."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Reply)
        self.go_on, self.left = threading.Event(), threading.Event()


class _Reply(BaseHTTPRequestHandler):
    server: Hesitant

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._say({"delta": {"content": "It was built "}})
            while not self.server.go_on.wait(0.05):
                self.wfile.write(b": still there\n\n")
            self._say({"delta": {"content": "by Ada Brand [1]."}})
            self._say({"delta": {}, "finish_reason": "stop"})
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.left.set()

    def _say(self, choice: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hesitant]:
    with Hesitant() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("RAG_LLM_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("RAG_LLM_MODEL", "hesitant")
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


def is_listening(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port or 0)) == 0


def asked_and_stopped(data: Path, model: Hesitant, *, go_on: bool) -> tuple[int, list[str], str]:
    """Exit code, lines of a stream that SIGTERM came into, and what was logged."""
    with serving(data) as (process, client):
        files = {"files": ("farne.md", FARNE)}
        assert client.post("/api/v1/documents", files=files).status_code == 202
        with client.stream("GET", "/api/v1/documents/farne.md/events") as events:
            assert "event: indexed" in list(events.iter_lines())
        with client.stream("POST", "/api/v1/query/stream", json=ASK) as answer:
            lines = answer.iter_lines()
            told = [next(lines)]
            process.send_signal(signal.SIGTERM)
            while is_listening(client.base_url.port):
                time.sleep(0.05)
            if go_on:
                model.go_on.set()
            try:
                told += list(lines)
            except httpx.RemoteProtocolError:
                told.append("broken off")
        code = process.wait(timeout=60)
        assert process.stderr is not None
        return code, told, process.stderr.read()


def test_an_answer_that_is_under_way_is_ended(tmp_path: Path, model: Hesitant) -> None:
    code, lines, log = asked_and_stopped(tmp_path / "data", model, go_on=True)
    assert code == 0, log
    answer = json.loads(lines[lines.index("event: answer") + 1].removeprefix("data: "))
    assert answer["answer"] == "It was built by Ada Brand [1]."
    assert "Traceback" not in log


def test_one_that_does_not_end_is_not_waited_for_without_an_end(
    tmp_path: Path, model: Hesitant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_API_DRAIN_SECONDS", "1")
    code, lines, log = asked_and_stopped(tmp_path / "data", model, go_on=False)
    assert code == 0, log
    assert "event: answer" not in lines
    assert model.left.wait(10)
