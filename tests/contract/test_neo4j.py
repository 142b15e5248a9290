"""What the store on Neo4j promises beyond the ports: costs, old views, interleaved writes, people's
own Cypher."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest

import places
from rag_engine.adapters.models.fake import HashEmbedder
from rag_engine.adapters.neo4j import Neo4jControl, arrivals, connection, indexing, outdated
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.adapters.neo4j.migrations import LATEST, migrate
from rag_engine.adapters.neo4j.store import Neo4jStore
from rag_engine.core.edits import Alias
from rag_engine.core.models import Extraction, Mention, Stage
from rag_engine.errors import ConfigurationError, StoreTooNew, StoreUnavailable
from rag_engine.retrieval.retrieve import ask as look_for
from rag_engine.retrieval.retrieve import retrieve
from rag_engine.settings import load
from rag_engine.testing.drafts import (
    DIMENSIONS,
    LEASE,
    MEDIA_TYPE,
    MODEL,
    WORKER,
    Draft,
    Passage,
    claim,
    id_of,
    ingest,
    int64,
    lattice,
    mentioning,
    put,
    stage,
    told,
    work,
)
from rag_engine.testing.observation import differences, observe, observed
from rag_engine.testing.store_contract import A2, A, B
from rag_engine.wiring import control_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rag_engine.adapters.neo4j import Address
    from rag_engine.ports.storage import Control, Workspace

BROWSER = Path(__file__).parents[2] / "docs/how-to/use-neo4j.md"


class Sent:
    """The statements that were sent, by name."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    monkeypatch.setattr(indexing, "_PAUSE", 3600.0)  # what goes on in the background costs nobody
    return Sent()


@pytest.fixture
async def opening(address: Address, sent: Sent) -> AsyncIterator[Callable[..., Neo4jControl]]:
    """Opens controls over one namespace, and closes them."""
    namespace, controls = uuid4().hex, list[Neo4jControl]()

    def make(**how: Any) -> Neo4jControl:
        given = {"namespace": namespace, "indexed": False, "count": sent, **how}
        at = given.pop("address", address)
        controls.append(Neo4jControl(at, model=MODEL, dimensions=DIMENSIONS, **given))
        return controls[-1]

    yield make
    for control in controls:
        await control.aclose()


@pytest.fixture
async def workspace(opening: Callable[..., Neo4jControl]) -> Workspace:
    return await opening().open("default", create=True)


# What it costs


async def _nothing(self: object) -> None:
    pass


