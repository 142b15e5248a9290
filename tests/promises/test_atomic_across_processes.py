"""Promise 3, Atomic, across processes: two write the same data folder while a third asks.

Every sentence says which document and which text of it it is from, and all processes put what they
did and saw on one time line.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from neighbours import Deed, text_of
from survival import Twins, look

from rag_engine.testing.observation import Observed, differences

SECONDS = 8.0
pytestmark = pytest.mark.timeout(180)


class Process:
    """One of the neighbours."""

    def __init__(self, role: str, folder: Path, seed: int) -> None:
        self._log = folder / f"{role}-{seed}.log"
        words = [role, folder / "data", SECONDS, seed, self._log]
        self._child = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("neighbours.py"), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Wait until its time is over."""
        assert self._child.stdout
        if self._child.stdout.readline() != "done\n":
            raise AssertionError(self._child.communicate()[1])

    def end(self) -> None:
        """Let it look once more, and wait for its end."""
        _, complaint = self._child.communicate("\n", timeout=60)
        assert self._child.returncode == 0, complaint

    def kill(self) -> None:
        """End it, whatever it does."""
        self._child.kill()
        self._child.communicate()

    @property
    def deeds(self) -> list[Deed]:
        """What it did."""
        return [Deed(**json.loads(line)) for line in self._log.read_text().splitlines()]

    @property
    def seen(self) -> Observed:
        """What it saw at the end."""
        found: Observed = pickle.loads(self._log.with_suffix(".seen").read_bytes())  # noqa: S301
        return found


def test_two_processes_write_while_a_third_asks(tmp_path: Path) -> None:
    processes = [
        Process("write", tmp_path, 1),
        Process("write", tmp_path, 2),
        Process("ask", tmp_path, 3),
    ]
    try:
        for one in processes:
            one.wait()
        for one in processes:
            one.end()
    except BaseException:
        for one in processes:
            one.kill()
        raise
    *writers, asker = processes
    for writer in writers:
        check(writer.deeds, asker.deeds)
    _check_ends(processes, tmp_path / "data")


def check(written: list[Deed], asked: list[Deed]) -> None:
    """Each document that was seen is one that there can have been at that time."""
    ids = {id for deed in written for id in deed.documents}
    certain = 0
    for id in ids:
        history = [deed for deed in written if id in deed.documents]
        for question in asked:
            possible = numbers(id, history, question.began, question.ended)
            assert question.documents.get(id, 0) in possible, (id, question)
            certain += len(possible) == 1
    assert certain > len(asked)  # most of the time nobody writes that document
    assert {deed.what for deed in written} == {"write", "delete"}
    assert len({tuple(sorted(one.documents.items())) for one in asked}) > 3


def numbers(id: str, history: list[Deed], began: float, ended: float) -> set[int]:
    """Numbers of the texts that a look between two moments may have seen; 0 for none."""
    settled = [deed for deed in history if deed.ended < began]
    meanwhile = [deed for deed in history if deed.ended >= began and deed.began <= ended]
    found = {settled[-1].documents[id] if settled else 0}
    for deed in meanwhile:
        number = deed.documents[id]
        # Of two texts submitted together another process may have ingested the first as well.
        found |= {number, number - 1} if deed.what == "write" else {0}
    return found


def _check_ends(processes: list[Process], data: Path) -> None:
    """All saw the same in the end, as does who never saw anything else, here or elsewhere."""
    written = [deed for one in processes[:-1] for deed in one.deeds if deed.what == "write"]
    texts = [
        text_of(id, number)
        for deed in written
        for id, last in deed.documents.items()
        for number in (last - 1, last)
    ]
    fresh = look(data)
    twin = asyncio.run(Twins(texts).of(fresh.shown, fresh.edits))
    assert differences(twin, fresh.observed, tolerance=1e-6) == []
    for one in processes:
        assert differences(fresh.observed, one.seen, tolerance=1e-6) == []
