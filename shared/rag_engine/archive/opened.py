"""An archive that is read: its table of contents checked first, no entry trusted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zipfile
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

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

_DAMAGED: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What `zipfile` raises where an entry is cut, changed, encrypted or packed in another way."""


@asynccontextmanager
async def opened_archive(path: Path) -> AsyncIterator[Archive]:
    """Open an archive whose table of contents and manifest are in order.

    Raises:
        ArchiveRejected: They are not.
        DocumentUnreadable: The file cannot be read.
    """
    try:
        file = await whole(zipfile.ZipFile, path)
        try:
            yield await asyncio.to_thread(Archive, file, path)
        finally:
            await whole(file.close)
    except zipfile.BadZipFile as error:
        raise rejected(path, f"it is no whole ZIP file: {error}") from error
    except OSError as error:
        raise DocumentUnreadable(
            f"The archive {str(path)!r} cannot be read ({error.strerror}). "
            "Check the path and its permissions."
        ) from error


class Archive:
    """An open archive. What is asked of it blocks.

    Raises:
        ArchiveRejected: Its table of contents or its manifest is not in order. So does every
            method, where an entry is.
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

    def unpack(self, hash: str, target: Path) -> None:
        """Write a blob to a file."""
        name = f"blobs/{hash}"
        digest = hashlib.sha256()
        try:
            with self._file.open(name) as entry, target.open("wb") as file:
                while block := entry.read(1 << 20):
                    digest.update(block)
                    file.write(block)
        except KeyError as error:
            raise rejected(self._path, f"it lacks {name!r}") from error
        except _DAMAGED as error:
            raise self._unreadable(name, error) from error
        if digest.hexdigest() != hash:
            raise rejected(self._path, f"the bytes of blob {hash!r} are not its own")

    def check_blobs(self, hashes: set[str]) -> None:
        """See that these blobs are there, and have the bytes that their names say."""
        for hash in sorted(hashes):
            self.unpack(hash, Path(os.devnull))

    def _check_names(self) -> None:
        names = self._file.namelist()
        if odd := [name for name in names if not ENTRY.fullmatch(name)]:
            raise rejected(self._path, f"it has an entry {odd[0]!r} that does not belong there")
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

    def _unreadable(self, name: str, error: Exception) -> ArchiveRejected:
        return rejected(self._path, f"{name!r} cannot be read: {error}")
