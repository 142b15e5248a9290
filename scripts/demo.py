"""`make demo`: five documents in five formats, three questions, answers with citations.

It runs the command line as anybody would, on a data folder of its own beside this repository's
files. A second run finds everything there already.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = "demo-data"
DOCUMENTS: Final = "demo/lighthouse"

QUESTIONS: Final = (
    (
        "It stands on page 2 of a PDF:",
        "How high does the tower stand, and what is its base made of?",
    ),
    (
        "It stands on a scanned page, which was read by text recognition:",
        "How strong was the wind, and what did the barometer say?",
    ),
    (
        "It takes two documents: a newspaper names the keeper, the story of her life the city:",
        "In which city did the keeper who rescued the crew of the Corvina learn to grind lenses?",
    ),
)

NEXT: Final = """\
What to do next
  Look around in what was built:
    .venv/bin/rag-engine --data-dir demo-data graph show "Ada Thorne"
    .venv/bin/rag-engine --data-dir demo-data documents list
  Put in documents of your own, and ask them something:
    .venv/bin/rag-engine sync ~/docs
    .venv/bin/rag-engine query "…"
  Let a language model write the answers: docs/how-to/use-a-language-model.md
  Learn more: docs/tutorial.md
"""


def main() -> int:
    """Run the demo; the exit code is that of the first command that fails."""
    began = time.monotonic()
    print("RAG Engine: a demo with five documents about a lighthouse (see demo/README.md).")
    print("No language model is configured or needed: answers quote the documents.\n")
    failed = run("sync", DOCUMENTS)
    if failed:
        return failed
    for remark, question in QUESTIONS:
        print(f"\n{remark}")
        if failed := run("query", question):
            return failed
    print(f"\nThe demo took {time.monotonic() - began:.0f} s. Its data is in ./{DATA}.\n")
    print(NEXT)
    return 0


def run(*arguments: str) -> int:
    """Show a command as a person would type it, and run it."""
    print(f"$ rag-engine {shlex.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "rag_engine_cli", "--data-dir", DATA, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
