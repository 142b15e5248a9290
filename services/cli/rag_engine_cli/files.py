"""From what was named on the command line to the files that are meant."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rag_engine.errors import InvalidRequest

_GLOB_CHARACTERS: Final = frozenset("*?[")
_OWN_FOLDERS: Final = ("blobs", "workspaces")
_NOT_DOCUMENTS: Final = frozenset({"CVS", "__pycache__", "node_modules"})
"""Folders that programs fill. Those that begin with a dot (.git, .venv) are hidden anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that is meant.

    Attributes:
        path: Its absolute path, which is the document's id; links are not resolved.
        source: What people recognise it by: its path within the folder that was named.
        named: Whether it was named itself, and not found in a folder.
        size: Its length in bytes.
    """

    path: str
    source: str
    named: bool
    size: int


@dataclass(slots=True)
class Found:
    """What a search for files came to.

    Attributes:
        files: In the order of their paths, each once.
        skipped: How many were left aside, by the reason in words.
        problems: What cannot be read, and why; nothing is known of what is below it.
        data: The resolved data folder, whose own files are no documents, or `None`.
    """

    files: dict[str, File] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    problems: dict[str, str] = field(default_factory=dict)
    data: str | None = None


def find(words: Sequence[str], data: Path | None = None) -> Found:
    """The files that paths, folders and glob patterns stand for.

    What cannot be found is a problem of its own, so that one typing error does not stop the rest.

    Raises:
        InvalidRequest: A pattern matches nothing.
    """
    found = Found(data=os.path.realpath(data) if data else None)
    for word in words:
        path = absolute(word)
        if not os.path.lexists(path) and _GLOB_CHARACTERS & set(word):
            for match in _matches(word):
                if not _is_own(found, absolute(match)):
                    _add(found, absolute(match))
        else:
            _add(found, path)
    return found


def absolute(word: str) -> str:
    """The absolute path that a word of the command line means; links are not resolved."""
    return os.path.abspath(os.path.expanduser(word))  # noqa: PTH100, PTH111


def find_in(folder: str, data: Path | None = None) -> Found:
    """The files in a folder and all folders below it."""
    found = Found(data=os.path.realpath(data) if data else None)
    _add_folder(found, folder)
    return found


def _is_own(found: Found, path: str) -> bool:
    """Whether a path is one of the store's: its databases and blobs are no documents."""
    if found.data is None:
        return False
    data, real = Path(found.data), Path(os.path.realpath(path))
    if real.parent == data and real.name.startswith("control.sqlite"):
        return True
    return any(real.is_relative_to(data / name) for name in _OWN_FOLDERS)


def _matches(pattern: str) -> list[str]:
    matches = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))  # noqa: PTH111, PTH207
    if not matches:
        raise InvalidRequest(f"No file matches {pattern!r}. Check the pattern and the folder.")
    return matches


def _add(found: Found, path: str) -> None:
    if Path(path).is_dir():
        _add_folder(found, path)
        return
    name = Path(path).name
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        what = "does not exist" if isinstance(error, FileNotFoundError) else error.strerror
        found.problems[path] = f"{path!r} cannot be read: it {what}. Check the path."
        if not isinstance(error, FileNotFoundError):
            found.problems[path] = f"{path!r} cannot be read ({what}). Check its permissions."
        return
    if not stat.S_ISREG(status.st_mode):
        found.problems[path] = f"{path!r} is not a regular file. Name a file or a folder."
        return
    found.files[path] = File(path=path, source=name, named=True, size=status.st_size)


def _add_folder(found: Found, root: str) -> None:
    if _is_own(found, root):
        return
    visited = {_identity(root)}
    if found.data and Path(found.data).is_dir():
        visited.add(_identity(found.data))  # below the root, it is passed over whole
    for path, status in _walk(found, root, visited, os.path.realpath(root)):
        if path in found.files:
            continue
        if not stat.S_ISREG(status.st_mode):
            found.skipped["not a regular file"] += 1
            continue
        source = Path(path).relative_to(root).as_posix()
        found.files[path] = File(path=path, source=source, named=False, size=status.st_size)


def _walk(
    found: Found, folder: str, visited: set[tuple[int, int]], top: str
) -> Iterator[tuple[str, os.stat_result]]:
    """All files below a folder that are not hidden, each folder once, by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.problems[folder] = f"{folder!r} cannot be listed ({error.strerror})."
        return
    for entry in entries:
        if entry.name.startswith("."):
            found.skipped["hidden"] += 1
            continue
        if entry.name.startswith((*_OWN_FOLDERS, "control.sqlite")) and _is_own(found, entry.path):
            continue
        try:
            status = entry.stat()
        except OSError as error:
            found.problems[entry.path] = f"{entry.path!r} cannot be read ({error.strerror})."
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield entry.path, status
        elif entry.name in _NOT_DOCUMENTS:
            found.skipped["made by a program"] += 1
        elif _is_new(entry, status, visited, top):
            yield from _walk(found, entry.path, visited, top)


def _is_new(
    entry: os.DirEntry[str], status: os.stat_result, visited: set[tuple[int, int]], top: str
) -> bool:
    """Whether a folder is still to be visited: a link into the tree itself is not."""
    if entry.is_symlink() and Path(os.path.realpath(entry.path)).is_relative_to(top):
        return False
    identity = (status.st_dev, status.st_ino)
    if identity in visited:
        return False
    visited.add(identity)
    return True


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116
    return status.st_dev, status.st_ino