async def test_a_document_and_a_question_cost_a_bounded_number_of_round_trips(
    workspace: Workspace, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the document, from its submission to its being visible; commits count, too."""
    monkeypatch.setattr(outdated.Outdated, "remove_some", _nothing)  # twice a minute at most
    passages = tuple(
        Passage(text=f"Ann met B{n}", extraction=told("Ann", f"B{n}", pairs=[("Ann", f"B{n}")]))
        for n in range(60)
    )
    large, small = Draft(id="large", passages=passages), Draft(id="small", passages=passages[:1])
    counts = {}
    for draft in (small, large, replace(large, title="again")):
        sent.taken()
        await workspace.queue.accept(draft.submission)
        lease = (await claim(workspace)).lease
        await workspace.queue.checkpoint(lease, Stage.PARSE, media_type="text/plain")
        await stage(workspace.store, lease, draft.evidence(lease.version))
        await workspace.store.finish(lease)
        counts[draft.title, draft.id] = sent.taken()
    for names in counts.values():
        print(names)
        assert max(Counter(names).values()) == 1
        assert len(names) <= 12
    async with workspace.store.snapshot():
        sent.taken()
    async with workspace.store.snapshot() as reader:
        hits = await reader.search_text(["ann"], 20)
        await reader.search_dense("chunk", lattice("x")[None, :], 20)
        await reader.search_dense("entity", lattice("x")[None, :], 20)
        await reader.adjacency("chunk", hits.ids)
        found = await reader.chunks(hits.ids.tolist())
        await reader.documents([one.document_id for one in found if one])
        await reader.entities([id_of("Ann"), *(id_of(f"B{n}") for n in range(20))])
        await reader.relations([id_of("Ann")])
        await reader.canonical(["ann"])
        assert await reader.chunks(hits.ids.tolist()) == found  # as the context of an answer does
        await reader.documents([one.document_id for one in found if one])
    names = sent.taken()
    print(names)
    assert len(names) <= 8
    assert (names.count("chunk_records"), names.count("version_records")) == (1, 1)


async def test_the_first_question_after_a_write_costs_a_bounded_number_of_round_trips(
    opening: Callable[..., Neo4jControl], sent: Sent
) -> None:
    workspace, other = [await opening().open("default", create=True) for _ in range(2)]
    embedder = HashEmbedder(dimensions=DIMENSIONS)

    async def ask() -> list[str]:
        sent.taken()
        asked = await look_for("Who met Ann?", embedder=embedder)
        async with workspace.store.snapshot() as reader:
            found = await retrieve(reader, asked, k=9, filter=None)
        assert found.chunks
        return sent.taken()

    await ingest(workspace, mentioning("first", "Ann"))
    await ask()
    for number in range(3):  # by this process, and by another
        for writer in (workspace, other):
            met = Passage(text="Ann met", extraction=told("Ann", f"B{number}"))
            await ingest(writer, Draft(id=f"{number} {writer is other}", passages=(met,)))
            names = await ask()
            print(names)
            assert len(names) <= 8
    assert len(await ask()) <= 3


# Old views


async def test_a_view_that_is_too_old_says_so_and_others_are_exact(
    opening: Callable[..., Neo4jControl], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outdated, "_BATCH", 2)
    workspace = await opening(kept_seconds=0.0).open("default", create=True)
    behind = await opening().open("default")
    await ingest(workspace, A, B)
    await put(workspace.store, Alias(source="Bob", target="Rob"))
    async with workspace.store.snapshot() as old, behind.store.snapshot():
        before = await observe(old)
        await workspace.store.undo(Alias(source="Bob", target="Rob").id)
        await asyncio.sleep(0.01)
        await ingest(workspace, A2)
        await workspace.store.delete(["b"])
        await ingest(workspace, mentioning("c", "Cid"), mentioning("d", "Dan"))
        for _ in range(6):
            await workspace.store.delete(["nobody"])
        with pytest.raises(StoreUnavailable, match="Try again"):
            await old.document_chunks("b")
        with pytest.raises(StoreUnavailable, match="Try again"):
            await old.list_relations()
        assert before["stats"] == (await observe_stats(old))
    fresh = await opening().open("default")
    assert differences(await observed(behind), await observed(fresh)) == []
    assert differences(await observed(workspace), await observed(fresh)) == []
    async with fresh.store.snapshot() as reader:
        assert [one.id for one in (await reader.list_documents()).documents] == ["a", "c", "d"]


async def observe_stats(reader: Any) -> object:
    from dataclasses import asdict

    return asdict(await reader.stats())


async def test_aggregates_that_changed_since_are_worked_out_from_the_view(
    workspace: Workspace, sent: Sent
) -> None:
    await ingest(workspace, A, B)
    async with workspace.store.snapshot() as old:
        before = await old.entities([id_of("river"), id_of("Ann")]), await old.relations(
            [id_of("Bob")]
        )
        await workspace.store.delete(["a"])
        sent.taken()
        assert await old.entities([id_of("river"), id_of("Ann")]) == before[0]
        assert await old.relations([id_of("Bob")]) == before[1]
        assert "chunk_evidence" in sent.taken()


# Writers side by side


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What to do before the next statement of a name, and after each of it (`name:always`)."""
    todo = dict[str, list[Any]]()

    def watched(plain: Any) -> Any:
        async def watching(self: Any, query: str, /, **parameters: Any) -> Any:
            for act in todo.pop(query, []):
                await act()
            found = await plain(self, query, **parameters)
            for act in todo.get(f"{query}:always", []):
                await act()
            return found

        return watching

    monkeypatch.setattr(connection._Begun, "rows", watched(connection._Begun.rows))
    monkeypatch.setattr(Connection, "run", watched(Connection.run))
    return todo


async def test_two_writes_on_one_hub_add_up(
    opening: Callable[..., Neo4jControl], between: dict[str, list[Any]]
) -> None:
    """Both have read before either writes; then one holds the hub until it is done."""
    first = await opening().open("default", create=True)
    second = await opening().open("default")
    await ingest(first, mentioning("before", "Hub"))
    leases = []
    for workspace, id in ((first, "one"), (second, "two")):
        passage = Passage(text=id, extraction=told("Hub", id, pairs=[("Hub", id)]))
        draft = Draft(id=id, passages=(passage,) * 2)
        await workspace.queue.accept(draft.submission)
        job = await workspace.queue.claim(WORKER, LEASE, document_id=id)
        assert job is not None
        await stage(workspace.store, job.lease, draft.evidence())
        leases.append(job.lease)
    barrier, met, inside, most = asyncio.Barrier(2), 0, 0, 0

    async def meet() -> None:
        nonlocal met
        met += 1
        if met <= 2:  # who has to begin again finds nobody there
            await barrier.wait()

    async def enter() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.3)

    async def leave() -> None:
        nonlocal inside
        inside -= 1

    between["finish_basis:always"] = [meet]
    between["write_evidence:always"] = [enter]
    between["commit_write:always"] = [leave]
    await asyncio.gather(first.store.finish(leases[0]), second.store.finish(leases[1]))
    assert most == 1
    async with first.store.snapshot() as reader:
        [hub] = await reader.entities([id_of("Hub")])
        assert hub is not None
        assert hub.mentions == 5
        assert {one.target_name for found in await reader.relations([hub.id]) for one in found} == {
            "one",
            "two",
        }
        edges = await reader.adjacency("entity", int64([hub.id]))
        assert edges.degrees.tolist() == [5]
        stats = await reader.stats()
        assert (stats.documents, stats.entities, stats.relations, stats.mentions) == (3, 3, 2, 9)


