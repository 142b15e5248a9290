"""`rag-engine sync`: a workspace in step with a folder."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from command_line import DOCUMENTS, write_documents
from rag_engine_cli.intake import Intake

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run
    from rag_engine_cli.plan import Plan


@pytest.fixture
def folder(tmp_path: Path, run: Run) -> Path:
    """A folder that is in step."""
    folder = write_documents(tmp_path / "folder")
    assert run("sync", folder).code == 0
    return folder


def sources(run: Run) -> list[str]:
    return [one["source"] for one in run("documents", "list", "--json").json["documents"]]


def test_adds_replaces_and_deletes(run: Run, folder: Path) -> None:
    assert sources(run) == ["bakery.md", "mill.html", "station/timetable.csv"]
    (folder / "bakery.md").write_text("Clara Weiss sold her bakery.\n")
    (folder / "mill.html").unlink()
    (folder / "new.txt").write_text("A new document about the ferry.\n")
    done = run("sync", folder)
    assert done.code == 0
    assert "2 indexed, 1 deleted, 1 unchanged." in done.out
    assert sources(run) == ["bakery.md", "new.txt", "station/timetable.csv"]
    assert "sold her bakery" in run("query", "Who sold her bakery?").out


def test_a_dry_run_says_what_would_happen_and_does_nothing(run: Run, folder: Path) -> None:
    (folder / "bakery.md").write_text("Clara Weiss sold her bakery.\n")
    (folder / "mill.html").unlink()
    (folder / "new.txt").write_text("A new document.\n")
    done = run("sync", folder, "--dry-run")
    assert done.code == 0
    for line in ("would replace     bakery.md", "would add         new.txt", "would delete"):
        assert line in done.out
    assert {one["change"] for one in run("sync", folder, "--dry-run", "--json").json["would"]} == {
        "changed",
        "new",
        "deleted",
    }
    assert sources(run) == ["bakery.md", "mill.html", "station/timetable.csv"]


def test_a_dry_run_on_an_empty_place_makes_no_workspace(run: Run, tmp_path: Path) -> None:
    folder = write_documents(tmp_path / "folder")
    assert "3 changes" in run("sync", folder, "--dry-run").out
    assert run("workspaces", "list", "--json").out == ""


def test_deleting_can_be_left_out(run: Run, folder: Path) -> None:
    (folder / "mill.html").unlink()
    assert run("sync", folder, "--no-delete").code == 0
    assert "mill.html" in sources(run)


def test_only_documents_of_the_folder_are_touched(run: Run, folder: Path, tmp_path: Path) -> None:
    other = write_documents(tmp_path / "other")
    run("ingest", other / "bakery.md")
    (other / "bakery.md").unlink()
    assert run("sync", folder).out.startswith("3 unchanged")
    assert len(sources(run)) == 4


def test_a_folder_within_stays_with_the_sync_it_came_from(run: Run, folder: Path) -> None:
    done = run("sync", folder / "station")
    assert f"1 kept in step by: rag-engine sync {folder}" in done.out
    assert run("sync", folder).out.startswith("3 unchanged")


def test_what_was_ingested_before_comes_under_the_sync_and_keeps_its_metadata(
    run: Run, tmp_path: Path
) -> None:
    folder = write_documents(tmp_path / "folder")
    run("ingest", folder / "bakery.md", "-m", "year=1921")
    run("sync", folder)
    (found,) = run("documents", "list", "-f", "year=1921", "--json").json["documents"]
    assert found["root"] == str(folder)
    # And an ingest does not take it away again.
    assert run("ingest", folder).out.startswith("3 unchanged")


@pytest.mark.parametrize("missing", [True, False])
def test_an_unmounted_disk_deletes_nothing(run: Run, folder: Path, missing: bool) -> None:
    shutil.rmtree(folder)
    if not missing:
        folder.mkdir()
    done = run("sync", folder)
    assert done.code == 2
    assert "--yes" in done.error
    assert "3 documents" in done.error
    assert len(sources(run)) == 3
    assert "3 deleted" in run("sync", folder, "--yes").out
    assert sources(run) == []


def test_a_folder_that_was_never_there_is_a_slip_of_the_pen(run: Run, tmp_path: Path) -> None:
    done = run("sync", tmp_path / "dcos")
    assert done.code == 2
    assert "does not exist" in done.error
    (tmp_path / "file").touch()
    assert "rag-engine ingest" in run("sync", tmp_path / "file").error
    (tmp_path / "dir").mkdir()
    assert run("sync", tmp_path / "dir").out.startswith("Nothing to do.")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder"
)
def test_what_cannot_be_looked_at_is_not_gone(run: Run, folder: Path) -> None:
    (folder / "station").chmod(0)
    try:
        assert run("sync", folder).code == 1
    finally:
        (folder / "station").chmod(0o700)
    assert "station/timetable.csv" in sources(run)


def test_what_failed_is_not_tried_again_unless_asked(run: Run, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and nothing of use")
    assert run("sync", folder).code == 1
    done = run("sync", folder)
    assert done.code == 0
    assert "1 failed before and unchanged" in done.out
    assert run("sync", folder, "--retry").code == 1
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and still nothing of use")
    assert run("sync", folder).code == 1


def test_a_replacement_that_cannot_be_read_leaves_the_old_version(run: Run, folder: Path) -> None:
    (folder / "bakery.md").write_bytes(b"%PDF-1.4 broken")
    assert run("sync", folder).code == 1
    assert "Clara Weiss" in run("query", "Who founded the bakery in Mill Lane?").out
    shown = run("documents", "show", "bakery.md").out
    assert "failed (version 2)" in shown
    assert "version 1, until the newer one is indexed" in shown


@pytest.mark.parametrize("inside", ["", "state"])
def test_its_own_data_folder_is_no_document(
    run: Run, tmp_path: Path, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_documents(tmp_path / "folder")
    linked = tmp_path / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    data = folder / inside
    for words in (["sync", linked], ["sync", linked], ["ingest", folder]):
        done = run("--data-dir", data, *words)
        assert done.code == 0, done.err
    done = run("--data-dir", data, "documents", "list", "--json").json["documents"]
    assert {one["source"] for one in done} == set(DOCUMENTS)
    monkeypatch.chdir(folder)
    pattern = run("--data-dir", data, "ingest", "**/*", "--json")
    assert pattern.lines[-1]["summary"]["failed"] == 0, pattern.out
    assert pattern.lines[-1]["summary"]["indexed"] == 0, pattern.out


def test_what_came_back_in_the_meantime_is_not_deleted(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill = (folder / "mill.html").read_text()
    (folder / "mill.html").unlink()
    (folder / "bakery.md").unlink()
    bring_in = Intake.run

    async def slow(self: Intake, plan: Plan) -> None:
        await bring_in(self, plan)
        await asyncio.to_thread((folder / "mill.html").write_text, mill)

    monkeypatch.setattr(Intake, "run", slow)
    assert "1 deleted" in run("sync", folder).out
    assert sources(run) == ["mill.html", "station/timetable.csv"]
