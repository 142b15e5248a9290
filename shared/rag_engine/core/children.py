"""Processes of this package that another one starts, and that answer over their standard streams."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

_PACKAGE: Final = str(Path(__file__).parents[1])
# Importing `rag_engine` itself would bring the whole engine, HTTP clients included, and a second.
_BOOT: Final = """\
import importlib, sys, types
package = types.ModuleType("rag_engine")
package.__path__ = [sys.argv[1]]
sys.modules["rag_engine"] = package
importlib.import_module(sys.argv[2]).main(*sys.argv[3:])
"""

# Ctrl-C in the terminal is for the parent, which then ends its children.
OF_ITS_OWN: Final[dict[str, Any]] = {
    "start_new_session": sys.platform != "win32",
    "creationflags": 0x08000200 if sys.platform == "win32" else 0,
}
"""Options for starting one."""


def command(module: str, *words: str) -> list[str]:
    """What starts a process that calls a module's `main` with these words."""
    # -P: a module in the current folder, perhaps full of downloaded files, is never imported.
    return [sys.executable, "-P", "-c", _BOOT, _PACKAGE, module, *words]


def private_streams() -> tuple[BinaryIO, BinaryIO]:
    """In such a process: its input and output, moved away from where libraries print what they like."""
    messages, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return messages, replies
