"""Blobs in a dict."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rag_engine.errors import BlobMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence


class MemoryBlobs:
    """Originals and parsed texts in memory; see `rag_engine.ports.blobs.Blobs`.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._blobs: dict[str, bytes] = {}
        self._stored_at: dict[str, float] = {}
        self._keepers = 0

    async def put(self, content: bytes | Path | BinaryIO) -> tuple[str, int]:
        if isinstance(content, Path):
            content = await asyncio.to_thread(content.read_bytes)
        elif not isinstance(content, bytes):
            content = await asyncio.to_thread(content.read)
        hash = hashlib.sha256(content).hexdigest()
        self._blobs[hash] = content
        self._stored_at[hash] = self._clock()
        return hash, len(content)

    async def read(self, hash: str) -> bytes:
        if hash not in self._blobs:
            raise BlobMissing(f"There is no blob {hash!r}. Add the document again.")
        return self._blobs[hash]

    @asynccontextmanager
    async def local(self, hash: str) -> AsyncIterator[Path]:
        content = await self.read(hash)
        folder = await asyncio.to_thread(tempfile.TemporaryDirectory)
        try:
            path = Path(folder.name) / hash
            await asyncio.to_thread(path.write_bytes, content)
            yield path
        finally:
            await asyncio.to_thread(folder.cleanup)

    async def hashes(self, *, older_than: float = 0.0) -> list[str]:
        return sorted(hash for hash in self._blobs if self._is_old(hash, older_than))

    async def delete(self, hashes: Sequence[str], *, older_than: float = 0.0) -> int:
        if self._keepers:
            return 0
        gone = [hash for hash in set(hashes) & self._blobs.keys() if self._is_old(hash, older_than)]
        for hash in gone:
            del self._blobs[hash]
        return len(gone)

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        self._keepers += 1
        try:
            yield
        finally:
            self._keepers -= 1

    def _is_old(self, hash: str, seconds: float) -> bool:
        return seconds <= 0 or self._clock() - self._stored_at[hash] >= seconds