async def test_writes_that_wait_for_each_other_are_run_again(
    opening: Callable[..., Neo4jControl], between: dict[str, list[Any]], sent: Sent
) -> None:
    """A version that holds an entity, and an edit that holds the workspace: the server ends one."""
    first = await opening().open("default", create=True)
    second = await opening().open("default")
    await ingest(first, A)
    await first.queue.accept(B.submission)
    lease = (await claim(first)).lease
    parsed = {"media_type": MEDIA_TYPE, "title": "Parsed", "parsed_hash": "of b"}
    await first.queue.checkpoint(lease, Stage.PARSE, **parsed)
    await stage(first.store, lease, B.evidence())
    barrier = asyncio.Barrier(2)

    def meet_once() -> Callable[[], Any]:
        met = False

        async def meet() -> None:
            nonlocal met
            if not met:  # who has to begin again finds nobody there
                met = True
                await barrier.wait()

        return meet

    between["write_evidence:always"] = [meet_once()]
    between["lock_workspace:always"] = [meet_once()]
    alias = Alias(source="Bob", target="Rob")
    sent.taken()
    await asyncio.gather(first.store.finish(lease), put(second.store, alias))
    begun = Counter(sent.taken())
    assert begun["finish_basis"] + begun["server_time"] == 3
    async with places.opened("memory", "default") as [alone]:
        await ingest(alone, A, B)
        await put(alone.store, alias)
        assert differences(await observed(alone), await observed(second)) == []


async def test_an_edit_that_comes_while_a_version_is_finished_holds_for_it(
    opening: Callable[..., Neo4jControl], between: dict[str, list[Any]], address: Address
) -> None:
    patience = replace(address, retry_seconds=0.5)  # less than the first attempt takes
    workspace = await opening(address=patience).open("default", create=True)
    other = await opening().open("default")
    await workspace.queue.accept(A.submission)
    lease = (await claim(workspace)).lease
    await stage(workspace.store, lease, A.evidence())

    async def edit() -> None:
        await put(other.store, Alias(source="Bob", target="Rob"))
        await asyncio.sleep(0.6)

    between["write_evidence"] = [edit]
    await workspace.store.finish(lease)
    async with workspace.store.snapshot() as reader:
        found = await reader.entities([id_of("Bob"), id_of("Rob")])
        assert [one and one.name for one in found] == [None, "Rob"]


