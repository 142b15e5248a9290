"""What tests of the command line work with: documents, and what a command printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

DOCUMENTS = {
    "bakery.md": (
        "# The bakery\n\nThe bakery in Mill Lane was founded in 1921 by Clara Weiss. She baked with "
        "rye from the mill of Anton Berg, and sold her bread from a handcart at the station.\n"
    ),
    "mill.html": (
        "<!doctype html><html><head><title>The mill</title></head><body><h1>The mill</h1>"
        "<p>Anton Berg bought the mill on the Elder Brook in 1908. In the flood of 1926 the water "
        "wheel was carried away.</p></body></html>"
    ),
    "station/timetable.csv": "train,leaves,goes to\n12,07:40,Aldersey\n14,09:15,Holm\n",
}


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """The JSON lines on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The one line on stderr that says what went wrong."""
        assert "Traceback" not in self.err
        lines = [line for line in self.err.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("Error: ")


class Run(Protocol):
    """Runs `rag-engine` with these words."""

    def __call__(self, *words: str | Path) -> Ran: ...


def write_documents(folder: Path) -> Path:
    """The documents that most tests take in."""
    for name, text in DOCUMENTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@contextmanager
def started(data: Path, *words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, which is ended if it has not ended by itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rag_engine_cli", "--data-dir", data, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
