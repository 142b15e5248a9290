"""`backup_neo4j.sh --dump` and `restore_neo4j.sh` where things go wrong; the programs they run are stubs.

That a dump of a real server comes back whole is for tests/faults/test_neo4j_backups.py to see.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from rag_engine.settings import Settings

SCRIPTS = Path(__file__).parents[2] / "scripts"
HASH = "ab" + "0" * 62
HELD = '{"workspace": "default", "documents": 1}'

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("bash", "flock", "tar", "sha256sum")),
    reason="the scripts are for Linux",
)


@dataclass(frozen=True)
class Stage:
    """A place with a blob, and stubs for all that the scripts run."""

    path: Path
    environment: dict[str, str]

    @property
    def place(self) -> Path:
        return self.path / "backups"

    def stub(self, name: str, body: str) -> str:
        file = self.path / "bin" / name
        file.write_text(f"#!/usr/bin/env bash\nset -eu\ncd {self.path}\n{body}\n")
        file.chmod(0o755)
        return str(file)

    def run(self, name: str, *words: str | Path, **more: str) -> tuple[int, str]:
        done = subprocess.run(
            [SCRIPTS / f"{name}_neo4j.sh", *words],
            cwd=self.path,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )
        return done.returncode, done.stdout + done.stderr

    def backups(self) -> list[Path]:
        return sorted(self.place.glob("rag-engine-*"))

    def backup(self, *words: str, **more: str) -> Path:
        code, said = self.run("backup", "--dump", *words, self.place, **more)
        assert code == 0, said
        return Path(said.splitlines()[-1])

    @property
    def done(self) -> list[str]:
        """What the server and neo4j-admin were told."""
        return (self.path / "log").read_text().splitlines()


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for folder in ("bin", "data/blobs/ab"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/blobs/ab" / HASH).write_text("an original")
    stage = Stage(
        tmp_path,
        {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "NEO4J_URI": "bolt://stub",
            "RAG_DATA_DIR": str(tmp_path / "data"),
        },
    )
    stage.environment["ENGINE_COMMAND"] = stage.stub("rag-engine", f"echo '{HELD}'")
    stage.environment["NEO4J_STOP"] = stage.stub("stop", "echo stop >>log")
    stage.environment["NEO4J_START"] = stage.stub("start", "echo start >>log")
    stage.stub(
        "neo4j-admin",
        'echo "$@" >>log; if [ "$2" = dump ]; then echo "all of $3"; else cat >loaded; fi',
    )
    return stage


def test_settings_that_are_not_known_to_be_harmless_are_not_in_a_dump(stage: Stage) -> None:
    names = (
        "RAG_ADMIN_KEY RAG_LLM_API_KEY NEO4J_AUTH NEO4J_PASSWORD NEO4J_START_ARGUMENTS RAG_OTHER"
    )
    secrets = dict.fromkeys(names.split(), "certainly-secret")
    made = stage.backup(RAG_CONTEXT_TOKENS="3000", RAG_LLM_MODEL='a "b" \\c', **secrets)
    text = (made / "settings.env").read_text()
    assert 'RAG_CONTEXT_TOKENS="3000"\n' in text
    assert 'RAG_LLM_MODEL="a \\"b\\" \\\\c"\n' in text
    for path in made.iterdir():
        assert b"certainly-secret" not in path.read_bytes()


def test_the_settings_of_a_dump_are_all_but_the_secret_ones() -> None:
    script = (SCRIPTS / "backup_neo4j.sh").read_text()
    listed = script.split("\nplain=(\n")[1].split("\n)\n")[0].split()
    assert sorted(listed) == sorted(
        str(field.validation_alias or f"RAG_{name.upper()}")
        for name, field in Settings.model_fields.items()
        if field.annotation is not SecretStr
    )


def resummed(backup: Path) -> None:
    """Have the sums fit, as whoever means harm would."""
    names = sorted(path.name for path in backup.iterdir() if path.name != "SHA256SUMS")
    sums = subprocess.run(["sha256sum", *names], cwd=backup, capture_output=True, check=True)
    (backup / "SHA256SUMS").write_bytes(sums.stdout)


def link(tar: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo(f"blobs/ab/{HASH}")
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(entry)


def database(tar: tarfile.TarFile) -> None:
    tar.addfile(tarfile.TarInfo("control.sqlite"))


@pytest.mark.parametrize("harm", [link, database])
@pytest.mark.parametrize("ordinary", [0, 5_000])
def test_originals_that_are_none_are_refused(
    stage: Stage, harm: Callable[[tarfile.TarFile], None], ordinary: int
) -> None:
    """However many good ones come after them."""
    made = stage.backup()
    with tarfile.open(made / "blobs.tar", "w") as tar:
        harm(tar)
        for number in range(ordinary):
            tar.addfile(tarfile.TarInfo(f"blobs/00/{number:064x}"), io.BytesIO())
    resummed(made)
    for words in (["--check"], ["--force"]):
        code, said = stage.run("restore", *words, made)
        assert code == 2, said
        assert "no original" in said


@pytest.mark.parametrize(
    ("given", "lines", "found"),
    [
        ("", (), "neo4j"),
        ("", ("NEO4J_DATABASE=",), "neo4j"),
        ("", ("NEO4J_DATABASE= # the default", "#NEO4J_DATABASE=no"), "neo4j"),
        ("", ("NEO4J_DATABASE=library",), "library"),
        ("", ("NEO4J_URI=bolt://stub", "export NEO4J_DATABASE = 'library'  # ours\r"), "library"),
        ("", ('NEO4J_DATABASE="library"', "NEO4J_DATABASE_OLD=other"), "library"),
        ("given", ("NEO4J_DATABASE=library",), "given"),
    ],
)
def test_the_database_is_the_one_that_rag_engine_reads(
    stage: Stage, given: str, lines: Iterable[str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage.path / ".env").write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.chdir(stage.path)
    monkeypatch.setenv("NEO4J_DATABASE", given)
    assert Settings().neo4j_database == ("" if found == "neo4j" else found)
    made = stage.backup(NEO4J_DATABASE=given)
    assert (made / f"{found}.dump").read_text() == f"all of {found}\n"
    assert f"database dump {found} --to-stdout" in stage.done


def test_a_dump_goes_into_another_database_when_one_is_named(stage: Stage) -> None:
    made = stage.backup()
    (stage.path / ".env").write_text("NEO4J_DATABASE=library\n")
    stage.stub("rag-engine", f"echo \"$NEO4J_DATABASE\" >asked; echo '{HELD}'")
    assert stage.run("restore", "--force", made)[0] == 0
    assert "database load library --from-stdin --overwrite-destination=true" in stage.done
    assert (stage.path / "loaded").read_text() == "all of neo4j\n"
    assert (stage.path / "asked").read_text() == "library\n"


@pytest.mark.parametrize(("ends", "code"), [(1, 0), (2, 3)])
def test_an_upload_while_originals_are_copied_does_no_harm(
    stage: Stage, ends: int, code: int
) -> None:
    """tar ends with 1 then, and with 2 where it could not read or write."""
    stage.stub("tar", f'cd "$OLDPWD"; {shutil.which("tar")} "$@"; exit {ends}')
    assert stage.run("backup", "--dump", stage.place)[0] == code
    assert len(stage.backups()) == (code == 0)


def test_a_server_that_stays_down_does_not_make_a_backup_of_a_failure(stage: Stage) -> None:
    stage.stub("neo4j-admin", "exit 1")
    stage.stub("start", "exit 1")
    code, said = stage.run("backup", "--dump", stage.place)
    assert code == 3
    assert "server is down" in said.splitlines()[-1]
    assert stage.backups() == []


def test_a_backup_of_a_server_that_stays_down_is_told_from_others(stage: Stage) -> None:
    stage.stub("start", "exit 1")
    code, said = stage.run("backup", "--dump", stage.place)
    assert code == 4
    assert "server is down" in said
    assert len(stage.backups()) == 1


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_whoever_interrupts_the_start_does_not_leave_the_server_down(
    stage: Stage, name: str
) -> None:
    words: list[str | Path] = ["--dump", stage.place]
    if name == "restore":
        words = ["--force", stage.backup()]
    stage.stub(
        "start", "if [ ! -e once ]; then touch once; kill -INT 0; sleep 9; fi; echo running >>log"
    )
    code, said = stage.run(name, *words)
    assert code == 130, said
    assert stage.done[-1] == "running"


@pytest.mark.parametrize("words", [("--keep", "1"), ("--keep", "2"), ("--keep-days", "1")])
def test_a_new_backup_is_not_the_old_one_that_goes(stage: Stage, words: tuple[str, str]) -> None:
    """Not even where a wrong clock gave others a later name."""
    stage.place.mkdir()
    wrong = ["rag-engine-29990101T000000Z", "rag-engine-29990102T000000Z"]
    for name in (*wrong, "rag-engine-20200101T000000Z"):
        (stage.place / name).mkdir()
    made = stage.backup(*words)
    left = {"1": [], "2": wrong[1:]}[words[1]] if words[0] == "--keep" else wrong
    assert [path.name for path in stage.backups()] == [made.name, *left]
