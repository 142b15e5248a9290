"""What every Blobs promises: the same bytes back, under the hash of their content.

Each test's name is the promise; see `rag_engine.ports.blobs.Blobs`.
"""

from __future__ import annotations

import asyncio
import hashlib
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from rag_engine.errors import BlobMissing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rag_engine.ports.blobs import Blobs

CONTENT = b"\x00\xff\r\n" * 1000
KEY = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = hashlib.sha256(b"nobody stored this").hexdigest()


class BlobsContract:
    """Subclass it and provide two fixtures.

    `blobs` returns an empty `Blobs`, `pass_time` a function that lets so many seconds pass on the
    clock by which they age.
    """

    @pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(3_000_000)])
    async def test_bytes_come_back_under_their_hash(self, blobs: Blobs, content: bytes) -> None:
        assert await blobs.put(content) == (hashlib.sha256(content).hexdigest(), len(content))
        assert await blobs.read(hashlib.sha256(content).hexdigest()) == content

    async def test_a_file_is_stored_by_its_bytes_and_left_as_it_is(
        self, blobs: Blobs, tmp_path: Path
    ) -> None:
        path = tmp_path / "original"
        path.write_bytes(CONTENT)
        assert await blobs.put(path) == (KEY, len(CONTENT))
        assert path.read_bytes() == CONTENT
        path.write_bytes(b"changed")
        path.unlink()
        assert await blobs.read(KEY) == CONTENT

    async def test_an_open_file_is_stored_from_where_it_stands_and_left_open(
        self, blobs: Blobs
    ) -> None:
        file = BytesIO(b"before" + CONTENT)
        file.seek(len(b"before"))
        assert await blobs.put(file) == (KEY, len(CONTENT))
        assert await blobs.read(KEY) == CONTENT
        assert not file.closed

    async def test_storing_twice_stores_once(self, blobs: Blobs) -> None:
        assert await blobs.put(CONTENT) == await blobs.put(CONTENT)
        assert await blobs.hashes() == [KEY]

    async def test_storing_the_same_at_once_does_no_harm(self, blobs: Blobs) -> None:
        await asyncio.gather(*(blobs.put(CONTENT) for _ in range(8)))
        assert await blobs.hashes() == [KEY]
        assert await blobs.read(KEY) == CONTENT

    async def test_a_missing_blob_is_an_error(self, blobs: Blobs) -> None:
        await blobs.put(CONTENT)
        with pytest.raises(BlobMissing, match=NOWHERE):
            await blobs.read(NOWHERE)
        with pytest.raises(BlobMissing, match=NOWHERE):
            async with blobs.local(NOWHERE):
                pass

    @pytest.mark.parametrize("hash", ["", "..", "../../etc/passwd", "x" * 64, KEY.upper()])
    async def test_what_is_no_hash_is_missing_like_any_other(self, blobs: Blobs, hash: str) -> None:
        await blobs.put(CONTENT)
        with pytest.raises(BlobMissing):
            await blobs.read(hash)
        with pytest.raises(BlobMissing):
            async with blobs.local(hash):
                pass
        await blobs.delete([hash])
        assert await blobs.hashes() == [KEY]

    async def test_a_blob_can_be_had_as_a_file(self, blobs: Blobs) -> None:
        await blobs.put(CONTENT)
        async with blobs.local(KEY) as path:
            assert await asyncio.to_thread(path.read_bytes) == CONTENT
        assert await blobs.read(KEY) == CONTENT

    async def test_hashes_are_sorted(self, blobs: Blobs) -> None:
        assert await blobs.hashes() == []
        keys = [(await blobs.put(bytes([number])))[0] for number in range(10)]
        assert await blobs.hashes() == sorted(keys)

    async def test_deleting_takes_what_was_named_and_nothing_else(self, blobs: Blobs) -> None:
        other, _ = await blobs.put(b"other")
        await blobs.put(CONTENT)
        await blobs.delete([KEY, NOWHERE, KEY])
        assert await blobs.hashes() == [other]
        with pytest.raises(BlobMissing):
            await blobs.read(KEY)
        await blobs.delete([])
        assert await blobs.read(other) == b"other"
        await blobs.put(CONTENT)
        assert await blobs.read(KEY) == CONTENT

    async def test_only_blobs_that_are_old_enough_are_listed_and_deleted(
        self, blobs: Blobs, pass_time: Callable[[float], None]
    ) -> None:
        old, _ = await blobs.put(b"old")
        pass_time(100)
        new, _ = await blobs.put(b"new")
        assert await blobs.hashes(older_than=100) == [old]
        assert await blobs.hashes(older_than=101) == []
        assert await blobs.delete([new, old], older_than=101) == 0
        assert await blobs.delete([new, old, NOWHERE], older_than=100) == 1
        assert await blobs.hashes() == [new]
        assert await blobs.delete([new]) == 1

    async def test_storing_a_blob_again_makes_it_new(
        self, blobs: Blobs, pass_time: Callable[[float], None]
    ) -> None:
        await blobs.put(CONTENT)
        pass_time(100)
        looked = await blobs.hashes(older_than=100)
        await blobs.put(CONTENT)
        assert looked == [KEY]
        assert await blobs.delete(looked, older_than=100) == 0
        assert await blobs.read(KEY) == CONTENT
        assert await blobs.hashes(older_than=100) == []

    async def test_nothing_is_deleted_while_somebody_keeps_the_blobs(self, blobs: Blobs) -> None:
        await blobs.put(CONTENT)
        async with blobs.keeping():
            async with blobs.keeping():
                assert await blobs.delete([KEY]) == 0
            assert await blobs.delete([KEY]) == 0
            other, _ = await blobs.put(b"keeping hinders nobody who stores")
            assert await blobs.hashes() == sorted([KEY, other])
        assert await blobs.delete([KEY]) == 1

    async def test_deleting_says_how_many_there_were(self, blobs: Blobs) -> None:
        assert await blobs.delete([KEY]) == 0
        await blobs.put(CONTENT)
        assert await blobs.delete([KEY, NOWHERE, KEY]) == 1