async def test_what_is_removed_while_it_is_read_does_not_go_unnoticed(
    opening: Callable[..., Neo4jControl], between: dict[str, list[Any]]
) -> None:
    workspace = await opening(kept_seconds=600.0).open("default", create=True)
    behind = await opening().open("default")
    await ingest(workspace, A, B)
    await observed(behind)
    await ingest(workspace, A2)
    await asyncio.sleep(0.05)

    async def remove() -> None:
        kept = workspace.store._outdated  # type: ignore[attr-defined]
        kept._kept = kept._next = 0.0
        await kept.remove_some()

    between["changes_between"] = [remove]
    seen = await observed(behind)
    fresh = await opening().open("default")
    assert differences(await observed(fresh), seen) == []


async def test_what_goes_while_much_is_read_costs_no_second_reading(
    opening: Callable[..., Neo4jControl],
    between: dict[str, list[Any]],
    sent: Sent,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Page by page: the names of what is gone by then are missing, the pages before are kept."""
    monkeypatch.setattr(arrivals, "_PAGE", 2)
    workspace = await opening().open("default", create=True)
    behind = await opening(count=Sent()).open("default")
    both = Draft(id="both", passages=(Passage(text="x", extraction=told("Ann", "Zoe")),) * 5)
    await ingest(workspace, A, both, mentioning("zoe", "Zoe"), mentioning("bo", "Bo"))

    async def delete() -> None:
        await workspace.store.delete(["both", "zoe"])
        await ingest(workspace, mentioning("again", "Zoe"), mentioning("late", "Lo"))
        await workspace.store.delete(["bo"])

    between["names_in_columns"] = [delete]
    seen = await observed(behind)
    pages = behind.store._connection._count.names.count("chunks_between")  # type: ignore[attr-defined]
    assert pages == 10 // 2 + 1 + 1 + 1
    fresh = await opening().open("default")
    assert differences(await observed(fresh), seen) == []
    monkeypatch.setattr(arrivals, "_PAGE", 5_000)
    whole = await opening().open("default")
    assert differences(await observed(whole), seen) == []


async def test_writes_in_each_others_way_are_run_again_and_add_up(
    opening: Callable[..., Neo4jControl],
) -> None:
    workspaces = [await opening().open("default", create=True) for _ in range(3)]
    names = ("Ann", "Bob", "Cid", "Dan")
    alone = await opening(namespace=uuid4().hex).open("default", create=True)

    def draft(number: int) -> Draft:
        order = [names[(number + n) % 4] for n in range(4)]
        pairs = [(order[0], order[1]), (order[2], order[3])]
        return Draft(
            id=f"d{number}",
            passages=(Passage(text=f"x {number}", extraction=told(*order, pairs=pairs)),),
        )

    async def write(number: int, workspace: Workspace) -> None:
        one = draft(number)
        await workspace.queue.accept(one.submission)
        job = await workspace.queue.claim(WORKER, 10 * LEASE, document_id=one.id)
        assert job is not None
        await work(workspace, job, one)
        if number % 5 == 0:
            await workspace.store.delete([one.id])
        if number % 7 == 3:
            await put(workspace.store, Alias(source="Dan", target="Cid"))

    await asyncio.gather(*(write(n, workspaces[n % 3]) for n in range(15)))
    await put(alone.store, Alias(source="Dan", target="Cid"))
    await ingest(alone, *(draft(n) for n in range(15) if n % 5))
    for workspace in workspaces:
        assert differences(await observed(alone), await observed(workspace)) == []


async def test_leases_are_kept_alive_from_another_event_loop(workspace: Workspace) -> None:
    await workspace.queue.accept(A.submission)
    lease = (await claim(workspace)).lease
    seen: list[object] = []

    async def beat() -> None:
        await workspace.queue.heartbeat(lease, LEASE)
        seen.append(await workspace.queue.version("a", 1))

    thread = threading.Thread(target=lambda: asyncio.run(beat()))
    thread.start()
    thread.join()
    assert seen == [await workspace.queue.version("a")]


# The database


async def test_leases_run_by_the_servers_clock(opening: Callable[..., Neo4jControl]) -> None:
    control = opening()
    workspace = await control.open("default", create=True)
    await workspace.queue.accept(A.submission)
    job = await workspace.queue.claim(WORKER, 0.05)
    assert job is not None
    assert await control.waiting() in ({}, {"default": 0.0})
    await asyncio.sleep(0.1)
    assert await control.waiting() == {"default": 0.0}
    assert await workspace.queue.release_stalled() == 1
    assert await workspace.queue.seconds_to_next() == 0


async def test_a_database_two_releases_ahead_is_refused(
    address: Address, opening: Callable[..., Neo4jControl]
) -> None:
    database = Connection(address)
    await migrate(database)
    for ahead, allowed in ((1, True), (2, False)):
        number = LATEST + ahead
        await database.run("record_migration", write=True, number=number, name="later")
        try:
            if allowed:
                await opening().open("default", create=True)
            else:
                with pytest.raises(StoreTooNew, match="Upgrade"):
                    await opening().open("default", create=True)
        finally:
            forget = f"MATCH (m:Migration) WHERE m.number = {number} DELETE m"
            await database.run(forget, write=True)
    await database.aclose()


async def test_a_wrong_password_is_the_settings_fault(address: Address) -> None:
    wrong = replace(address, password="certainly-not")  # noqa: S106
    control = Neo4jControl(wrong, model=MODEL, dimensions=DIMENSIONS)
    with pytest.raises(ConfigurationError, match="NEO4J_PASSWORD"):
        await control.workspaces()
    await control.aclose()


@pytest.fixture
def chosen(address: Address, monkeypatch: pytest.MonkeyPatch) -> Control:
    monkeypatch.setenv("NEO4J_URI", address.uri)
    monkeypatch.setenv("NEO4J_USERNAME", address.username)
    monkeypatch.setenv("NEO4J_PASSWORD", address.password)
    return control_of(load(), model=MODEL, dimensions=DIMENSIONS)


async def test_settings_choose_the_server(chosen: Control) -> None:
    assert isinstance(chosen, Neo4jControl)
    assert isinstance(await chosen.workspaces(), list)
    await chosen.aclose()


async def test_the_queries_for_people_say_something(
    address: Address, opening: Callable[..., Neo4jControl]
) -> None:
    queries = re.findall(r"```cypher\n(.*?)```", BROWSER.read_text("utf-8"), re.DOTALL)
    assert len(queries) == 10
    workspace = await opening(indexed=True).open("default", create=True)
    farne = Draft(
        id="farne",
        passages=(
            Passage(
                text="Ada Thorne keeps the lamp of Farne",
                extraction=told("Ada Thorne", "Farne", pairs=[("Ada Thorne", "Farne")]),
            ),
        ),
    )
    await ingest(workspace, farne, replace(farne, id="again"))
    database = Connection(address)
    newest = "MATCH (w:Workspace) RETURN w.number AS number ORDER BY number DESC LIMIT 1"
    [row] = await database.run(newest)
    number = row["number"]
    assert isinstance(workspace.store, Neo4jStore)
    await workspace.store.indexing.settle()
    await database.run("CALL db.awaitIndexes(60)")
    for query in queries:
        mine = query.replace("W1", f"W{number}").replace("_w1", f"_w{number}")
        assert await database.run(mine), mine
    await database.run(f"DROP INDEX rag_words_w{number}", write=True)
    await database.run(f"DROP INDEX rag_chunks_w{number}", write=True)
    await database.aclose()


async def test_vectors_of_another_model_get_an_index_of_their_width(
    address: Address, opening: Callable[..., Neo4jControl]
) -> None:
    await opening(indexed=True).open("default", create=True)
    other = Neo4jControl(
        address, model="other", dimensions=2, namespace=opening()._namespace, indexed=True
    )
    workspace = await other.open("default")
    await ingest(workspace, Draft(id="a", passages=(Passage(text="x", vector=(0.0, 1.0)),)))
    database = Connection(address)
    rows = await database.run(
        "SHOW INDEXES YIELD name, type, options WHERE type = 'VECTOR' RETURN name, options"
    )
    widths = {row["name"]: row["options"]["indexConfig"]["vector.dimensions"] for row in rows}
    assert 2 in widths.values()
    for name in widths:
        await database.run(f"DROP INDEX {name}", write=True)
    await database.aclose()
    await other.aclose()


def test_mentions_are_heavier_first() -> None:
    from rag_engine.adapters.neo4j.records import EDGE, pack_mentions

    seen = Extraction(
        mentions=(Mention(name="a", weight=1), Mention(name="b", weight=3), Mention(name="c"))
    )
    weights = np.frombuffer(pack_mentions(seen), dtype=EDGE)["weight"].tolist()
    assert weights == [1000, 3, 1]
