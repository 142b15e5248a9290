"""An archive that is read: its table of contents checked first, no entry trusted."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import TypeAdapter, ValidationError

from rag_engine.archive.files import whole
from rag_engine.archive.layout import (
    EDITS,
    ENTRY,
    KINDS,
    MANIFEST,
    WAITING,
    Manifest,
    Part,
    Wish,
    manifest_of,
    part_name,
    part_of,
    rejected,
    wishes_of,
)
from rag_engine.core.edits import Edit
from rag_engine.errors import ArchiveRejected, DocumentUnreadable
from rag_engine.ports.storage import Vectors

MAX_BYTES: Final = 1 << 40
"""Unpacked size above which an archive is refused."""

MAX_ENTRY: Final = 1 << 30
"""Size above which an entry is refused that is held in memory whole: all but the blobs."""

_DAMAGED: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    ValueError,
)
"""What `zipfile` raises where a file or an entry is cut, changed, encrypted or packed in another way.

`ValueError` is for names that are not of the encoding they claim, and for impossible offsets.
"""

_BLOCK: Final = 1 << 20
_KINDS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@asynccontextmanager
async def opened_archive(path: Path) -> AsyncIterator[Archive]:
    """Open an archive whose table of contents and manifest are in order.

    Raises:
        ArchiveRejected: They are not.
        DocumentUnreadable: The file cannot be read.
    """
    try:
        file = await whole(zipfile.ZipFile, path)
    except _DAMAGED as error:
        raise rejected(path, f"it is no whole ZIP file: {error}") from error
    except OSError as error:
        raise _unreadable_file(path, error) from error
    try:
        yield await whole(Archive, file, path)
    finally:
        await whole(file.close)


def _unreadable_file(path: Path, error: OSError) -> DocumentUnreadable:
    return DocumentUnreadable(
        f"The archive {str(path)!r} cannot be read ({error.strerror or error}). "
        "Check the path and its permissions."
    )


class Archive:
    """An open archive. What is asked of it blocks.

    Raises:
        ArchiveRejected: Its table of contents or its manifest is not in order. So does every
            method, where an entry is.
        DocumentUnreadable: The file cannot be read. So does every method.
    """

    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self._file = file
        self._path = path
        self._check_names()
        self._check_sizes()
        self.manifest = self._manifest()

    def part(self, number: int) -> tuple[Part, Vectors]:
        """A part and its vectors."""
        content, values = (self._content(part_name(number, kind)) for kind in KINDS)
        try:
            return part_of(content, values, self.manifest.dimensions)
        except ValueError as error:
            raise self._unreadable(part_name(number, "json"), error) from error

    def edits(self) -> tuple[Edit, ...]:
        """Aliases and suppressions."""
        try:
            return TypeAdapter(tuple[Edit, ...]).validate_json(self._content(EDITS))
        except ValidationError as error:
            raise self._unreadable(EDITS, error) from error

    def wishes(self) -> tuple[Wish, ...]:
        """What waits."""
        try:
            return wishes_of(self._content(WAITING))
        except ValueError as error:
            raise self._unreadable(WAITING, error) from error

    def blob(self, hash: str) -> BinaryIO:
        """A blob to read; its last read raises if the bytes were not those that its name says."""
        return io.BufferedReader(_Unpacked(self._blocks(hash)), _BLOCK)

    def check_blobs(self, hashes: set[str]) -> None:
        """See that these blobs are there, and have the bytes that their names say."""
        for hash in sorted(hashes):
            for _ in self._blocks(hash):
                pass

    def _blocks(self, hash: str) -> Iterator[bytes]:
        name = f"blobs/{hash}"
        digest = hashlib.sha256()
        try:
            with self._file.open(name) as entry:
                while block := entry.read(_BLOCK):
                    digest.update(block)
                    yield block
        except KeyError as error:
            raise rejected(self._path, f"it lacks {name!r}") from error
        except _DAMAGED as error:
            raise self._unreadable(name, error) from error
        except OSError as error:
            raise _unreadable_file(self._path, error) from error
        if digest.hexdigest() != hash:
            raise rejected(self._path, f"the bytes of blob {hash!r} are not its own")

    def _check_names(self) -> None:
        names = self._file.namelist()
        if odd := [name for name in names if not ENTRY.fullmatch(name)]:
            raise rejected(self._path, f"it has an entry {odd[0]!r} that does not belong there")
        for entry in self._file.infolist():
            if entry.compress_type not in _KINDS:
                raise rejected(
                    self._path, f"{entry.filename!r} is packed in a way that no export packs"
                )
        if len(set(names)) != len(names):
            raise rejected(self._path, "it has an entry twice")
        if missing := {MANIFEST, EDITS, WAITING} - set(names):
            raise rejected(self._path, f"it lacks {min(missing)!r}")

    def _check_sizes(self) -> None:
        entries = self._file.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > MAX_BYTES:
            raise rejected(self._path, f"it unpacks to {size:,} bytes, more than {MAX_BYTES:,}")
        for entry in entries:
            if entry.file_size > MAX_ENTRY and not entry.filename.startswith("blobs/"):
                raise rejected(
                    self._path,
                    f"{entry.filename!r} unpacks to {entry.file_size:,} bytes, more than "
                    f"{MAX_ENTRY:,}",
                )
        # Entries that share their bytes are how a small file claims to hold everything.
        if sum(entry.compress_size for entry in entries) > self._path.stat().st_size:
            raise rejected(self._path, "its entries overlap")

    def _manifest(self) -> Manifest:
        try:
            manifest = manifest_of(self._content(MANIFEST))
        except ValueError as error:
            raise self._unreadable(MANIFEST, error) from error
        names = {name for name in self._file.namelist() if name.startswith("documents/")}
        if len(names) != len(KINDS) * manifest.parts or any(
            part_name(number, kind) not in names
            for number in range(manifest.parts)
            for kind in KINDS
        ):
            raise rejected(self._path, f"it does not hold the {manifest.parts} parts it should")
        return manifest

    def _content(self, name: str) -> bytes:
        try:
            return self._file.read(name)
        except _DAMAGED as error:
            raise self._unreadable(name, error) from error
        except OSError as error:
            raise _unreadable_file(self._path, error) from error

    def _unreadable(self, name: str, error: Exception) -> ArchiveRejected:
        return rejected(self._path, f"{name!r} cannot be read: {error}")


class _Unpacked(io.RawIOBase):
    """Blocks as a file, so that whoever stores them needs no room for a copy."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        self._left = self._left or memoryview(next(self._blocks, b""))
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
