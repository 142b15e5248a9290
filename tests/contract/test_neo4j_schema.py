"""The schema of a Neo4j database: made by several processes at once, killed in the middle or not, and
read by the release before."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

import places
from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.adapters.neo4j.migrations import LATEST, MIGRATIONS, Migration, applied, migrate
from rag_engine.testing.drafts import DIMENSIONS, MODEL, ingest
from rag_engine.testing.observation import differences, observed
from rag_engine.testing.store_contract import A2, A, B

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

REPLICAS: Final = 3
KILLS: Final = int(os.environ.get("KILLS", "2"))
MADE: Final = re.compile(
    r"CREATE (CONSTRAINT|INDEX) (\w+) IF NOT EXISTS FOR \(n:(\w+)\) "
    r"(?:REQUIRE|ON) \(?((?:n\.\w+(?:, )?)+)\)?(?: IS UNIQUE)?$"
)
DROPPED: Final = re.compile(r"DROP (?:CONSTRAINT|INDEX) (\w+) IF EXISTS$")
CONTRACTS: Final = re.compile(r"^contracts_(\d{4})_")

REPLICA: Final = """
import asyncio, json, sys
from rag_engine.adapters.neo4j import Address, Neo4jControl

async def start(address, **how):
    control = Neo4jControl(Address(**address), **how)
    workspace = await control.open("default", create=True)
    print(await workspace.queue.seconds_to_next(), flush=True)
    await control.aclose()

