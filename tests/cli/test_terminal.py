"""What a person at a terminal sees: a bar while it works, colours, a question before deleting."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_line import write_documents

if TYPE_CHECKING:
    from pathlib import Path

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def at_a_terminal(*words: str | Path, types: str = "", **environment: str) -> tuple[int, str]:
    """Run a command on a pseudo-terminal: its exit code and all that appeared."""
    master, slave = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "rag_engine_cli", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**inherited, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
    )
    os.close(slave)
    os.write(master, types.encode())
    seen = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(master)
    return process.wait(), seen.decode().replace("\r\n", "\n")


def test_a_bar_moves_while_documents_go_in(tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "docs")
    code, seen = at_a_terminal("--data-dir", tmp_path / "data", "ingest", docs)
    assert code == 0
    assert "/3" in seen
    assert "\x1b[" in seen
    plain = ESCAPE.sub("", seen)
    assert "indexed    bakery.md: 1 passage" in plain
    assert "3 indexed." in plain


def test_colours_can_be_refused(tmp_path: Path, filled: Path) -> None:
    asked = ("--data-dir", filled, "query", "Who founded the bakery in Mill Lane?")
    code, seen = at_a_terminal(*asked)
    assert code == 0
    assert "\x1b[1mSources" in seen
    assert "\x1b" not in at_a_terminal(*asked, NO_COLOR="1")[1]
    assert "\x1b" not in at_a_terminal("--no-color", *asked)[1]


def test_deleting_asks_first(filled: Path) -> None:
    words = ("--data-dir", filled, "documents", "delete", "bakery.md")
    code, seen = at_a_terminal(*words, types="n\n")
    assert code == 0
    assert "Delete 1 document? [y/N]" in seen
    assert "Nothing was deleted." in seen
    code, seen = at_a_terminal(*words, types="y\n")
    assert code == 0
    assert "1 document deleted." in seen
