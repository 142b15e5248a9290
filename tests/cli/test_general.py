"""What holds for every command: help, JSON, exit codes, errors, colours, a quick start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import click
import pytest

from rag_engine_cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from command_line import Run

SHARED = ("--data-dir", "--workspace", "--json", "--verbose", "--no-color")


def commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None, name
            yield from commands(found, (*path, name))


@pytest.mark.parametrize("words", list(commands(cli, ())), ids=" ".join)
def test_every_command_explains_itself_and_takes_the_shared_options(
    run: Run, words: tuple[str, ...]
) -> None:
    done = run(*words, "--help")
    assert done.code == 0
    for option in SHARED:
        assert option in done.out
    assert max(len(line) for line in done.out.splitlines()) <= 100


def test_without_words_it_shows_the_help(run: Run) -> None:
    done = run()
    assert done.code == 0
    assert done.out.startswith("Usage: rag-engine")
    assert "rag-engine sync ~/docs" in done.out
    assert run("documents").out.startswith("Usage: rag-engine documents")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["quer"], "Did you mean 'query'?"),
        (["ingest", "--colour"], "--colour"),
        (["documents", "lst"], "lst"),
        (["documents", "list", "--limit", "many"], "many"),
        (["documents", "list", "--status", "lost"], "failed"),
        (["documents", "list", "--status", "failed", "-f", "a=1"], "--status"),
        (["stats"], "There is no workspace 'default'"),
        (["sync"], "DIR"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(run: Run, words: list[str], says: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert says in done.error
    as_json = run("--json", *words)
    assert as_json.code == 2
    assert as_json.out == ""
    error = json.loads(as_json.err)["error"]
    assert says in error["message"]
    assert error["retryable"] is False


def test_a_setting_that_cannot_be_used_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_CONTEXT_TOKENS", "lots")
    done = run("query", "what?")
    assert done.code == 2
    assert "RAG_CONTEXT_TOKENS='lots'" in done.error


def test_an_internal_error_is_a_sentence_and_with_debug_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, filled: Path
) -> None:
    def broken(settings: object, **more: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("rag_engine.wiring.build", broken)
    done = run("stats")
    assert done.code == 3
    assert "a defect" in done.error
    assert "DEBUG=true" in done.error
    monkeypatch.setenv("DEBUG", "true")
    assert "Traceback" in run("stats").err


def test_version_is_json_too(run: Run) -> None:
    assert run("version").out.startswith("rag-engine  0.")
    assert set(run("version", "--json").json) == {"rag-engine", "python", "sqlite", "platform"}


def test_log_lines_go_to_stderr(run: Run, filled: Path, docs: Path) -> None:
    assert run("ingest", docs / "bakery.md", "-m", "year=3").err == ""
    done = run("ingest", docs / "bakery.md", "-m", "year=4", "--verbose", "--json")
    assert "INFO" in done.err
    assert "bakery.md" in done.err
    assert done.lines[-1]["summary"]["indexed"] == 1


def test_help_starts_no_engine() -> None:
    began = time.perf_counter()
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "rag_engine_cli", "--help"],
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    seconds = time.perf_counter() - began
    for heavy in ("numpy", "pydantic", "rich", "httpx", "onnxruntime", "rag_engine.engine"):
        assert not any(line.endswith(f" {heavy}") for line in loaded.splitlines()), heavy
    assert seconds < 3  # 0.15 s of processor time; the rest is what else the machine does


def test_nobody_reading_is_no_error(filled: Path) -> None:
    shell = (
        f"{sys.executable} -m rag_engine_cli --data-dir {filled} documents show bakery.md --text | "
        "true; echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in {"0", "141"}  # 0: all was written before the other end closed
