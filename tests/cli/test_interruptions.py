"""Ctrl-C in the middle, and a folder that is watched: real processes, real signals."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from command_line import started

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command_line import Run

DOCUMENTS = 16


def line_of(process: subprocess.Popen[str], wanted: str) -> str:
    """The next line on stdout that holds a word."""
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"The command ended without saying {wanted!r}.")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ingest_says_what_is_done_and_goes_on(
    run: Run, data: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(DOCUMENTS):
        text = " ".join(f"Keeper {number} lit lamp {lamp} at dusk." for lamp in range(30))
        (folder / f"{number:02}.txt").write_text(text)
    with started(data, "ingest", folder) as process:
        line_of(process, "indexed")
        process.send_signal(sent)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert re.search(r"Interrupted: \d+ documents? indexed, .*Nothing is lost", err)
    assert "Traceback" not in err

    found = run("documents", "list", "--json").json
    assert 1 <= len(found["documents"]) < DOCUMENTS
    assert found["failed"] == []
    assert run("documents", "list", "--status", "running", "--json").json["versions"] == []

    done = run("ingest", folder)
    assert done.code == 0, done.err
    assert run("stats", "--json").json["documents"] == DOCUMENTS
    assert run("ingest", folder).out.startswith(f"{DOCUMENTS} unchanged.")


def test_a_background_job_that_ignores_ctrl_c_can_be_asked_to_end(
    run: Run, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one.txt").write_text("The first document is about the ferry.\n")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited, as from a script's `&`
    try:
        with started(data, "sync", folder, "--watch") as process:
            line_of(process, "1 indexed")
            process.terminate()
            process.communicate(timeout=20)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.returncode == 130


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_watched_folder_is_followed_until_ctrl_c(run: Run, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one.txt").write_text("The first document is about the ferry.\n")
    with started(data, "sync", folder, "--watch") as process:
        line_of(process, "1 indexed")
        (folder / "two.txt").write_text("The second document is about the bridge.\n")
        line_of(process, "indexed    two.txt")
        (folder / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
        assert "broken.pdf" in line_of(process, "failed")
        (folder / "one.txt").unlink()
        line_of(process, "deleted")
        until(lambda: run("stats", "--json").json["documents"] == 1)
        line_of(process, "unchanged")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("Stopped watching.\n")
    assert "Traceback" not in err
