"""Blobs as files in a folder, named by their hash.

A blob is written to a temporary file, flushed to the disk, renamed into place, and its folder
flushed, before anybody hears of it: a row in the database never names bytes that a crash can lose.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from rag_engine.errors import BlobMissing, DocumentUnreadable, StoreFull, StoreUnavailable

T = TypeVar("T")

_BLOCK: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class FolderBlobs:
    """See `Blobs`. Blobs lie in 256 subfolders, by the first two digits of their hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, content: bytes | Path) -> tuple[str, int]:
        """See `Blobs.put`. A file is copied in blocks and never held in memory whole.

        Raises:
            DocumentUnreadable: The file cannot be read.
        """
        return await asyncio.to_thread(self._put, content)

    async def read(self, hash: str) -> bytes:
        """See `Blobs.read`."""
        return await asyncio.to_thread(self._read, hash)

    @asynccontextmanager
    async def local(self, hash: str) -> AsyncIterator[Path]:
        """See `Blobs.local`."""
        path = self._path(hash)
        if not _HASH.fullmatch(hash) or not await asyncio.to_thread(path.is_file):
            raise _missing(hash)
        yield path

    async def hashes(self) -> list[str]:
        """See `Blobs.hashes`."""
        return await asyncio.to_thread(self._hashes)

    async def delete(self, hashes: Sequence[str]) -> None:
        """See `Blobs.delete`."""

        def remove() -> None:
            with self._translated():
                for hash in filter(_HASH.fullmatch, hashes):
                    self._path(hash).unlink(missing_ok=True)

        await asyncio.to_thread(remove)

    def _put(self, content: bytes | Path) -> tuple[str, int]:
        with self._translated():
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".put-", dir=self._folder)
        temporary = Path(name)
        try:
            hash, size = self._write(handle, content)
            with self._translated():
                self._settle(temporary, self._path(hash))
        finally:
            temporary.unlink(missing_ok=True)
        return hash, size

    def _write(self, handle: int, content: bytes | Path) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        # Unbuffered: what a buffer still holds would be written, and fail, where nobody expects it.
        with os.fdopen(handle, "wb", buffering=0) as target:
            for block in _blocks(content):
                digest.update(block)
                size += len(block)
                with self._translated():
                    _write_all(target, block)
            with self._translated():
                os.fsync(target.fileno())
        return digest.hexdigest(), size

    def _settle(self, temporary: Path, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        temporary.replace(path)
        for folder in (path.parent, self._folder):
            _flush_folder(folder)

    def _read(self, hash: str) -> bytes:
        if not _HASH.fullmatch(hash):
            raise _missing(hash)
        try:
            content = self._path(hash).read_bytes()
        except FileNotFoundError:
            raise _missing(hash) from None
        if hashlib.sha256(content).hexdigest() != hash:
            raise BlobMissing(
                f"The bytes of blob {hash!r} have changed on the disk. Restore it from a backup, "
                "or ingest the document again."
            )
        return content

    def _hashes(self) -> list[str]:
        names = (path.name for path in self._folder.glob("??/*"))
        return sorted(name for name in names if _HASH.fullmatch(name))

    def _path(self, hash: str) -> Path:
        return self._folder / hash[:2] / hash

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            folder = str(self._folder)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"The disk that holds {folder!r} is full. Nothing that was stored is lost. "
                    "Free some space and try again."
                ) from error
            raise StoreUnavailable(
                f"{folder!r} cannot be written ({error.strerror}). Check that the folder is yours "
                "and not read-only, or choose another with --data-dir."
            ) from error


def _blocks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as source:
            while block := source.read(_BLOCK):
                yield block
    except OSError as error:
        raise DocumentUnreadable(
            f"{str(content)!r} cannot be read ({error.strerror}). Check the path and its permissions."
        ) from error


def _write_all(target: io.FileIO, block: bytes) -> None:
    left = memoryview(block)
    while left:
        left = left[target.write(left) :]


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle on a folder; NTFS journals the rename
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _missing(hash: str) -> BlobMissing:
    return BlobMissing(
        f"There is no blob {hash!r}. Restore it from a backup, or ingest the document again."
    )
