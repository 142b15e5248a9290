"""Blobs when the disk is full: said as what it is, and nothing half-written stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.errors import DocumentUnreadable, StoreFull


@pytest.mark.parametrize("content", [b"small", b"x" * 3_000_000])
async def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    def full(handle: int, mode: str, buffering: int = -1) -> object:
        os.close(handle)
        # Linux gives every writer of this device "no space left".
        return Path("/dev/full").open(mode, buffering=buffering)

    if not Path("/dev/full").exists():
        pytest.skip("only Linux has /dev/full")
    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(StoreFull, match=r"full.*Free some space"):
        await FolderBlobs(tmp_path / "blobs").put(content)
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


async def test_a_file_that_cannot_be_read_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(DocumentUnreadable, match=r"nowhere\.txt"):
        await FolderBlobs(tmp_path / "blobs").put(tmp_path / "nowhere.txt")
