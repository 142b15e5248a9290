"""What the engine needs of the place where originals and parsed texts are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path


class Blobs(Protocol):
    """Originals and parsed texts, by the SHA-256 of their bytes. What is there is durable."""

    async def put(self, content: bytes | Path | BinaryIO) -> tuple[str, int]:
        """Store bytes, or a file's bytes, and return their hash (hex) and length.

        An open file is read from where it stands, and left open.
        """
        ...

    async def read(self, hash: str) -> bytes:
        """The bytes of a blob.

        Raises:
            BlobMissing: There is none of that hash, or its bytes no longer have that hash.
        """
        ...

    def local(self, hash: str) -> AbstractAsyncContextManager[Path]:
        """A blob as a read-only local file for the time of the context.

        Raises:
            BlobMissing: There is none of that hash, or its bytes no longer have that hash.
        """
        ...

    async def hashes(self, *, older_than: float = 0.0) -> list[str]:
        """Hashes of all blobs, sorted.

        Args:
            older_than: Only of those that nobody has stored for so many seconds. Storing what is
                there already counts.
        """
        ...

    async def delete(self, hashes: Sequence[str], *, older_than: float = 0.0) -> int:
        """Delete blobs and return how many; unknown hashes are passed over.

        While somebody is `keeping` the blobs, nothing is deleted.

        Args:
            hashes: Which ones.
            older_than: A blob that somebody stored within so many seconds stays, even if that
                happens at the same moment. What a process that died while it stored something left
                behind goes too when it is that old.
        """
        ...

    def keeping(self) -> AbstractAsyncContextManager[None]:
        """For the time of the context no process deletes a blob; what is being deleted is waited for."""
        ...
