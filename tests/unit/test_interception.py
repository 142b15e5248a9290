"""Faults and crash points reach every method of every port, and do what they say."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import AbstractAsyncContextManager, aclosing, closing
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

import places
from rag_engine.adapters.blobs import FolderBlobs
from rag_engine.adapters.memory import MemoryControl
from rag_engine.adapters.models.fake import HashEmbedder, ScriptedChat
from rag_engine.adapters.sqlite import connection as connections
from rag_engine.adapters.sqlite.migrations import migrate
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.errors import (
    BlobMissing,
    ModelOverloaded,
    ModelUnavailable,
    RagEngineError,
    StoreFull,
    StoreUnavailable,
)
from rag_engine.ports import blobs, idempotency, models, queue, storage
from rag_engine.ports.models import Message
from rag_engine.testing import interception
from rag_engine.testing.crash_points import CrashPoints, points
from rag_engine.testing.faults import Fault, FaultKind, Faults, always, drawn, faulty, scripted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rag_engine.ports.storage import Workspace

ERROR = Fault(kind=FaultKind.ERROR)
QUESTION = [Message(role="user", content="?")]


class Anything:
    """A port whose methods are there, and must not be called."""

    def __getattr__(self, name: str) -> Any:
        def method(*_: object) -> None:
            raise AssertionError(name)

        return method


async def call(name: str, faults: Faults) -> None:
    port, method = name.split(".")[:2]
    result = getattr(faulty(port, Anything(), faults), method)()
    if isinstance(result, AbstractAsyncContextManager):
        async with result:
            pass
    elif inspect.isasyncgen(result):
        await anext(result)
    else:
        await result


def test_every_protocol_of_the_ports_can_be_intercepted() -> None:
    protocols = {
        found
        for module in (storage, queue, blobs, idempotency, models)
        for found in vars(module).values()
        if getattr(found, "_is_protocol", False) and found.__module__ == module.__name__
    }
    assert protocols == set(interception.PORTS.values())
    methods = {
        f"{port}.{name}"
        for port, protocol in interception.PORTS.items()
        for name, found in vars(protocol).items()
        if not name.startswith("_") and not isinstance(found, property)
    }
    pieces = {"chat.complete.piece", "contents.read.piece"}
    assert methods | pieces == set(interception.calls())


@pytest.mark.parametrize(
    "name", [one for one in interception.calls() if not one.endswith(".piece")]
)
async def test_a_fault_reaches_every_method_of_every_port(name: str) -> None:
    faults = Faults(always(name, ERROR))
    expected: type[RagEngineError] = StoreUnavailable
    if name.partition(".")[0] in ("parser", "extractor", "embedder", "chat"):
        expected = ModelUnavailable
    with pytest.raises(expected, match=f"'{name}' met the fault 'error'. Try again."):
        await call(name, faults)
    assert faults.calls == Counter({name: 1})
    assert faults.injected == [(name, 1, ERROR)]


async def workspace(faults: Faults) -> Workspace:
    control = faulty("control", MemoryControl(places.Clock(), "m", 8), faults)
    return await control.open("default", create=True)


async def test_what_is_opened_is_intercepted_too() -> None:
    faults = Faults()
    opened = await workspace(faults)
    async with opened.store.snapshot() as reader:
        await reader.stats()
        assert reader.counter == 0
    await opened.queue.seconds_to_next()
    assert list(faults.calls) == [
        "control.open",
        "store.snapshot",
        "reader.stats",
        "queue.seconds_to_next",
    ]


async def test_a_script_names_the_call_and_which_one(tmp_path: Path) -> None:
    faults = Faults(scripted({"blobs.put": {2: ERROR}}))
    blobs = faulty("blobs", FolderBlobs(tmp_path), faults)
    await blobs.put(b"1")
    with pytest.raises(StoreUnavailable):
        await blobs.put(b"2")
    await blobs.put(b"3")
    assert len(await blobs.hashes()) == 2
    assert faults.calls == Counter({"blobs.put": 3, "blobs.hashes": 1})


@pytest.mark.parametrize(
    ("kind", "made", "waits", "raises"),
    [
        (FaultKind.ERROR, False, False, True),
        (FaultKind.TIMEOUT, False, True, True),
        (FaultKind.SLOW, True, True, False),
        (FaultKind.APPLIED_THEN_TIMEOUT, True, True, True),
    ],
)
async def test_what_each_kind_does(
    tmp_path: Path, kind: FaultKind, made: bool, waits: bool, raises: bool
) -> None:
    faults = Faults(always("blobs.put", Fault(kind=kind, seconds=0.05)))
    folder = FolderBlobs(tmp_path)
    began, raised = time.monotonic(), False
    try:
        await faulty("blobs", folder, faults).put(b"1")
    except StoreUnavailable:
        raised = True
    assert raised is raises
    assert (time.monotonic() - began >= 0.05) is waits
    assert bool(await folder.hashes()) is made


async def test_a_method_that_is_no_coroutine_loses_its_answer_too() -> None:
    for kind, raises in ((FaultKind.APPLIED_THEN_TIMEOUT, True), (FaultKind.SLOW, False)):
        faults = Faults(always("embedder.count_tokens", Fault(kind=kind)))
        embedder = faulty("embedder", HashEmbedder(), faults)
        if raises:
            with pytest.raises(ModelUnavailable):
                embedder.count_tokens(["one"])
        else:
            assert embedder.count_tokens(["one"]) == [1]
    assert embedder.name == HashEmbedder().name


async def test_the_error_may_be_chosen(tmp_path: Path) -> None:
    faults = Faults(always("blobs.put", Fault(kind=FaultKind.ERROR, error=StoreFull)))
    with pytest.raises(StoreFull):
        await faulty("blobs", FolderBlobs(tmp_path), faults).put(b"1")
    overloaded = partial(ModelOverloaded, retry_after=7)
    faults = Faults(always("embedder.embed", Fault(kind=FaultKind.ERROR, error=overloaded)))
    with pytest.raises(ModelOverloaded) as caught:
        await faulty("embedder", HashEmbedder(), faults).embed(["one"], "query")
    assert caught.value.retry_after == 7


async def test_a_stream_breaks_in_its_middle() -> None:
    chat = ScriptedChat(["one two three"], piece=4)
    faults = Faults(scripted({"chat.complete.piece": {3: ERROR}}))
    stream = faulty("chat", chat, faults).complete(QUESTION)
    assert [(await anext(stream)).text for _ in range(2)] == ["one ", "two "]
    with pytest.raises(ModelUnavailable):
        await anext(stream)


async def test_a_stream_that_nobody_reads_to_its_end_is_closed() -> None:
    closed = False

    class Talker(ScriptedChat):
        async def complete(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal closed
            try:
                async for delta in super().complete(*args, **kwargs):
                    yield delta
            finally:
                closed = True

    async with aclosing(faulty("chat", Talker(["a b c"]), Faults()).complete(QUESTION)) as stream:
        await anext(stream)
    assert closed


async def test_what_was_entered_is_left_when_the_answer_is_lost(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    hash, _ = await blobs.put(b"1")
    lost = Fault(kind=FaultKind.APPLIED_THEN_TIMEOUT)
    with pytest.raises(StoreUnavailable):
        async with faulty("blobs", blobs, Faults(always("blobs.local", lost))).local(hash):
            raise AssertionError
    with pytest.raises(BlobMissing):
        async with faulty("blobs", blobs, Faults()).local("f" * 64):
            raise AssertionError


async def test_chance_is_repeated_by_its_seed() -> None:
    async def met(seed: int) -> Sequence[int]:
        plan = drawn(Random(seed), {"queue": 0.3, "queue.version": 0.0}, [ERROR])
        faults = Faults(plan)
        opened = await workspace(faults)
        for _ in range(50):
            assert await opened.queue.version("a") is None
            try:
                await opened.queue.seconds_to_next()
            except StoreUnavailable:
                await asyncio.sleep(0)
        return [number for _, number, _ in faults.injected]

    assert await met(1) == await met(1) != await met(2)
    assert 5 < len(await met(1)) < 30


def test_points_are_named_once_and_only_those_that_write() -> None:
    names = points(SQL)
    assert len(names) == len(set(names))
    assert {"queue.accept:before", "store.finish:after", "stage.embed"} <= set(names)
    assert {"sqlite.begin", "sqlite.commit", "sqlite.show_version", "file.replace:after"} <= set(
        names
    )
    assert "sqlite.documents_after" not in names


@pytest.mark.parametrize("statements", [SQL, dict(reversed(SQL.items()))])
def test_statements_are_told_apart_whatever_their_values(
    tmp_path: Path, statements: Mapping[str, str]
) -> None:
    crash = CrashPoints()
    with closing(
        crash.connecting(connections.connect, statements)(tmp_path / "f", create=True)
    ) as connection:
        migrate(connection, tmp_path / "f")
        crash.reached.clear()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(SQL["add_meta"], ("it's ' AND row <> 1", -1.5e9))
        connection.execute(SQL["trim_removed"], (1,))
        connection.execute(SQL["forget_versions"], (1,))
        connection.execute(SQL["forget_old_versions"], (1, 2))
        connection.executemany(SQL["unstage_chunks"], [(1,), (2,)])
        connection.execute(SQL["all_meta"]).fetchall()
        connection.execute("COMMIT")
    assert dict(crash.reached) == {
        "sqlite.begin": 1,
        "sqlite.add_meta": 1,
        "sqlite.trim_removed": 1,
        "sqlite.forget_versions": 1,
        "sqlite.forget_old_versions": 1,
        "sqlite.unstage_chunks": 2,
        "sqlite.commit": 1,
    }


async def test_a_blob_is_flushed_before_and_after_it_gets_its_name(tmp_path: Path) -> None:
    crash, before = CrashPoints(), (os.fsync, os.replace)
    with crash.files():
        await FolderBlobs(tmp_path).put(b"1")
    assert (os.fsync, os.replace) == before
    assert list(crash.reached) == [
        f"{one}:{side}"
        for one in ("file.fsync", "file.replace", "folder.fsync")
        for side in ("before", "after")
    ]


def test_it_dies_at_the_point_and_at_the_time_it_was_told() -> None:
    program = (
        "from rag_engine.testing.crash_points import CrashPoints\n"
        "crash = CrashPoints('here', 2)\n"
        "for point in ('here', 'there', 'here', 'never'):\n"
        "    print(point, flush=True)\n"
        "    crash.reach(point)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == [b"here", b"there", b"here"]
