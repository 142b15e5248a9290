"""The drill: backups of a Neo4j under load, restored elsewhere, compared; a dump, too.

The server is one of its own, for it is stopped, emptied and started again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import neo4j_server
from engines import put
from rag_engine import Question, build, load_settings
from rag_engine.core.edits import Alias
from rag_engine.testing.observation import differences, observed

SCRIPTS = Path(__file__).parents[2] / "scripts"
ENGINE = f"{sys.executable} -m rag_engine_cli"
STABLE = {f"s{n}": f"# Stable\n\nAda Brand keeps the lamp number {n} of Farne." for n in range(4)}
QUESTION = Question(text="Who keeps the lamp number 2?")


@dataclass(frozen=True, kw_only=True)
class Bare:
    """A server in a folder, and how to run it."""

    version: str
    home: Path
    bolt: int
    http: int

    @property
    def command(self) -> str:
        options = f"--bolt-port {self.bolt} --http-port {self.http} --heap 512m --pagecache 128m"
        return (
            f"{neo4j_server.SCRIPT} start {self.version} --home {self.home} {options} --no-apoc "
            f"--password {neo4j_server.PASSWORD}"
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NEO4J_URI": f"bolt://127.0.0.1:{self.bolt}",
            "NEO4J_PASSWORD": neo4j_server.PASSWORD,
            "NEO4J_ADMIN": f"{neo4j_server.SCRIPT} admin {self.version} --home {self.home}",
            "NEO4J_STOP": f"{neo4j_server.SCRIPT} stop --home {self.home}",
            "NEO4J_START": self.command,
            "ENGINE_COMMAND": ENGINE,
        }

    def run(self, what: str) -> None:
        subprocess.run(["bash", "-c", what], check=True, capture_output=True, timeout=600)

    def empty(self) -> None:
        """Make it another server: nothing of what it held is left."""
        self.run(self.environment["NEO4J_STOP"])
        shutil.rmtree(self.home / "data")
        self.run(self.command)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    version = neo4j_server._GIVEN.get("RAG_TEST_NEO4J", "")
    if not version or any(shutil.which(tool) is None for tool in ("java", "mvn", "flock")):
        pytest.skip("No store 'neo4j' to be stopped: set RAG_TEST_NEO4J, install Java 17 and Maven")
    bare = Bare(
        version=version,
        home=tmp_path / "neo4j",
        bolt=neo4j_server.free_port(),
        http=neo4j_server.free_port(),
    )
    for name, value in bare.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAG_DATA_DIR", str(tmp_path / "data"))
    try:
        bare.run(bare.command)
        yield bare
    finally:
        subprocess.run([neo4j_server.SCRIPT, "kill", "--home", bare.home], check=False)


async def script(name: str, *words: str | Path) -> tuple[int, str]:
    """Run a script; its exit code and what it printed."""
    done = await asyncio.to_thread(
        subprocess.run,
        [SCRIPTS / f"{name}_neo4j.sh", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(name, *words, done.returncode, done.stdout, done.stderr)
    return done.returncode, done.stdout + done.stderr


def whole(place: Path) -> list[Path]:
    return sorted(place.glob("rag-engine-*"))


@asynccontextmanager
async def opened() -> AsyncIterator[Any]:
    engine = await asyncio.to_thread(lambda: build(load_settings()))
    try:
        yield engine
    finally:
        await engine.aclose()


async def state() -> dict[str, object]:
    async with opened() as engine:
        found: dict[str, object] = dict(await observed(await engine.workspace()))
        found["answer"] = (await engine.query(QUESTION)).text
        for document in (await engine.documents()).documents:
            found[f"original of {document.id}"] = await engine.original(document)
        return found


@asynccontextmanager
async def written(engine: Any) -> AsyncIterator[dict[str, int]]:
    """Documents written, replaced and deleted for the time of the context."""
    acknowledged: dict[str, int] = {}
    busy = asyncio.Event()

    async def write() -> None:
        for number in range(10_000):
            id = f"d{number % 5}"
            await put(engine, id, f"# {id}\n\nEntry {number}: a seal was seen at Skerry{number}.")
            acknowledged[id] = number
            if number % 7 == 6:
                acknowledged.pop(f"d{(number + 2) % 5}", None)
                await engine.delete([f"d{(number + 2) % 5}"])
            if number == 4:
                busy.set()

    task = asyncio.create_task(write())
    try:
        await asyncio.wait_for(busy.wait(), 300)
        yield acknowledged
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def killed(place: Path) -> None:
    """Begin a backup, and kill all of it when it has written something."""
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "backup_neo4j.sh", place, start_new_session=True
    )
    while not any(place.glob(".rag-engine-*.partial/workspaces/*")):
        assert process.returncode is None
        await asyncio.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@pytest.mark.timeout(1500)
@pytest.mark.slow
async def test_the_drill(bare: Bare, tmp_path: Path) -> None:
    place, dumps = tmp_path / "backups", tmp_path / "dumps"
    async with opened() as engine:
        for id, text in STABLE.items():
            await put(engine, id, text)
        await engine.edit(Alias(source="Ada Brand", target="Ada"))
        async with written(engine) as acknowledged:
            before = dict(acknowledged)
            both = await asyncio.gather(script("backup", place), script("backup", place))
            assert sorted(code for code, _ in both) == [0, 3]
            assert any("Another backup" in said for _, said in both)
            after = dict(acknowledged)
        [loaded] = whole(place)
        await killed(place)
        assert whole(place) == [loaded]
        await engine.submit(b"Seals lie on Farne.", document_id="seals", source="seals.md")
    before_all = await state()
    assert (await script("backup", "--keep", "2", place))[0] == 0
    [_, quiet] = whole(place)
    assert not list(place.glob(".rag-engine-*"))

    # Elsewhere: another server, another data folder.
    await asyncio.to_thread(bare.empty)
    shutil.move(tmp_path / "data", tmp_path / "before")
    assert (await script("restore", loaded))[0] == 0
    async with opened() as engine:
        found = {one.id: one for one in (await engine.documents()).documents}
        assert found.keys() >= STABLE.keys()
        for id, number in before.items():
            assert id in found or after.get(id) != number
        for id, document in found.items():
            text = (await engine.parsed(document)).text
            assert text.strip() == STABLE[id] if id in STABLE else text.startswith(f"# {id}\n")
    code, said = await script("restore", quiet)
    assert (code, "--force" in said) == (2, True)
    assert (await script("restore", "--force", quiet))[0] == 0
    assert differences(await state(), before_all, tolerance=1e-6) == []

    await dump_and_load(bare, dumps, tmp_path / "data", before_all)


async def dump_and_load(bare: Bare, dumps: Path, data: Path, before: dict[str, object]) -> None:
    assert (await script("backup", "--dump", "--keep", "3", dumps))[0] == 0
    [dump] = whole(dumps)
    assert (await script("restore", "--check", dump))[0] == 0
    async with opened() as engine:  # the server runs again
        await engine.delete(["s2"])
        assert (await engine.stats()).documents < len(before["documents"])  # type: ignore[arg-type]
    shutil.rmtree(data / "blobs")
    for damage in ("neo4j.dump", "blobs.tar", "backup.json"):
        damaged = dumps / "damaged"
        shutil.copytree(dump, damaged)
        content = bytearray((damaged / damage).read_bytes())
        content[len(content) // 2] ^= 1
        (damaged / damage).write_bytes(content)
        assert (await script("restore", "--force", damaged))[0] == 2
        shutil.rmtree(damaged)
    code, said = await script("restore", dump)
    assert (code, "--force" in said) == (2, True)
    assert (await script("restore", "--force", dump))[0] == 0
    assert differences(await state(), before, tolerance=1e-6) == []
    await unwanted(bare, dumps, data)


async def unwanted(bare: Bare, dumps: Path, data: Path) -> None:
    """What goes wrong leaves the older backup, and a server that runs."""
    del bare
    [dump] = whole(dumps)
    env = os.environ
    for name, value in (("NEO4J_ADMIN", "false"), ("RAG_DATA_DIR", str(data / "nowhere"))):
        kept, env[name] = env[name], value
        assert (await script("backup", "--dump", "--keep", "1", dumps))[0] == 3
        env[name] = kept
        assert whole(dumps) == [dump]
        assert not list(dumps.glob(".rag-engine-*"))
    async with opened() as engine:
        assert (await engine.stats()).documents


@pytest.mark.parametrize("name", ["backup", "restore"])
@pytest.mark.parametrize("words", [[], ["--unknown"], ["a", "b"], ["--keep"], ["--keep", "x", "a"]])
async def test_wrong_words_end_with_2(name: str, words: list[str]) -> None:
    code, said = await script(name, *words)
    assert code == 2
    assert "Usage:" in said


async def test_without_an_address_nothing_is_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the embedded store: that is not what was meant."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAG_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ENGINE_COMMAND", ENGINE)
    for words in (["backup", tmp_path / "b"], ["backup", "--dump", tmp_path / "b"]):
        code, said = await script(*words)  # type: ignore[arg-type]
        assert (code, "NEO4J_URI is not set" in said) == (2, True)
    assert not (tmp_path / "b").exists()
