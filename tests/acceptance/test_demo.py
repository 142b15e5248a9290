"""`make demo`, as a new user meets it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the demo prints the first and the second time, in a copy of what it needs."""
    place = tmp_path_factory.mktemp("repository")
    for name in ("demo", "scripts"):
        shutil.copytree(ROOT / name, place / name)
    environment = {name: value for name, value in os.environ.items() if name[:4] != "RAG_"}
    command = [sys.executable, "scripts/demo.py"]
    runs = []
    for _ in range(2):
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
        runs.append(done.stdout)
    return runs


def answers(text: str) -> list[str]:
    """The three answers with their sources."""
    return text.split("$ rag-engine query")[1:]


def test_all_formats_go_in_and_the_second_time_nothing_is_done(printed: list[str]) -> None:
    assert "5 indexed." in printed[0]
    assert "5 unchanged." in printed[1]


def test_each_answer_names_its_sources(printed: list[str]) -> None:
    tower, log, keeper = answers(printed[0])
    assert "41 metres" in tower
    assert re.search(r"Marrow Point Light, page 2.*\(history-of-the-light.pdf\)", tower)
    assert "Wind east, force 9" in log
    assert "keepers-log-1887.png" in log
    assert "rescued by the keeper of the Marrow Point light, Ada Thorne" in keeper
    assert "Lisbon" in keeper
    assert "(life-of-ada-thorne.docx)" in keeper
    assert "(wreck-of-the-corvina.html)" in keeper


def test_it_says_what_to_do_next(printed: list[str]) -> None:
    assert "What to do next" in printed[0]
    for path in re.findall(r"docs/[\w./-]+", printed[0]):
        assert (ROOT / path).exists()


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "demo").rglob("*")) < 600_000
