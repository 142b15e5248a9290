"""`rag-engine documents`, `stats`, `workspaces`, `export` and `import`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

pytestmark = pytest.mark.usefixtures("filled")


def test_lists_documents_a_page_at_a_time(run: Run, docs: Path) -> None:
    first = run("documents", "list", "--limit", "2", "--json").json
    assert [one["source"] for one in first["documents"]] == ["bakery.md", "mill.html"]
    rest = run("documents", "list", "--after", first["next"], "--json").json
    assert [one["id"] for one in rest["documents"]] == [str(docs / "station" / "timetable.csv")]
    assert rest["next"] is None
    printed = run("documents", "list", "--limit", "2").out
    assert "bakery.md  markdown" in printed
    assert "There are more" in printed


def test_sorts_documents(run: Run) -> None:
    def listed(*options: str) -> list[str]:
        names, after = list[str](), list[str]()
        while True:
            page = run("documents", "list", "--limit", "2", "--json", *options, *after).json
            names += [one["source"].rpartition("/")[2] for one in page["documents"]]
            if page["next"] is None:
                return names
            after = ["--after", page["next"]]

    by_id = listed()
    assert listed("--order", "desc") == by_id[::-1]
    sizes = run("documents", "list", "--sort", "size", "--json").json["documents"]
    assert [one["size"] for one in sizes] == sorted(one["size"] for one in sizes)
    assert listed("--sort", "updated", "--order", "desc") == listed("--sort", "updated")[::-1]
    first = run("documents", "list", "--limit", "1", "--sort", "title", "--json").json
    other = run("documents", "list", "--sort", "size", "--after", first["next"])
    assert other.code == 2
    assert "another order" in other.error
    assert run("documents", "list", "--sort", "colour").code == 2
    assert run("documents", "list", "--status", "failed", "--sort", "size").code == 2


def test_lists_what_failed_and_why(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4")
    assert run("ingest", broken).code == 1
    assert "1 document failed:\n  'broken.pdf'" in run("documents", "list").out
    (failed,) = run("documents", "list", "--status", "failed", "--json").json["versions"]
    assert failed["status"] == "failed"
    assert "broken.pdf" in failed["error"]
    assert "broken.pdf" in run("documents", "list", "--status", "failed").out
    assert "No document is running." in run("documents", "list", "--status", "running").out
    done = run("documents", "show", "broken.pdf", "--text")
    assert done.code == 2
    assert "has no text: it is failed" in done.error


def test_shows_a_document_by_id_path_or_source(run: Run, docs: Path) -> None:
    for name in (docs / "bakery.md", "bakery.md"):
        shown = run("documents", "show", name)
        assert "indexed (version 1)" in shown.out
        assert "year = 1921" in shown.out
    assert "handcart" in run("documents", "show", "bakery.md", "--text").out
    assert "timetable" in run("documents", "show", "timetable.csv").out


def test_a_name_that_means_two_documents_is_not_guessed(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "bakery.md"
    other.write_text("Another bakery, in another town.")
    run("ingest", other)
    done = run("documents", "show", "bakery.md")
    assert done.code == 2
    assert "is 2 documents" in done.error
    assert str(other) in done.error


def test_deletes_what_is_named_and_nothing_else(run: Run, docs: Path) -> None:
    done = run("documents", "delete", "bakery.md", docs / "mill.html", "--yes")
    assert done.out == "2 documents deleted.\n"
    assert run("stats", "--json").json["documents"] == 1
    assert run("graph", "show", "Clara Weiss").code == 2
    assert (docs / "bakery.md").exists()


def test_nothing_is_deleted_without_a_yes(run: Run) -> None:
    done = run("documents", "delete", "bakery.md")  # nobody sits at this terminal
    assert done.code == 2
    assert "--yes" in done.error
    assert run("documents", "delete", "baker.md", "--yes").code == 2
    assert run("stats", "--json").json["documents"] == 3


def test_counts_and_fields(run: Run) -> None:
    found = run("stats", "--json").json
    assert found["documents"] == 3
    assert found["fields"] == {"year": 1, "tags": 1}
    assert "tags (1), year (1)" in run("stats").out


def test_workspaces_are_apart(run: Run, docs: Path) -> None:
    run("ingest", docs / "mill.html", "--workspace", "mills")
    found = run("workspaces", "list", "--json").lines
    assert found == [
        {"workspace": "default", "documents": 3},
        {"workspace": "mills", "documents": 1},
    ]
    assert "mills" in run("workspaces", "list").out
    assert run("graph", "show", "Clara Weiss", "-w", "mills").code == 2


def test_a_workspace_moves_in_one_file(run: Run, tmp_path: Path) -> None:
    archive = tmp_path / "all.zip"
    assert "3 documents exported" in run("export", archive).out
    done = run("export", archive)
    assert done.code == 2
    assert "--force" in done.error
    assert run("export", archive, "--force", "--json").json["documents"] == 3
    there = ["--data-dir", tmp_path / "there", "-w", "copy"]
    assert "3 documents imported" in run(*there, "import", archive).out
    assert "0 documents imported" in run(*there, "import", archive).out
    asked = ("query", "Who founded the bakery in Mill Lane?", "--json")
    assert run(*there, *asked).json["answer"] == run(*asked).json["answer"]


def test_an_archive_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 not really")
    assert run("import", tmp_path / "x.zip").code == 2
    assert run("import", tmp_path / "none.zip").code == 2
    assert run("export", tmp_path / "no" / "folder.zip").code == 3


def test_a_name_that_is_no_unicode_is_not_found(run: Run, filled: Path) -> None:
    done = run("documents", "show", "\udcff")
    assert done.code == 2
    assert "There is no document" in done.error


def test_json_is_unicode_whatever_a_file_is_called(run: Run, filled: Path, tmp_path: Path) -> None:
    done = run("ingest", f"{tmp_path}/\udcff.txt", "--json")
    assert done.code == 1
    assert done.lines[0]["id"] == f"{tmp_path}/\udcff.txt"
    assert "\\udcff" in done.out


def test_originals_and_texts_come_back_byte_for_byte(run: Run, docs: Path, tmp_path: Path) -> None:
    for name in ("bakery.md", "mill.html", "station/timetable.csv"):
        out = tmp_path / "out"
        done = run("documents", "original", docs / name, "-o", out, "--json").json
        assert done["size"] == len((docs / name).read_bytes())
        assert out.read_bytes() == (docs / name).read_bytes()
    assert run("documents", "original", "mill.html").out == (docs / "mill.html").read_text()
    text = run("documents", "text", "mill.html").out
    assert "Anton Berg bought the mill" in text
    assert text + "\n" == run("documents", "show", "mill.html", "--text").out
    refused = run("documents", "original", "mill.html", "--json")
    assert (refused.code, "-o FILE" in refused.err) == (2, True)


def test_collecting_deletes_what_no_document_uses(run: Run, data: Path) -> None:
    run("documents", "delete", "mill.html", "--yes")
    assert run("doctor", "--collect", "--json").json == {"collected": 0}
    for blob in (data / "blobs").glob("*/*"):
        os.utime(blob, (0, 0))
    assert run("doctor", "--collect").out == "2 unused blobs deleted.\n"
    assert run("documents", "original", "bakery.md").code == 0
