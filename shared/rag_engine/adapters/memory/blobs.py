"""Blobs in a dict."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rag_engine.errors import BlobMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class MemoryBlobs:
    """Originals and parsed texts in memory; see `rag_engine.ports.storage.Blobs`."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    async def put(self, content: bytes | Path) -> tuple[str, int]:
        if isinstance(content, Path):
            content = await asyncio.to_thread(content.read_bytes)
        hash = hashlib.sha256(content).hexdigest()
        self._blobs[hash] = content
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

    async def hashes(self) -> list[str]:
        return sorted(self._blobs)

    async def delete(self, hashes: Sequence[str]) -> None:
        for hash in hashes:
            self._blobs.pop(hash, None)
