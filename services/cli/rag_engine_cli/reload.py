"""For development: a command that starts anew when the sources it runs are edited."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from watchfiles import Change, DefaultFilter, watch

from rag_engine_cli.signals import INTERRUPTED, Signals

if TYPE_CHECKING:
    from collections.abc import Callable

_PACKAGES: Final = ("rag_engine", "rag_engine_api", "rag_engine_cli", "rag_engine_lightrag")
_ENDINGS: Final = (".py", ".sql", ".cypher", ".html", ".css", ".js")
_GRACE_SECONDS: Final = 5.0
"""How long a process may take to end before it is killed, which loses nothing."""


class _Sources(DefaultFilter):
    def __call__(self, change: Change, path: str) -> bool:
        return path.endswith(_ENDINGS) and super().__call__(change, path)


def run_anew(note: Callable[[str], None]) -> int:
    """Run this process's own command in another one, and start it anew at every edit.

    One that fails is started again at the next edit, too. The first signal ends both.

    Args:
        note: Shown a line for each edit.

    Returns:
        The exit code: 130 after Ctrl-C, else 0.
    """
    child = _started()
    with Signals() as signals:
        try:
            with suppress(KeyboardInterrupt):
                for changes in watch(*_folders(), watch_filter=_Sources(), raise_interrupt=True):
                    edited = sorted({Path(path).name for _, path in changes})
                    note(f"{', '.join(edited)} changed: starting anew.")
                    _end(child)
                    child = _started()
        finally:
            _end(child)
    return INTERRUPTED if signals.received == signal.SIGINT else 0


def _folders() -> list[Path]:
    """Where the packages are that the command is made of."""
    specs = [importlib.util.find_spec(name) for name in _PACKAGES]
    return [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rag_engine_cli", *sys.argv[1:], "--no-reload"]
    # Ctrl-C reaches all of a session; one that comes twice would end the process at once.
    return subprocess.Popen(command, start_new_session=True)  # noqa: S603


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
