"""`rag-engine backup` and `restore`: everything there is goes out and comes in, or says why not."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from command_line import Run

ANSWERED = "Who founded the bakery?"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where backups are kept."""
    return tmp_path / "backups"


def one_in(place: Path) -> Path:
    [backup] = place.glob("rag-engine-*")
    return backup


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.name != ".lock")


def state(run: Run, *where: str | Path) -> list[object]:
    """What a data folder says of itself."""
    found: list[object] = []
    for name in run(*where, "workspaces", "list", "--json").lines:
        here = [*where, "-w", name["workspace"]]
        stats = run(*here, "stats", "--json").json
        del stats["data_dir"]
        listed = run(*here, "documents", "list", "--json").json["documents"]
        found += [name, stats, [(one["id"], one["version"]) for one in listed]]
        found.append(run(*here, "graph", "edits", "--json").out.count("\n"))
    found.append(run(*where, "search", ANSWERED, "--json").json["passages"][0]["text"])
    return found


def test_everything_is_backed_up_and_restored(
    run: Run, filled: Path, place: Path, docs: Path, tmp_path: Path
) -> None:
    assert run("-w", "other", "ingest", docs / "bakery.md").code == 0
    assert run("graph", "merge", "Clara Weiss", "Clara").code == 0
    done = run("backup", place, "--json")
    assert done.code == 0, done.err
    assert done.json["backup"] == str(one_in(place))
    assert done.json["workspaces"] == ["default", "other"]
    assert done.json["documents"] == 4
    assert run("restore", one_in(place), "--check").out.endswith("The backup is whole.\n")
    there = ("--data-dir", tmp_path / "there")
    restored = run(*there, "restore", one_in(place), "--json")
    assert restored.code == 0, restored.err
    assert [(one["workspace"], one["documents"]) for one in restored.lines] == [
        ("default", 3),
        ("other", 1),
    ]
    assert state(run, *there) == state(run)
    assert run(*there, "doctor", "--verify").code == 0


def test_a_backup_can_be_checked_with_what_every_system_has(
    run: Run, filled: Path, place: Path
) -> None:
    assert run("backup", place).code == 0
    backup = one_in(place)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=backup,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    there = run("--data-dir", place / "there", "import", backup / "workspaces/default.zip")
    assert there.code == 0, there.err


