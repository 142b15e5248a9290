"""Promise 4, Durable, of the command itself: `rag-engine worker` with its real models, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from command_line import DOCUMENTS
from rag_engine.ingest.worker import LEASE_SECONDS
from rag_engine.testing.observation import Observed, differences, observed
from rag_engine_cli.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine import Engine

KILLS = 3
KEEPERS = {
    f"keeper{n}.md": "\n\n".join(f"# Night {m}\n\nKeeper {n} lit lamp {m}." for m in range(20))
    for n in range(16)
}


def submit(data: Path) -> None:
    """Put documents into the queue, two versions of some, and do no work on them."""

    async def put(engine: Engine) -> None:
        for name, text in (DOCUMENTS | KEEPERS).items():
            await engine.submit(text.encode(), document_id=name, source=name)
        for name in list(KEEPERS)[::4]:
            await engine.submit(b"Nobody lit a lamp.", document_id=name, source=name)

    Session(data_dir=data).run(put)


def seen(data: Path) -> Observed:
    async def look(engine: Engine) -> Observed:
        return await observed(await engine.workspace())

    return Session(data_dir=data).run(look)


def worker(data: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rag_engine_cli", "--data-dir", data, "worker", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.slow
def test_killed_it_leaves_what_an_unkilled_one_leaves(tmp_path: Path) -> None:
    random = Random(1)
    killed, unkilled = tmp_path / "killed", tmp_path / "unkilled"
    submit(killed)
    submit(unkilled)
    for _ in range(KILLS):
        with worker(killed) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("indexed")
            time.sleep(random.uniform(0, 0.02))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    for data in (killed, unkilled):
        with worker(data, "--until-idle") as process:
            process.communicate(timeout=LEASE_SECONDS * 3 / 4)  # no lease has to run out
        assert process.returncode == 0
    assert differences(seen(killed), seen(unkilled), tolerance=1e-6) == []
