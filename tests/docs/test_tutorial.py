"""The commands of the tutorial are run, and print what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
BLOCK = re.compile(r"(<!-- not run -->\n)?```(sh|text)\n(.*?)```", re.DOTALL)
END = "=== end of block"


def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    blocks = [match.groups() for match in BLOCK.finditer(TUTORIAL.read_text(encoding="utf-8"))]
    commands = [text for skipped, kind, text in blocks if kind == "sh" and not skipped]
    assert len(commands) > 10
    script = "\n".join(f"{text}\necho '{END}'" for text in commands)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": path,
            "HOME": str(tmp_path / "home"),
            "RAG_DATA_DIR": str(tmp_path / "data"),
            "RAG_PARSER_OCR": "false",  # loading its models takes seconds, and there is no scan
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    printed = iter(done.stdout.split(END))
    output = ""
    for skipped, kind, text in blocks:
        if kind == "sh" and not skipped:
            output = " ".join(next(printed).split())
        elif kind == "text":
            for piece in re.split(r"…|\n", text):
                assert " ".join(piece.split()) in output, f"{piece!r} is not in:\n{output}"