def test_settings_are_in_it_without_secrets(
    run: Run, filled: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAG_LLM_API_KEY", "certainly-secret")
    monkeypatch.setenv("NEO4J_PASSWORD", "certainly-secret")
    monkeypatch.setenv("RAG_CONTEXT_TOKENS", "3000")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    assert run("backup", place).code == 0
    text = (one_in(place) / "settings.env").read_text()
    assert 'RAG_CONTEXT_TOKENS="3000"' in text
    assert 'LOG_LEVEL="ERROR"' in text
    assert f'RAG_DATA_DIR="{filled}"' in text
    everything = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert b"certainly-secret" not in everything


def test_nothing_is_replaced_unless_asked_for(
    run: Run, filled: Path, place: Path, docs: Path
) -> None:
    assert run("graph", "merge", "Clara Weiss", "Clara").code == 0
    assert run("backup", place).code == 0
    before = state(run)
    assert run("graph", "hide", "Anton Berg").code == 0
    assert run("documents", "delete", "--yes", docs / "bakery.md").code == 0
    changed = state(run)
    assert changed != before
    done = run("restore", one_in(place))
    assert done.code == 2
    assert "--force" in done.error
    assert state(run) == changed
    assert run("restore", one_in(place), "--force").code == 0
    assert state(run) == before


def test_workspaces_that_are_not_in_it_stay(
    run: Run, filled: Path, place: Path, docs: Path
) -> None:
    assert run("backup", place).code == 0
    assert run("-w", "other", "ingest", docs / "bakery.md").code == 0
    assert run("restore", one_in(place), "--force").code == 0
    listed = run("workspaces", "list", "--json").lines
    assert [(one["workspace"], one["documents"]) for one in listed] == [
        ("default", 3),
        ("other", 1),
    ]


def test_a_place_with_nothing_in_it_is_not_backed_up(run: Run, place: Path) -> None:
    done = run("backup", place)
    assert done.code == 2
    assert "no workspace" in done.error
    assert names(place) == []


def test_of_two_at_once_one_says_so(run: Run, filled: Path, place: Path) -> None:
    place.mkdir()
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("backup", place)
    assert done.code == 3
    assert "Another backup" in done.error
    assert names(place) == []
    assert run("backup", place).code == 0


def test_what_an_interrupted_backup_left_behind_is_no_backup_and_goes(
    run: Run, filled: Path, place: Path
) -> None:
    assert run("backup", place).code == 0
    whole = one_in(place)
    left = place / ".rag-engine-20200101T000000Z.partial"
    shutil.copytree(whole, left)
    assert run("backup", place, "--keep", "5").code == 0
    assert not left.exists()
    assert len(names(place)) == 2


def test_as_many_are_kept_as_asked_for(run: Run, filled: Path, place: Path) -> None:
    assert run("backup", place).code == 0
    whole = one_in(place)
    now = datetime.now(UTC)
    aged = [place / f"rag-engine-{now - timedelta(days=n):%Y%m%dT%H%M%SZ}" for n in (1, 3, 9, 30)]
    for path in aged:
        shutil.copytree(whole, path)
    (place / "mine").mkdir()
    (place / "rag-engine-notes").mkdir()
    done = run("backup", place, "--keep-days", "7", "--json")
    assert done.json["deleted"] == [str(path) for path in reversed(aged[2:])]
    done = run("backup", place, "--keep", "2", "--json")
    newest = Path(done.json["backup"])
    assert len(done.json["deleted"]) == 3
    kept = [name for name in names(place) if name not in ("mine", "rag-engine-notes")]
    assert len(kept) == 2
    assert kept[-1] == newest.name
    for words in (["--keep", "0"], ["--keep-days", "0"], ["--keep", "some"]):
        assert run("backup", place, *words).code == 2
    assert [name for name in names(place) if name not in ("mine", "rag-engine-notes")] == kept


@pytest.mark.parametrize("words", [("--keep", "1"), ("--keep", "2"), ("--keep-days", "1")])
def test_the_new_one_is_kept_although_others_have_a_later_name(
    run: Run, filled: Path, place: Path, words: tuple[str, str]
) -> None:
    """A clock that was wrong gave them theirs."""
    wrong = ["rag-engine-29990101T000000Z", "rag-engine-29990102T000000Z"]
    for name in (*wrong, "rag-engine-20200101T000000Z"):
        (place / name).mkdir(parents=True)
    made = Path(run("backup", place, *words, "--json").json["backup"])
    left = {"1": [], "2": wrong[1:]}[words[1]] if words[0] == "--keep" else wrong
    assert names(place) == [made.name, *left]


def truncate(backup: Path) -> None:
    archive = backup / "workspaces/default.zip"
    os.truncate(archive, archive.stat().st_size // 2)


def flip(backup: Path) -> None:
    archive = backup / "workspaces/default.zip"
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)


def resign(backup: Path) -> None:
    """Damaged before the sums were made, as by a disk that lies."""
    flip(backup)
    files = ["backup.json", "settings.env", "workspaces/default.zip"]
    done = subprocess.run(["sha256sum", *files], cwd=backup, capture_output=True, check=True)
    (backup / "SHA256SUMS").write_bytes(done.stdout)


def lie(backup: Path) -> None:
    inventory: dict[str, Any] = json.loads((backup / "backup.json").read_text())
    inventory["workspaces"][0]["name"] = "../../../evil"
    (backup / "backup.json").write_text(json.dumps(inventory))
    (backup / "workspaces/default.zip").rename(backup / "evil.zip")
    done = subprocess.run(
        ["sha256sum", "backup.json", "evil.zip", "settings.env"],
        cwd=backup,
        capture_output=True,
        check=True,
    )
    (backup / "SHA256SUMS").write_bytes(done.stdout)


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip,
        resign,
        lie,
        lambda backup: (backup / "SHA256SUMS").unlink(),
        lambda backup: (backup / "SHA256SUMS").write_text("nonsense\n"),
        lambda backup: (backup / "backup.json").unlink(),
        lambda backup: (backup / "backup.json").write_text("{}"),
        lambda backup: (backup / "workspaces/default.zip").unlink(),
        lambda backup: (backup / "workspaces/more.zip").write_bytes(b"more"),
    ],
)
def test_a_damaged_backup_is_refused_before_anything_is_written(
    run: Run, filled: Path, place: Path, damage: Callable[[Path], object]
) -> None:
    assert run("backup", place).code == 0
    damage(one_in(place))
    for words in (["restore", "--force"], ["restore", "--check"]):
        done = run("--data-dir", place / "there", *words, one_in(place))
        assert done.code == 2
        assert "not a usable" in done.error
    assert run("--data-dir", place / "there", "workspaces", "list", "--json").out == ""


def test_what_is_no_backup_is_refused(run: Run, place: Path) -> None:
    place.mkdir()
    for path in (place, place / "nowhere"):
        done = run("restore", path)
        assert done.code == 2
        assert "no SHA256SUMS" in done.error


def test_a_backup_of_another_model_is_refused(run: Run, filled: Path, place: Path) -> None:
    assert run("backup", place).code == 0
    inventory = one_in(place) / "backup.json"
    changed = inventory.read_text().replace('"dimensions": 384', '"dimensions": 385')
    inventory.write_text(changed)
    done = run("--data-dir", place / "there", "restore", one_in(place))
    assert done.code == 2


def test_a_folder_that_cannot_be_written_is_named(run: Run, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("backup", tmp_path / "file" / "backups")
    assert done.code == 3
    assert "file" in done.error