given = json.loads(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(start(**given))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A constraint or an index."""

    kind: str
    label: str
    properties: tuple[str, ...]


def parts_of(migrations: Sequence[Migration]) -> dict[str, Part]:
    """What is there after these migrations, by name."""
    parts: dict[str, Part] = {}
    for statement in (one for migration in migrations for one in migration.statements):
        if made := MADE.match(statement):
            properties = tuple(one.removeprefix("n.") for one in made[4].split(", "))
            parts[made[2]] = Part(kind=made[1], label=made[3], properties=properties)
        elif dropped := DROPPED.match(statement):
            parts.pop(dropped[1], None)
    return parts


# The rule


def breaches(migrations: Sequence[Migration]) -> list[str]:
    """Where migrations break the rule that stands in `migrations/__init__.py`."""
    found = []
    for migration in migrations:
        said = CONTRACTS.match(migration.name)
        since = int(said[1]) if said else 0
        replaced = parts_of([one for one in migrations if one.number < since < migration.number])
        for statement in migration.statements:
            dropped = DROPPED.match(statement)
            if dropped and dropped[1] not in replaced:
                found.append(f"{migration.number} drops what the release before needs: {statement}")
            elif not dropped and not MADE.match(statement):
                found.append(f"{migration.number} does what no test knows to be safe: {statement}")
    return found


def test_migrations_are_numbered_without_gaps_and_expand_before_they_contract() -> None:
    assert [one.number for one in MIGRATIONS] == list(range(1, LATEST + 1))
    assert breaches(MIGRATIONS) == []


def test_the_rule_finds_what_breaks_it() -> None:
    def after_the_first(*migrations: tuple[str, str]) -> list[str]:
        made = "CREATE INDEX old IF NOT EXISTS FOR (n:A) ON (n.x)"
        all_ = (("initial", made), *migrations)
        return breaches(
            [
                Migration(number=number, name=name, statements=(statement,))
                for number, (name, statement) in enumerate(all_, 1)
            ]
        )

    replaced = ("new", "CREATE INDEX new IF NOT EXISTS FOR (n:A) ON (n.x, n.y)")
    drop = "DROP INDEX old IF EXISTS"
    assert after_the_first(replaced, ("contracts_0002_new", drop)) == []
    assert len(after_the_first(("in_one_step", drop))) == 1
    assert len(after_the_first(replaced, ("unsaid", drop))) == 1
    assert len(after_the_first(replaced, ("contracts_0001_too_much", drop))) == 1
    assert len(after_the_first(replaced, ("contracts_0003_itself", drop))) == 1
    assert len(after_the_first(replaced, ("contracts_0002_bare", "DROP INDEX old"))) == 1
    assert len(after_the_first(("twice", "CREATE INDEX new FOR (n:A) ON (n.x)"))) == 1
    assert len(after_the_first(("data", "MATCH (n:A) REMOVE n.x"))) == 1


# Several replicas


@pytest.fixture
async def database(address: Address) -> AsyncIterator[Connection]:
    one = Connection(address)
    yield one
    await migrate(one)  # whatever happened, for the tests that follow
    await one.aclose()


async def empty(database: Connection) -> None:
    """Take away what migrations make."""
    for name, part in parts_of(MIGRATIONS).items():
        await database.run(f"DROP {part.kind} {name} IF EXISTS", write=True)
    await database.run("MATCH (m:Migration) DELETE m", write=True)
    assert await schema(database) == {}


async def schema(database: Connection) -> dict[str, Part]:
    """What is there of what migrations make, by name."""
    ours, parts = parts_of(MIGRATIONS), dict[str, Part]()
    await database.run("CALL db.awaitIndexes(60)")  # who made them need not wait for it
    for kind, show in (("CONSTRAINT", "SHOW CONSTRAINTS"), ("INDEX", "SHOW INDEXES")):
        for row in await database.run(show):
            if row["name"] in ours and row["name"] not in parts:  # a constraint has an index, too
                assert row.get("state", "ONLINE") == "ONLINE", row
                label, properties = row["labelsOrTypes"][0], tuple(row["properties"])
                parts[row["name"]] = Part(kind=kind, label=label, properties=properties)
    return parts


async def recorded(database: Connection) -> list[int]:
    rows = await database.run("MATCH (m:Migration) RETURN m.number AS number ORDER BY number")
    return [row["number"] for row in rows]


def replica(address: Address, namespace: str) -> subprocess.Popen[str]:
    """A process that is about to open a workspace."""
    how = {"namespace": namespace, "model": MODEL, "dimensions": DIMENSIONS}
    given = json.dumps({"address": asdict(address), **how})
    one = subprocess.Popen(
        [sys.executable, "-c", REPLICA, given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert one.stdout is not None
    assert one.stdout.readline() == "ready\n"
    return one


async def race(address: Address, namespace: str, killed_after: float | None) -> None:
    """Start several replicas at once, and kill one of them on its way if that is asked for."""
    replicas = [await asyncio.to_thread(replica, address, namespace) for _ in range(REPLICAS)]
    for one in replicas:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    if killed_after is not None:
        await asyncio.sleep(killed_after)
        replicas[0].kill()
    for one in replicas:
        said, complained = await asyncio.to_thread(one.communicate, timeout=60)
        may_be_dead = one is replicas[0] and killed_after is not None
        assert one.returncode in ((0, -signal.SIGKILL) if may_be_dead else (0,)), complained
        assert said == "None\n" or one.returncode


async def test_replicas_that_start_at_once_on_an_empty_neo4j_make_its_schema_once(
    address: Address, database: Connection
) -> None:
    """Also when one of them is killed in the middle, and when there was a part of it already."""
    await migrate(database)
    whole = await schema(database)
    assert whole == parts_of(MIGRATIONS)
    random = Random(1)
    for killed_after in (None, *(random.uniform(0.0, 1.0) for _ in range(KILLS))):
        await empty(database)
        namespace = uuid4().hex
        await race(address, namespace, killed_after)
        assert await schema(database) == whole
        assert await recorded(database) == list(range(1, LATEST + 1))
        rows = await database.run(
            f"MATCH (w:Workspace {{namespace: '{namespace}'}}) RETURN w.number AS n"
        )
        assert len(rows) == 1
        for index in ("rag_words", "rag_chunks"):
            await database.run(f"DROP INDEX {index}_w{rows[0]['n']} IF EXISTS", write=True)


async def test_a_neo4j_schema_that_was_cut_off_anywhere_is_completed(
    address: Address, database: Connection
) -> None:
    await migrate(database)
    whole = await schema(database)
    statements = MIGRATIONS[0].statements
    for made in (1, len(statements) // 2, len(statements)):
        await empty(database)
        for statement in statements[:made]:
            await database.run(statement, write=True)
        assert await applied(database) == 0
        await migrate(database)
        assert await schema(database) == whole
        assert await recorded(database) == list(range(1, LATEST + 1))


async def test_this_release_works_on_the_neo4j_schema_of_the_next_one(
    address: Address, database: Connection
) -> None:
    """Opened before it expanded, and after; what the next one adds to nodes is left alone."""
    expanding = (
        "CREATE INDEX later_chunk IF NOT EXISTS FOR (n:ChunkRecord) ON (n.workspace, n.later)",
        "CREATE CONSTRAINT later_kind IF NOT EXISTS FOR (n:Later) REQUIRE n.id IS UNIQUE",
        "MATCH (n:ChunkRecord|VersionRecord|Document|Entity|Workspace) SET n.later = 1",
    )
    names: dict[str, Any] = {"namespace": uuid4().hex, "model": MODEL, "dimensions": DIMENSIONS}
    controls = [Neo4jControl(address, indexed=False, **names) for _ in range(2)]
    try:
        before = await controls[0].open("default", create=True)
        await ingest(before, A)
        for statement in expanding:
            await database.run(statement, write=True)
        await database.run("record_migration", write=True, number=LATEST + 1, name="later")
        await ingest(before, B)
        after = await controls[1].open("default")
        await ingest(after, A2)
        await before.store.delete(["b"])
        async with places.opened("memory", "default") as [alone]:
            await ingest(alone, A, A2)
            right = await observed(alone)
        assert differences(right, await observed(before)) == []
        assert differences(right, await observed(after)) == []
        assert await applied(database) == LATEST + 1
    finally:
        for undo in (
            f"MATCH (m:Migration) WHERE m.number = {LATEST + 1} DELETE m",
            "DROP INDEX later_chunk IF EXISTS",
            "DROP CONSTRAINT later_kind IF EXISTS",
            "MATCH (n) WHERE n.later IS NOT NULL REMOVE n.later",
        ):
            await database.run(undo, write=True)
        for control in controls:
            await control.aclose()
