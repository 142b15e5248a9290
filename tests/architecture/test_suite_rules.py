"""The suite guards itself: blocking calls, sockets and stray settings do not pass unseen."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError
from pytest_socket import SocketConnectBlockedError

from rag_engine.adapters.blobs import folder as blobs

_REFUSED = (SocketConnectBlockedError, UserWarning)  # warnings are errors here


async def test_a_blocking_call_of_ours_in_the_event_loop_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def at_once(function: object, *arguments: object) -> object:
        return function(*arguments)  # type: ignore[operator]

    monkeypatch.setattr(blobs.asyncio, "to_thread", at_once)
    with pytest.raises(BlockingError):
        await blobs.FolderBlobs(tmp_path / "blobs").put(b"content")


async def test_what_tests_do_themselves_may_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    time.sleep(0)  # noqa: ASYNC251


def test_only_this_machine_can_be_reached() -> None:
    with socket.socket() as one, pytest.raises(_REFUSED):
        one.connect(("192.0.2.1", 80))


def test_no_setting_comes_from_outside() -> None:
    assert [name for name in os.environ if name.startswith("RAG_")] == []
