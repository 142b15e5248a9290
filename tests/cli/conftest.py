"""The command line in this process, and one workspace that many tests read."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from command_line import Ran, Run, write_documents
from rag_engine_cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def restored() -> Iterator[None]:
    """What `main` does to signals and to logging is undone."""
    handlers_of = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    level, handlers = logging.root.level, list(logging.root.handlers)
    yield
    for one, handler in handlers_of.items():
        signal.signal(one, handler)
    logging.root.setLevel(level)
    logging.root.handlers[:] = handlers


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """A test leaves the process as it was."""
    with restored():
        yield


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that is not there yet."""
    return tmp_path / "data"


@pytest.fixture
def run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: Path, tmp_path: Path
) -> Run:
    """Run a command on the test's own data folder, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def call(*words: str | Path) -> Ran:
        monkeypatch.setenv("RAG_DATA_DIR", str(data))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Ran(code=int(ended.value.code or 0), out=out, err=err)

    return call


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents and a data folder that holds them. Never written to by a test."""
    place = tmp_path_factory.mktemp("shared")
    docs = write_documents(place / "docs")
    words = ["--data-dir", str(place / "data"), "ingest"]
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith(("RAG_", "NEO4J_"))]:
            patched.delenv(name)
        for more in (
            [str(docs / "bakery.md"), "-m", "year=1921", "-m", "tags=[bread, trade]"],
            [str(docs)],
        ):
            with restored(), pytest.raises(SystemExit) as ended:
                main([*words, *more])
            assert not ended.value.code
    return place


@pytest.fixture
def docs(shared_place: Path) -> Path:
    """The documents that `filled` holds."""
    return shared_place / "docs"


@pytest.fixture
def filled(shared_place: Path, data: Path) -> Path:
    """A data folder of the test's own that holds the documents."""
    shutil.copytree(shared_place / "data", data)
    return data
