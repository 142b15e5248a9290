"""Bad input: one clear sentence with the remedy, the right exit code, nothing stored is lost."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import write_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from command_line import Ran, Run

SAMPLES = Path(__file__).parents[1] / "samples"
DEMO = Path(__file__).parents[2] / "demo" / "lighthouse"
MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def no_text_recognition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_PARSER_OCR", "false")  # loading its models takes seconds


def docx_bomb() -> bytes:
    """A Word document of some kilobytes whose text unpacks to more than a gigabyte."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(SAMPLES / "headings.docx") as original,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
    ):
        for name in original.namelist():
            if name != "word/document.xml":
                bomb.writestr(name, original.read(name))
        with bomb.open("word/document.xml", "w") as member:
            member.write(b"<w:document><w:body><w:p><w:r><w:t>")
            for _ in range(1100):
                member.write(b"a" * MEGABYTE)
    return target.getvalue()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"%PDF-1.4\n")
        file.truncate(500 * MEGABYTE)


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty": ("empty.txt", lambda path: path.touch(), "has no bytes"),
    "500 MB": ("large.pdf", sparse, "RAG_PARSER_MAX_BYTES"),
    "password": (
        "secret.pdf",
        lambda path: shutil.copy(SAMPLES / "password.pdf", path),
        "password",
    ),
    "zip bomb": ("bomb.docx", lambda path: path.write_bytes(docx_bomb()), "zip bomb"),
    "program": (
        "report.pdf",
        lambda path: path.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(4000)),
        "Convert it to PDF",
    ),
    "damaged": (
        "half.pdf",
        lambda path: path.write_bytes(b"%PDF-1.7\n1 0 obj\n<<"),
        "save it again",
    ),
    "scan": (
        "scan.png",
        lambda path: shutil.copy(DEMO / "keepers-log-1887.png", path),
        "RAG_PARSER_OCR",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_fails_alone_and_says_why(
    run: Run, filled: Path, tmp_path: Path, kind: str
) -> None:
    name, make, says = BROKEN[kind]
    make(tmp_path / name)
    (tmp_path / "whole.txt").write_text("A whole document about the ferry to Aldersey.\n")
    done = run("ingest", tmp_path / name, tmp_path / "whole.txt")
    assert done.code == 1, done.out + done.err
    assert done.err == ""
    (line,) = [line for line in done.out.splitlines() if line.startswith("failed")]
    assert name in line
    assert says in line
    assert line.endswith(".")
    assert "indexed    whole.txt" in done.out
    assert run("stats", "--json").json["documents"] == 4


def test_a_file_that_is_not_there(
    run: Run, filled: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAG_PARSER_OCR")  # with another parser every document is a new one
    done = run("ingest", docs / "none.md", docs / "bakery.md")
    assert done.code == 1
    assert "does not exist" in done.out
    assert "1 failed, 1 unchanged" in done.out


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read any file"
)
def test_a_file_that_may_not_be_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "secret.md").chmod(0)
    done = run("ingest", tmp_path / "secret.md")
    assert done.code == 1
    assert "Check its permissions" in done.out


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        (
            "page.txt",
            b"<!doctype html><html><body><p>It is a page.</p></body></html>",
            "It is a page.",
        ),
        ("word.pdf", (SAMPLES / "headings.docx").read_bytes(), "Section 1.1"),
        ("latin.txt", "Der Bäcker grüßt.".encode("latin-1"), "Der Bäcker grüßt."),
        ("broken.md", b"# Good text\n\nand \xff\xfe\x80 some that is none\n", "and"),
    ],
    ids=["a page named .txt", "Word named .pdf", "no UTF-8", "no encoding at all"],
)
def test_a_file_is_what_its_bytes_are(
    run: Run, tmp_path: Path, name: str, content: bytes, found: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = run("ingest", tmp_path / name)
    assert done.code == 0, done.out
    assert found in run("documents", "show", name, "--text").out


def test_slides_with_a_broken_picture_go_in_without_it(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "slides.pptx"
    with (
        zipfile.ZipFile(SAMPLES / "table.pptx") as original,
        zipfile.ZipFile(target, "w") as broken,
    ):
        for name in original.namelist():
            broken.writestr(name, original.read(name))
        broken.writestr("ppt/media/image1.png", b"\x89PNG\r\n\x1a\n no picture")
    assert run("ingest", target).code == 0


def test_a_database_of_a_later_release(run: Run, filled: Path) -> None:
    with sqlite3.connect(filled / "workspaces" / "0001.sqlite") as connection:
        connection.execute("INSERT INTO migration VALUES (9001, 'future', 0)")
    connection.close()
    for words in (["stats"], ["query", "who?"], ["ingest", filled / "control.sqlite"]):
        done = run(*words)
        assert done.code == 3
        assert "pip install --upgrade" in done.error


def test_a_damaged_database(run: Run, filled: Path) -> None:
    for file in (filled / "workspaces").glob("0001.sqlite*"):
        file.write_bytes(b"this is no database" * 1000)
    done = run("stats")
    assert done.code == 3
    assert "is damaged" in done.error
    assert "backup" in done.error


def test_a_data_folder_that_is_a_file(run: Run, data: Path, docs: Path) -> None:
    data.write_text("a file")
    done = run("ingest", docs)
    assert done.code == 3
    assert "--data-dir" in done.error


def test_another_process_that_writes_for_long(
    run: Run, filled: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag_engine.adapters.sqlite.connection.BUSY_SECONDS", 0.2)
    other = sqlite3.connect(filled / "workspaces" / "0001.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = run("documents", "delete", "bakery.md", "--yes")
    assert done.code == 3
    assert "Another process has been writing" in done.error
    other.execute("ROLLBACK")
    other.close()
    assert run("documents", "delete", "bakery.md", "--yes").code == 0


def test_two_processes_at_a_time_take_in_everything(run: Run, data: Path, tmp_path: Path) -> None:
    folders = [write_documents(tmp_path / name) for name in ("one", "two")]
    words = [sys.executable, "-m", "rag_engine_cli", "--data-dir", str(data), "ingest"]
    both = [subprocess.Popen([*words, str(folder)], stdout=subprocess.PIPE) for folder in folders]
    for process in both:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert run("stats", "--json").json["documents"] == 6


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of six megabytes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def on(disk: Path, run: Run) -> Callable[..., Ran]:
    return lambda *words: run("--data-dir", disk / "data", *words)


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_space(
    run: Run, docs: Path, small_disk: Path
) -> None:
    there = on(small_disk, run)
    assert there("ingest", docs / "bakery.md").code == 0
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - 8192))
    done = there("ingest", docs)
    assert done.code == 3, done.out + done.err
    assert "is full" in done.error
    assert "Free some space" in done.error
    assert "fail  data folder" in there("doctor").out
    filler.unlink()
    assert "Clara Weiss" in there("query", "Who founded the bakery in Mill Lane?").out
    assert there("ingest", docs).code == 0
    assert there("stats", "--json").json["documents"] == 3


def test_a_data_folder_that_may_not_be_written(run: Run, docs: Path, small_disk: Path) -> None:
    there = on(small_disk, run)
    assert there("ingest", docs / "bakery.md").code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = there("ingest", docs)
    assert done.code == 3
    assert "read-only" in done.error
    assert "--data-dir" in done.error
    assert "fail  data folder" in there("doctor").out
