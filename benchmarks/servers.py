"""The Neo4j server that benchmarks use."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rag_engine.adapters.neo4j import Address
from rag_engine.adapters.neo4j.connection import Connection

SCRIPT: Final = Path(__file__).parents[1] / "tests/support/neo4j/neo4j-server"
PASSWORD: Final = "not-a-secret"  # noqa: S105 - of a server that listens on this machine only


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that answers; with its folder, if it was started here."""

    address: Address
    home: Path | None = None


@contextmanager
def serving(version: str, home: Path, *, port: int, heap: str, pagecache: str) -> Iterator[Server]:
    """The server that `NEO4J_URI` names, or one that runs on a folder for the time of the context.

    Args:
        version: Of the server to be started.
        home: Its folder; what is in it stays.
        port: Of bolt; the next one is that of HTTP.
        heap: Size of its heap, as `1g`.
        pagecache: Size of its page cache.
    """
    if uri := os.environ.get("NEO4J_URI"):
        user, password = os.environ.get("NEO4J_USERNAME", "neo4j"), os.environ["NEO4J_PASSWORD"]
        yield Server(address=Address(uri=uri, username=user, password=password))
        return
    ports = ["--bolt-port", str(port), "--http-port", str(port + 1), "--password", PASSWORD]
    sizes = ["--heap", heap, "--pagecache", pagecache, "--no-apoc"]
    subprocess.run([SCRIPT, "start", version, "--home", home, *ports, *sizes], check=True)
    try:
        address = Address(uri=f"bolt://127.0.0.1:{port}", password=PASSWORD)
        yield Server(address=address, home=home)
    finally:
        subprocess.run([SCRIPT, "stop", "--home", home], check=True)


async def vectors_indexed(connection: Connection, namespace: str) -> str:
    """The name of the vector index of a namespace's one workspace, once it has all there is."""
    [row] = await connection.run(
        "MATCH (w:Workspace {namespace: $namespace}) RETURN w.number AS number", namespace=namespace
    )
    marked = f"MATCH (c:Marked_w{row['number']}) RETURN count(c) AS count"
    while (await connection.run(marked))[0]["count"]:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    await connection.run("CALL db.awaitIndexes(3600)")
    return f"rag_chunks_w{row['number']}"
