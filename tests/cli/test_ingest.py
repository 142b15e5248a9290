"""`rag-engine ingest`."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from command_line import DOCUMENTS, write_documents
from rag_engine.settings import load
from rag_engine.wiring import build

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run
    from rag_engine.engine import Engine


def test_a_folder_goes_in_and_changes_nothing_the_second_time(run: Run, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    first = run("ingest", docs)
    assert first.code == 0, first.err
    for name in DOCUMENTS:
        assert f"indexed    {name}: 1 passage" in first.out
    assert "3 indexed." in first.out
    again = run("ingest", docs)
    assert again.code == 0
    assert again.out.startswith("3 unchanged.")


def test_what_changed_is_replaced_and_keeps_what_was_said_of_it(run: Run, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    run("ingest", docs / "bakery.md", "-m", "year=1921", "--title", "Bread")
    (docs / "bakery.md").write_text("Clara Weiss retired in 1950.\n")
    assert "indexed    bakery.md" in run("ingest", docs).out
    shown = run("documents", "show", "bakery.md", "--json").json
    assert shown["document"]["version"] == 2
    assert shown["document"]["metadata"] == {"year": 1921}
    assert shown["document"]["title"] == "Bread"
    assert "1950" in run("documents", "show", "bakery.md", "--text").out


def test_metadata_makes_a_new_version(run: Run, filled: Path, docs: Path) -> None:
    assert "1 indexed" in run("ingest", docs / "bakery.md", "-m", "year=1922").out
    assert "1 unchanged" in run("ingest", docs / "bakery.md", "-m", "year=1922").out
    found = run("documents", "list", "-f", "year=1922", "--json").json["documents"]
    assert [one["source"] for one in found] == ["bakery.md"]


def test_patterns_are_understood_without_a_shell(run: Run, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    done = run("ingest", f"{docs}/*.md", f"{docs}/**/*.csv", "--json")
    assert done.code == 0
    assert {one["source"] for one in done.lines[:-1]} == {"bakery.md", "timetable.csv"}


def test_json_is_a_line_for_each_document_and_a_summary(run: Run, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    done = run("ingest", docs, docs / "none.txt", "--json")
    assert done.code == 1
    *documents, last = done.lines
    assert {one["status"] for one in documents} == {"indexed", "refused"}
    summary = last["summary"]
    assert (summary["indexed"], summary["failed"]) == (3, 1)


def test_an_id_and_a_title_are_for_one_document(run: Run, filled: Path, docs: Path) -> None:
    assert run("ingest", docs, "--id", "x").code == 2
    done = run("ingest", docs / "mill.html", "--id", "mill", "--title", "A mill", "--json")
    assert done.lines[0]["id"] == "mill"
    assert run("documents", "show", "mill", "--json").json["document"]["title"] == "A mill"


def test_folders_are_searched_as_a_person_means_it(run: Run, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    (docs / ".git").mkdir()
    (docs / ".git" / "config").write_text("secret")
    (docs / ".hidden.md").write_text("secret")
    (docs / "node_modules").mkdir()
    (docs / "node_modules" / "a.md").write_text("secret")
    (docs / "program").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(2000))
    (docs / "empty.txt").touch()
    (docs / "round").symlink_to(docs, target_is_directory=True)
    (docs / "gone.md").symlink_to(docs / "nowhere.md")
    os.mkfifo(docs / "pipe")
    done = run("ingest", docs, "--json")
    assert done.lines[-1]["summary"]["indexed"] == 3
    assert done.lines[-1]["summary"]["skipped"] == {
        "hidden": 2,
        "made by a program": 1,
        "of no type that is read": 1,
        "empty": 1,
        "not a regular file": 1,
    }
    assert [one["id"] for one in done.lines if one.get("status") == "refused"] == [
        str(docs / "gone.md")
    ]
    assert done.code == 1


def test_a_linked_folder_outside_is_searched_once(run: Run, tmp_path: Path) -> None:
    outside = write_documents(tmp_path / "outside")
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("one", "two"):
        (docs / name).symlink_to(outside, target_is_directory=True)
    done = run("ingest", docs, "--json")
    assert {one["source"] for one in done.lines[:-1]} == {f"one/{name}" for name in DOCUMENTS}


def test_without_a_path_something_has_to_be_waiting(run: Run, filled: Path) -> None:
    done = run("ingest")
    assert done.code == 2
    assert "Name files or folders" in done.error


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-m", "year"], "key=value"),
        (["-m", "=3"], "key=value"),
        (["--metadata-json", "{"], "is not JSON"),
        (["--metadata-json", "[1]"], "an object"),
        (["--metadata-json", '{"a": {"b": 1}}'], "cannot be the metadata 'a'"),
    ],
)
def test_metadata_that_cannot_be_meant_is_refused(
    run: Run, docs: Path, words: list[str], says: str
) -> None:
    done = run("ingest", docs / "bakery.md", *words)
    assert done.code == 2
    assert says in done.error


def test_metadata_that_cannot_be_stored_fails_the_document(run: Run, docs: Path) -> None:
    done = run("ingest", docs / "bakery.md", "-m", "$id=3")
    assert done.code == 1
    assert "does not begin with '$'" in done.out


def test_a_mistake_makes_no_workspace(run: Run, tmp_path: Path) -> None:
    assert run("ingest", tmp_path / "none.pdf").code == 1
    assert run("workspaces", "list", "--json").out == ""


def test_a_pattern_that_matches_nothing_is_a_mistake(run: Run, tmp_path: Path) -> None:
    done = run("ingest", f"{tmp_path}/*.pdf")
    assert done.code == 2
    assert "No file matches" in done.error


async def begun(data: Path, file: Path, seconds: float) -> Engine:
    """An engine that has claimed a document and does not work on it."""
    engine = await asyncio.to_thread(lambda: build(load(data_dir=data)))
    version = await engine.submit(file, document_id=str(file), source=file.name)
    queue = (await engine.workspace()).queue
    assert await queue.claim("slow", seconds, document_id=version.document_id)
    return engine


def test_what_another_process_works_on_is_waited_for(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    (tmp_path / "left.txt").write_text("The ferry was left on the other bank.\n")
    with asyncio.Runner() as runner:
        other = runner.run(begun(filled, tmp_path / "left.txt", 4.0))
        done = run("ingest")  # until the other's lease runs out, which nobody extends
        runner.run(other.aclose())
    assert done.code == 0
    assert "Waiting for 1 document that another process works on" in done.out
    assert "indexed    left.txt" in done.out


def test_what_a_process_that_is_gone_worked_on_is_done_at_once(
    run: Run, filled: Path, tmp_path: Path
) -> None:
    (tmp_path / "left.txt").write_text("The ferry was left on the other bank.\n")
    with asyncio.Runner() as runner:
        runner.run(runner.run(begun(filled, tmp_path / "left.txt", 600.0)).aclose())
    assert run("documents", "list", "--json").json["waiting"] == 1
    asked = run("query", "Who founded the bakery?", "--json").json
    assert "1 document in the queue cannot be found yet" in asked["warnings"][0]
    done = run("ingest")
    assert done.code == 0
    assert done.out.startswith("indexed    left.txt")
    assert run("query", "Who founded the bakery?", "--json").json["warnings"] == []
