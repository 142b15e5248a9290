"""`rag-engine doctor --verify` and `--repair`."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

pytestmark = pytest.mark.usefixtures("filled")


def execute(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "workspaces" / "0001.sqlite")) as connection, connection:
        connection.execute(statement)


def test_a_whole_folder_is_said_to_be_whole(run: Run) -> None:
    done = run("doctor", "--verify")
    assert (done.code, done.out) == (0, "Everything is as it was written.\n")
    assert run("doctor", "--verify", "--json").lines == [{"damages": 0, "repairable": 0}]
    done = run("doctor", "--repair", "--yes")
    assert (done.code, done.out) == (0, "Everything is as it was written: nothing to repair.\n")


def test_damage_is_named_and_repaired_on_request(run: Run, data: Path) -> None:
    before = run("stats", "--json").json
    execute(data, "UPDATE meta SET value = value + 1 WHERE key = 'mentions'")
    done = run("doctor", "--verify")
    assert done.code == 3
    assert "default: The total of mentions is" in done.out
    assert "Repair with: rag-engine doctor --repair" in done.out
    found, summary = run("doctor", "--verify", "--json").lines
    assert (found["check"], found["workspace"], found["repair"]) == ("totals", "default", "rebuild")
    assert summary == {"damages": 1, "repairable": 1}
    asked = run("doctor", "--repair")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    assert run("doctor", "--repair", "--yes", "--json").json == {"found": 1, "left": 0}
    assert run("stats", "--json").json == before


def test_an_original_is_stored_again_from_the_file_it_came_from(
    run: Run, data: Path, docs: Path
) -> None:
    content = (docs / "mill.html").read_bytes()
    hash = hashlib.sha256(content).hexdigest()
    (data / "blobs" / hash[:2] / hash).write_bytes(b"changed")
    assert "The file it came from still has it." in run("doctor", "--verify").out
    assert run("doctor", "--repair", "--yes").code == 0
    assert (data / "blobs" / hash[:2] / hash).read_bytes() == content


def test_what_cannot_be_repaired_is_left_and_named(run: Run, data: Path, tmp_path: Path) -> None:
    path = tmp_path / "weir.txt"
    path.write_text("Anton Berg built the weir.")
    run("ingest", path)
    hash = hashlib.sha256(path.read_bytes()).hexdigest()
    (data / "blobs" / hash[:2] / hash).write_bytes(b"changed")
    path.write_text("Anton Berg built the wear.")  # as long, but not the same
    done = run("doctor", "--repair", "--yes")
    assert done.code == 3
    assert "(cannot be repaired here)" in done.out
    assert "delete the document and ingest it again" in done.out
    assert "Anton Berg" in run("documents", "show", "weir.txt", "--text").out
    refused = run("documents", "original", "weir.txt")
    assert (refused.code, hash in refused.error) == (3, True)


@pytest.mark.parametrize("name", ["workspaces/0001.sqlite", "control.sqlite"])
def test_a_database_that_is_none_is_named_with_the_remedy(run: Run, data: Path, name: str) -> None:
    (data / name).write_bytes(b"garbage" * 9999)
    done = run("query", "Who owned the mill?")
    assert done.code == 3
    assert name in done.error
    assert "rag-engine doctor --" in done.error
    done = run("doctor", "--verify")
    assert done.code == 3
    assert name in done.out
    assert run("doctor", "--repair", "--yes").code == (0 if name == "control.sqlite" else 3)
    assert run("query", "Who owned the mill?").code == (0 if name == "control.sqlite" else 3)


def test_a_workspace_that_is_lost_is_given_up_on_request(run: Run, data: Path, docs: Path) -> None:
    refused = run("doctor", "--forget", "default")
    assert (refused.code, "not lost" in refused.error) == (2, True)
    (data / "workspaces" / "0001.sqlite").write_bytes(b"garbage" * 9999)
    done = run("doctor", "--verify")
    assert "(cannot be repaired here)" in done.out
    assert "doctor --forget default" in done.out
    assert run("doctor", "--forget", "default").code == 0
    assert run("ingest", docs / "mill.html").code == 0
    assert run("doctor", "--verify").code == 0


def test_one_thing_at_a_time(run: Run) -> None:
    assert run("doctor", "--collect", "--verify").code == 2
