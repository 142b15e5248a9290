"""A workspace moves between stores, in every direction, and nobody who looks at it can tell."""

from __future__ import annotations

import json
import zipfile
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import places
from engines import put, small_engine
from rag_engine import Question
from rag_engine.adapters.memory import MemoryControl
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.neo4j import Neo4jControl
from rag_engine.archive import export_workspace, import_workspace
from rag_engine.core.edits import Alias, Fact, Suppression
from rag_engine.testing.observation import differences, observe

if TYPE_CHECKING:
    from pathlib import Path

    from rag_engine import Engine
    from rag_engine.ports.storage import Control

QUESTIONS = ("Who built the lighthouse of Farne?", "Where was Ada Brand born?", "What do seals do?")
EDITS = (
    Alias(source="Ada Brand", target="Ada"),
    Alias(source="Keeper", target="Ada Brand"),
    Suppression(name="Whitby"),
    Suppression(name="Farne", other="Leeds"),
)


def silent(doing: str, done: int, total: int) -> None:
    assert done <= total, doing


async def opened(stack: AsyncExitStack, store: str, folder: Path) -> Engine:
    control: Control | None = None
    embedder = HashEmbedder()
    if store == "memory":
        control = MemoryControl(places.Clock(), embedder.name, embedder.dimensions)
    if store == "neo4j":
        try:
            address = places.neo4j_address()
        except places.MissingStore as error:
            pytest.skip(str(error))
        control = Neo4jControl(
            address,
            model=embedder.name,
            dimensions=embedder.dimensions,
            namespace=uuid4().hex,
            indexed=False,
        )
    engine = await small_engine(folder, embedder=embedder, control=control)
    stack.push_async_callback(engine.aclose)
    return engine


async def fill(engine: Engine) -> None:
    """Documents replaced and deleted, metadata of every type, edits, facts, one that waits."""
    texts = {
        "lighthouse": "# The lighthouse\n\nThe lighthouse of Farne was built by Ada Brand in 1843.",
        "brand": "# Ada Brand\n\nAda Brand was born in Whitby. The Keeper kept bees in Farne.",
        "gone": "# Gone\n\nA ghost was seen in Whitby.",
        "灯台": "# 灯台\n\n灯台はファーンにある。Ada Brand が建てた。",
    }
    for number, (id, text) in enumerate(texts.items()):
        metadata = {"tags": ("a", "b"), "year": 1843 + number, "depth": 0.1, "done": number % 2 > 0}
        await put(engine, id, text, metadata=metadata, root="/notes", title=f"Title of {id}")
    await put(engine, "brand", f"{texts['brand']} Ada Brand moved to Leeds.")
    await engine.delete(["gone"])
    for edit in EDITS:
        await engine.edit(edit)
    await engine.add_fact(Fact(name="Ada Brand", target="Leeds", description="She died there."))
    await engine.work()
    await engine.submit(b"Seals lie on Farne.", document_id="seals", source="seals.md")


async def state(engine: Engine) -> dict[str, object]:
    workspace = await engine.workspace()
    async with workspace.store.snapshot() as reader:
        found: dict[str, object] = dict(await observe(reader))
    found["facts"] = (await engine.edits()).facts
    versions = await workspace.queue.versions(limit=100)
    found["versions"] = {one.document_id: (one.number, one.submission) for one in versions}
    for question in QUESTIONS:
        answer = await engine.query(Question(text=question))
        found[question] = (answer.text, [one.document_id for one in answer.references])
    return found


def contents(archive: Path) -> dict[str, Any]:
    """What an archive holds, but for the times at which documents were written."""
    with zipfile.ZipFile(archive) as file:
        raw = {name: file.read(name) for name in file.namelist()}
    found: dict[str, Any] = {
        name: json.loads(content) if name.endswith(".json") else content
        for name, content in raw.items()
    }
    for name, entry in found.items():
        if name.startswith("documents/") and name.endswith(".json"):
            for one in entry["documents"]:
                one["document"].update(created_at=0, updated_at=0)
    return found


@pytest.mark.parametrize(
    ("here", "there"),
    [("sqlite", "memory"), ("sqlite", "neo4j"), ("neo4j", "sqlite"), ("neo4j", "neo4j")],
)
async def test_a_workspace_goes_there_and_back(tmp_path: Path, here: str, there: str) -> None:
    async with AsyncExitStack() as stack:
        first = await opened(stack, here, tmp_path / "first")
        second = await opened(stack, there, tmp_path / "second")
        third = await opened(stack, here, tmp_path / "third")
        await fill(first)
        archives = [tmp_path / f"{number}.zip" for number in range(3)]
        for source, target, archive in ((first, second, archives[0]), (second, third, archives[1])):
            await export_workspace(source, "default", archive, silent)
            done = await import_workspace(target, "default", archive, silent)
            assert (done.written, done.kept, done.waiting, done.contradicted) == (4, 0, 1, 0)
        await export_workspace(third, "default", archives[2], silent)
        before = await state(first)
        for engine in (second, third):
            assert differences(before, await state(engine), tolerance=1e-6) == []
        assert contents(archives[0]) == contents(archives[1]) == contents(archives[2])
        # And goes on alike: what waited is ingested, what was edited is undone.
        for engine in (first, second, third):
            await engine.work()
            for edit in reversed(EDITS):
                await engine.undo(edit.id)
        before = await state(first)
        for engine in (second, third):
            assert differences(before, await state(engine), tolerance=1e-6) == []
