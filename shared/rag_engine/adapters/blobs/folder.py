"""Blobs as files in a folder, named by their hash.

A blob is written to a temporary file, flushed to the disk, renamed into place, and its folder
flushed, before anybody hears of it: a row in the database never names bytes that a crash can lose.

A blob is as old as its file. Whoever stores it again makes it new, under a lock that whoever
deletes it holds from the look at its age to the end: it is never deleted for having been old.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from rag_engine.adapters.blobs.locks import locked
from rag_engine.errors import BlobMissing, DocumentUnreadable, StoreFull, StoreUnavailable

T = TypeVar("T")

_BINARY: Final = getattr(os, "O_BINARY", 0)  # on Windows
_BLOCK: Final = 1 << 20
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class FolderBlobs:
    """See `Blobs`. Blobs lie in 256 subfolders, by the first two digits of their hash.

    Args:
        folder: Where they lie; it is created when it is not there.
        clock: Seconds since the epoch; the processes of one host share theirs.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    async def put(self, content: bytes | Path | BinaryIO) -> tuple[str, int]:
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
        await asyncio.to_thread(self._check, hash)
        yield self._path(hash)

    async def hashes(self, *, older_than: float = 0.0) -> list[str]:
        """See `Blobs.hashes`."""
        return await asyncio.to_thread(self._hashes, older_than)

    async def delete(self, hashes: Sequence[str], *, older_than: float = 0.0) -> int:
        """See `Blobs.delete`."""
        return await asyncio.to_thread(self._delete, hashes, older_than)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """See `Blobs.keeping`."""
        lock = ExitStack()
        entering = asyncio.ensure_future(asyncio.to_thread(lock.enter_context, self._kept()))
        try:
            await asyncio.shield(entering)
            yield
        finally:
            await asyncio.wait({entering})  # whoever is cancelled meanwhile must not keep the lock
            await asyncio.to_thread(lock.close)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        if self._folder.is_dir() and not os.access(self._folder, os.W_OK):
            yield  # a read-only medium: nobody can delete what is there
            return
        with self._translated():
            self._folder.mkdir(parents=True, exist_ok=True)
            with locked(self._folder / ".keeping", "shared"):
                yield

    def _delete(self, hashes: Sequence[str], older_than: float) -> int:
        if not self._folder.is_dir():
            return 0
        with self._translated(), locked(self._folder / ".keeping", "exclusive", wait=False) as mine:
            if not mine:
                return 0
            if older_than > 0:
                self._sweep(older_than)
            return sum(self._delete_one(hash, older_than) for hash in filter(_is_hash, hashes))

    def _delete_one(self, hash: str, older_than: float) -> bool:
        path = self._path(hash)
        with locked(self._folder / ".settling", "exclusive"):
            there = path.exists() and self._is_old(path, older_than)
            if there:
                path.unlink()
        return there

    def _sweep(self, older_than: float) -> None:
        """Delete what processes that died while they stored something left behind."""
        for path in self._folder.glob(".put-*"):
            if self._is_old(path, older_than):
                path.unlink(missing_ok=True)

    def _is_old(self, path: Path, seconds: float) -> bool:
        try:
            return seconds <= 0 or self._clock() - path.stat().st_mtime >= seconds
        except FileNotFoundError:  # deleted since it was listed
            return False

    def _put(self, content: bytes | Path | BinaryIO) -> tuple[str, int]:
        with self._translated():
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = self._folder / f".put-{uuid.uuid4().hex}"
            # Who may read it is for the umask to say, as for the databases beside it.
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        try:
            hash, size = self._write(handle, content)
            with self._translated():
                self._settle(temporary, self._path(hash))
        finally:
            temporary.unlink(missing_ok=True)
        return hash, size

    def _write(self, handle: int, content: bytes | Path | BinaryIO) -> tuple[str, int]:
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
        now = self._clock()
        os.utime(temporary, (now, now))
        with locked(self._folder / ".settling", "shared"):
            temporary.replace(path)
        for folder in (path.parent, self._folder):
            _flush_folder(folder)

    def _read(self, hash: str) -> bytes:
        with self._opened(hash) as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != hash:
            raise self._changed(hash)
        return content

    def _check(self, hash: str) -> None:
        with self._opened(hash) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != hash:
            raise self._changed(hash)

    @contextmanager
    def _opened(self, hash: str) -> Iterator[io.BufferedReader]:
        if not _is_hash(hash):
            raise _missing(hash, self._folder)
        try:
            with self._path(hash).open("rb") as file:
                yield file
        except FileNotFoundError:
            raise _missing(hash, self._folder) from None
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise _out_of_handles(str(self._path(hash)), error) from error
            raise StoreUnavailable(
                f"The blob {str(self._path(hash))!r} cannot be read ({error.strerror}). Check its "
                "permissions and the disk."
            ) from error

    def _changed(self, hash: str) -> BlobMissing:
        return BlobMissing(
            f"The bytes of blob {str(self._path(hash))!r} have changed on the disk. Restore it from "
            "a backup, or ingest the document again."
        )

    def _hashes(self, older_than: float) -> list[str]:
        paths = (path for path in self._folder.glob("??/*") if _is_hash(path.name))
        return sorted(path.name for path in paths if self._is_old(path, older_than))

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
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise _out_of_handles(folder, error) from error
            raise StoreUnavailable(
                f"{folder!r} cannot be written ({error.strerror}). Check that the folder is yours "
                "and not read-only, or choose another with --data-dir."
            ) from error


def _out_of_handles(path: str, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path!r} cannot be opened ({error.strerror}). Raise the limit (ulimit -n), or do less at a "
        "time."
    )


def _blocks(content: bytes | Path | BinaryIO) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    if not isinstance(content, Path):
        while block := content.read(_BLOCK):
            yield block
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


def _is_hash(name: str) -> bool:
    return _HASH.fullmatch(name) is not None


def _missing(hash: str, folder: Path) -> BlobMissing:
    return BlobMissing(
        f"There is no blob {hash!r} in {str(folder)!r}. Where several machines share the store, let "
        "them share this folder too; else restore the blob from a backup, or ingest the document "
        "again."
    )
