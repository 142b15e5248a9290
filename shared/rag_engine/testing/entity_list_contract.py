"""What every Reader promises of the list of entities: each once, in one order on every store.

Each test's name is the promise; see `rag_engine.ports.storage.Reader`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from rag_engine.core.edits import Alias, Suppression
from rag_engine.core.filters import In
from rag_engine.core.models import Mention
from rag_engine.errors import InvalidCursor
from rag_engine.testing.drafts import Draft, id_of, ingest, lattice, one_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.core.filters import Filter
    from rag_engine.core.models import Entity
    from rag_engine.ports.storage import Reader, Workspace
    from rag_engine.testing.drafts import Place

BY_ANN: Final = In("author", ("Ann",))
NAMES: Final = tuple(f"N{number}" for number in range(12))


def mentions_of_all(id: str, *names: str, author: str = "") -> Draft:
    """A document with a passage for each name, which mentions it."""
    drafts = one_each([Mention(name=name, description=f"{id} {name}") for name in names])
    passages = tuple(passage for draft in drafts for passage in draft.passages)
    return Draft(id=id, passages=passages, metadata={"author": author} if author else {})


async def list_entities(
    reader: Reader, limit: int = 100, filter: Filter | None = None
) -> list[Entity]:
    """All entities, read in pages of `limit`, which are full but for the last one."""
    found: list[Entity] = []
    after: str | None = None
    while True:
        page = await reader.list_entities(after=after, limit=limit, filter=filter)
        found += page.entities
        if (after := page.next) is None:
            return found
        assert len(page.entities) == limit


class EntityListContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    async def test_entities_are_listed_by_mentions_then_id(self, workspace: Workspace) -> None:
        await ingest(workspace, mentions_of_all("a", *NAMES), mentions_of_all("b", *NAMES[:7]))
        await ingest(workspace, mentions_of_all("c", NAMES[3]))
        first, both = NAMES[3], {*NAMES[:7]} - {NAMES[3]}
        order = [id_of(first), *sorted(map(id_of, both)), *sorted(map(id_of, NAMES[7:]))]
        async with workspace.store.snapshot() as reader:
            whole = await list_entities(reader)
            assert [one.id for one in whole] == order
            assert [one.mentions for one in whole] == [3] + 6 * [2] + 5 * [1]
            assert whole == await reader.entities(order)
            for limit in (1, 2, 5, 11, 12):
                assert await list_entities(reader, limit) == whole

    async def test_a_filter_leaves_out_and_counts_what_it_lets_through(
        self, workspace: Workspace
    ) -> None:
        await ingest(
            workspace,
            mentions_of_all("a", *NAMES[:8], author="Ann"),
            mentions_of_all("b", *NAMES[4:], author="Bob"),
            mentions_of_all("c", *NAMES[2:4], author="Ann"),
        )
        order = [*sorted(map(id_of, NAMES[2:4]))]
        order += sorted(map(id_of, NAMES[:2] + NAMES[4:8]))
        async with workspace.store.snapshot() as reader:
            whole = await list_entities(reader, filter=BY_ANN)
            assert [one.id for one in whole] == order
            assert [one.mentions for one in whole] == 2 * [2] + 6 * [1]
            assert whole == await reader.entities(order, filter=BY_ANN)
            assert await list_entities(reader, 3, filter=BY_ANN) == whole
            nobody = In("author", ("Cid",))
            assert await list_entities(reader, filter=nobody) == []

    async def test_a_list_goes_on_where_it_was_whatever_was_written_meanwhile(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, mentions_of_all("a", *NAMES))
        async with workspace.store.snapshot() as reader:
            page = await reader.list_entities(limit=5)
        seen = [one.id for one in page.entities]
        # The last one of the page goes, and one of the rest moves before it.
        rest = [name for name in NAMES if id_of(name) not in seen]
        kept = [name for name in NAMES if id_of(name) != seen[-1]]
        await ingest(workspace, mentions_of_all("a", *kept), mentions_of_all("b", rest[0]))
        async with workspace.store.snapshot() as reader:
            page = await reader.list_entities(after=page.next)
        assert [one.id for one in page.entities] == sorted(map(id_of, rest[1:]))
        assert page.next is None

    async def test_what_edits_make_of_entities_is_listed(self, workspace: Workspace) -> None:
        await ingest(workspace, mentions_of_all("a", "Ann", "Anna", "Bob", "Cid"))
        alias, hidden = Alias(source="Anna", target="Ann"), Suppression(name="Cid")
        vector = lattice("Ann")[None, :]
        await workspace.store.edit(alias, vector.repeat(2, axis=0))
        await workspace.store.edit(hidden, vector)
        async with workspace.store.snapshot() as reader:
            listed = [(one.key, one.mentions) for one in await list_entities(reader)]
        assert listed == [("ann", 2), ("bob", 1)]

    async def test_no_place_is_refused(self, workspace: Workspace) -> None:
        await ingest(workspace, mentions_of_all("a", "Ann"))
        places = ("", "x", "1", "1.", "1.x", "1.2.3", "-1.2", "1.-2", " 1.2", "1.٣", f"{2**63}.1")
        async with workspace.store.snapshot() as reader:
            for after in (*places, f"1.{'9' * 5000}"):
                with pytest.raises(InvalidCursor):
                    await reader.list_entities(after=after)
            page = await reader.list_entities(after=f"{2**63 - 1}.{2**63 - 1}")
            assert [one.name for one in page.entities] == ["Ann"]
            assert (await reader.list_entities(after="0.0")).entities == ()

    async def test_nothing_is_listed_of_nothing(self, workspace: Workspace) -> None:
        await ingest(workspace, Draft(id="a"))
        async with workspace.store.snapshot() as reader:
            for filter in (None, BY_ANN):
                page = await reader.list_entities(filter=filter)
                assert (page.entities, page.next) == ((), None)
