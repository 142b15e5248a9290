"""The command line where the disk is full or read-only: what works, what does not, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from disks import Disk, disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from command_line import Run

TEXT = "Clara Weiss met Anton Berg at the mill on the Elder Brook."
READING = (
    ("query", "Who met Anton Berg?"),
    ("search", "Who met Anton Berg?"),
    ("documents", "list"),
    ("documents", "original", "mill.md"),
    ("documents", "text", "mill.md"),
    ("graph", "show", "Clara Weiss"),
    ("graph", "edits"),
    ("stats",),
    ("workspaces",),
)


@pytest.fixture
def medium(data: Path) -> Iterator[Disk]:
    """The disk that the data folder lies on."""
    with disk(data, 40) as one:
        yield one


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "mill.md"
    path.write_text(TEXT)
    return path


def test_a_read_only_folder(medium: Disk, document: Path, tmp_path: Path, run: Run) -> None:
    assert run("ingest", document).code == 0
    medium.forbid_writing()
    for words in (*READING, ("export", tmp_path / "mill.zip")):
        ran = run(*words)
        assert ran.code == 0, (words, ran.err)
    other = tmp_path / "more" / "other.md"
    other.parent.mkdir()
    other.write_text("Something else.")
    for words in (
        ("ingest", other),
        ("sync", other.parent),
        ("documents", "delete", "mill.md", "--yes"),
        ("graph", "hide", "Anton Berg"),
        ("import", tmp_path / "mill.zip", "--workspace", "another"),
    ):
        ran = run(*words)
        assert ran.code == 3, words
        assert str(medium.folder) in ran.error
        assert "--data-dir" in ran.error


def test_a_full_disk(medium: Disk, document: Path, tmp_path: Path, run: Run) -> None:
    assert run("ingest", document).code == 0
    medium.fill()
    for words in (*READING, ("export", tmp_path / "mill.zip")):
        ran = run(*words)
        assert ran.code == 0, (words, ran.err)
    other = tmp_path / "more" / "other.md"
    other.parent.mkdir()
    other.write_text("Something else.")
    for words in (
        ("ingest", other),
        ("sync", other.parent),
        ("documents", "delete", "mill.md", "--yes"),
        ("graph", "hide", "Anton Berg"),
        ("import", tmp_path / "mill.zip", "--workspace", "another"),
    ):
        ran = run(*words)
        assert ran.code == 3, (words, ran.err)
        assert "full" in ran.error
        assert "Free some space" in ran.error
    medium.free()
    assert run("documents", "delete", "mill.md", "--yes").code == 0
    assert run("ingest", other).code == 0
    listed = run("documents", "list", "--json").json["documents"]
    assert [one["source"] for one in listed] == ["other.md"]
