"""A server under development starts anew when its sources are edited."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_an_edit_starts_the_server_anew_and_a_signal_ends_it(
    number: signal.Signals, code: int, sources: Path, tmp_path: Path
) -> None:
    port = free_port()
    words = ["--data-dir", str(tmp_path / "data"), "serve", "--port", str(port), "--no-workers"]
    server = subprocess.Popen(
        [sys.executable, "-m", "rag_engine_cli", *words],
        env={**os.environ, "PYTHONPATH": str(sources), "API_RELOAD": "true"},
        cwd=tmp_path,
    )
    try:
        until_it_says(port, "ok")
        edited = sources / "rag_engine_api/operations.py"
        text = edited.read_text("utf-8")
        edited.write_text(text.replace("def health(", "def (", 1), "utf-8")
        time.sleep(1.0)  # it fails, and waits for the next edit
        changed = text.replace('status: str = "ok"', 'status: str = "edited"')
        edited.write_text(changed, "utf-8")
        until_it_says(port, "edited")
        server.send_signal(number)
        assert server.wait(PATIENCE_SECONDS) == code
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/health")
    finally:
        server.kill()
        server.wait()
