"""A server and a worker under development start anew when their sources are edited."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from neo4j_server import free_port

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "rag_engine": "shared",
    "rag_engine_api": "services/api",
    "rag_engine_cli": "services/cli",
    "rag_engine_lightrag": "services/lightrag",
}
PATIENCE_SECONDS = 60.0


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy to be edited."""
    folder = tmp_path / "sources"
    for name, parent in PACKAGES.items():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / parent / name, folder / name, ignore=ignored)
    return folder


def until_it_says(port: int, status: str) -> None:
    said: object = None
    last = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < last:
        try:
            said = httpx.get(f"http://127.0.0.1:{port}/health", timeout=5.0).json()["status"]
        except (httpx.HTTPError, ValueError) as error:
            said = error
        if said == status:
            return
        time.sleep(0.1)
    pytest.fail(f"It says {said!r}, not {status!r}.")


SERVER: Final = {
    "words": ("serve", "--no-workers", "--port"),
    "environment": {"API_RELOAD": "true"},
    "file": "rag_engine_api/operations.py",
    "health": "def health(",
    "status": 'status: str = "ok"',
}
WORKER: Final = {
    "words": ("worker", "--reload", "--metrics-port"),
    "environment": {},
    "file": "rag_engine_lightrag/watching.py",
    "health": "def health(",
    "status": '"status": "ok"',
}


@pytest.mark.parametrize(
    ("what", "number", "code"),
    [
        pytest.param(SERVER, signal.SIGTERM, 0, id="server"),
        pytest.param(SERVER, signal.SIGINT, 130, id="server, Ctrl-C"),
        pytest.param(WORKER, signal.SIGTERM, 0, id="worker"),
    ],
)
def test_an_edit_starts_it_anew_and_a_signal_ends_it(
    what: dict[str, Any], number: signal.Signals, code: int, sources: Path, tmp_path: Path
) -> None:
    port = free_port()
    words = ["--data-dir", str(tmp_path / "data"), *what["words"], str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rag_engine_cli", *words],
        env={**os.environ, "PYTHONPATH": str(sources), **what["environment"]},
        cwd=tmp_path,
    )
    try:
        until_it_says(port, "ok")
        edited = sources / what["file"]
        text = edited.read_text("utf-8")
        edited.write_text(text.replace(what["health"], "def (", 1), "utf-8")
        time.sleep(1.0)  # it fails, and waits for the next edit
        changed = text.replace(what["status"], what["status"].replace("ok", "edited"))
        edited.write_text(changed, "utf-8")
        until_it_says(port, "edited")
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == code
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/health")
    finally:
        process.kill()
        process.wait()
