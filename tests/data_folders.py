# ruff: noqa: S608 - the names of our tables
"""A data folder from outside: opened, verified, repaired, and damaged on purpose."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from engines import small_engine
from rag_engine import Engine, upkeep
from rag_engine.adapters.sqlite import SqliteInspector
from rag_engine.core.models import Document
from rag_engine.ports.inspection import Damage
from rag_engine.testing.observation import Observed, observed


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Engine]:
    engine = await small_engine(folder)
    try:
        yield engine
    finally:
        await engine.aclose()


async def state(folder: Path, workspace: str = "default") -> Observed:
    async with opened(folder) as engine:
        return await observed(await engine.workspace(workspace))


def timeless(state: Observed) -> Observed:
    """What of an observation does not depend on how often a document was ingested."""
    documents: Any = state["documents"]
    chunks: Any = state["chunks"]
    return {name: state[name] for name in ("entities", "relations", "stats")} | {
        "documents": {id: one | {"version": 0} for id, one in documents.items()},
        "texts": {name: (one["text"], one["start"], one["end"]) for name, one in chunks.items()},
    }


async def verified(folder: Path) -> list[Damage]:
    async with opened(folder) as engine:
        found = upkeep.verify(engine, SqliteInspector(folder))
        return [one async for one in found if isinstance(one, Damage)]


async def repaired(folder: Path) -> tuple[Damage, ...]:
    async with opened(folder) as engine:
        return (await upkeep.repair(engine, SqliteInspector(folder))).left


def database(folder: Path, number: int = 1) -> Path:
    return folder / "workspaces" / f"{number:04d}.sqlite"


def execute(folder: Path, *statements: str, number: int = 1) -> None:
    with closing(sqlite3.connect(database(folder, number))) as connection, connection:
        for one in statements:
            assert connection.execute(one).rowcount != 0, one


async def document(folder: Path, id: str = "lighthouse") -> Document:
    async with opened(folder) as engine:
        return await engine.document(id)


def blob(folder: Path, hash: str) -> Path:
    return folder / "blobs" / hash[:2] / hash


def flip_bit_of_vector(folder: Path, table: str, key: str, row: object) -> None:
    """The lowest bit of a mantissa: no check of lengths or norms would see it."""
    with closing(sqlite3.connect(database(folder))) as connection, connection:
        [(vector,)] = connection.execute(f"SELECT vector FROM {table} WHERE {key} = {row}")
        content = bytearray(vector)
        place = next(i for i in range(0, len(content), 2) if content[i] or content[i + 1])
        content[place] ^= 1
        connection.execute(f"UPDATE {table} SET vector = ? WHERE {key} = {row}", (bytes(content),))


def flip(path: Path, at: int = 10) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x04
    path.write_bytes(content)


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage_in_a_page(path: Path, table: str = "chunk") -> None:
    """In a leaf of a table, where its first rows stand."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = connection.execute(
            f"SELECT min(pageno) FROM dbstat WHERE name = '{table}' AND pagetype = 'leaf'"
        )
        [(size,)] = connection.execute("PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
