"""What every Reader promises of relations in pages, of one between two entities, and of its evidence.

Each test's name is the promise; see `rag_engine.ports.storage.Reader`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import pytest

from rag_engine.core.edits import Alias, Suppression
from rag_engine.core.filters import In
from rag_engine.core.ids import EntityId
from rag_engine.core.models import Assertion, Extraction, Mention
from rag_engine.errors import InvalidCursor
from rag_engine.testing.drafts import Draft, Passage, id_of, ingest, lattice, saying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from rag_engine.core.filters import Filter
    from rag_engine.core.models import Relation
    from rag_engine.ports.storage import Reader, Workspace
    from rag_engine.testing.drafts import Place

BY_ANN: Final = In("author", ("Ann",))
NAMES: Final = tuple(f"N{number}" for number in range(6))
PAIRS: Final = tuple(itertools.combinations(NAMES, 2))
Claim = tuple[str, str, int]
"""Two names and the weight of what joins the first to the second."""


def claiming(id: str, *claims: Claim, author: str = "") -> Draft:
    """A document with a passage for each claim."""
    passages = tuple(
        Passage(
            text=f"{source} {target}",
            extraction=Extraction(
                mentions=(Mention(name=source), Mention(name=target)),
                assertions=(
                    Assertion(
                        source=source,
                        target=target,
                        keywords=f"by {id}",
                        description=f"{weight}",
                        weight=weight,
                    ),
                ),
            ),
        )
        for source, target, weight in claims
    )
    return Draft(id=id, passages=passages, metadata={"author": author} if author else {})


def weighing(pairs: Iterable[tuple[str, str]], weight: int) -> list[Claim]:
    """Claims of one weight."""
    return [(*pair, weight) for pair in pairs]


def in_order(weights: dict[tuple[str, str], int]) -> list[tuple[int, int, int]]:
    """Weight, lower id and higher id of some pairs, as they are listed."""
    rows = [(weight, *ends(*pair)) for pair, weight in weights.items()]
    return sorted(rows, key=lambda row: (-row[0], *row[1:]))


def shown(relations: Iterable[Relation]) -> list[tuple[int, int, int]]:
    """Weight and ends of relations."""
    return [(one.weight, one.source, one.target) for one in relations]


async def list_relations(
    reader: Reader, limit: int = 100, filter: Filter | None = None
) -> list[Relation]:
    """All relations, read in pages of `limit`, which are full but for the last one."""
    found: list[Relation] = []
    after: str | None = None
    while True:
        page = await reader.list_relations(after=after, limit=limit, filter=filter)
        found += page.relations
        if (after := page.next) is None:
            return found
        assert len(page.relations) == limit


class RelationListContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    async def test_relations_are_listed_by_weight_then_ids(self, workspace: Workspace) -> None:
        turned = [(target, source) for source, target in PAIRS]
        await ingest(workspace, claiming("a", *weighing(PAIRS, 700), (*turned[3], 50)))
        await ingest(workspace, claiming("b", *weighing(turned[:7], 300)))
        weights = {pair: 700 + 300 * (n < 7) + 50 * (n == 3) for n, pair in enumerate(PAIRS)}
        async with workspace.store.snapshot() as reader:
            whole = await list_relations(reader)
            assert shown(whole) == in_order(weights)
            assert whole[0].assertions == 3
            assert whole == await reader.relations_between([(x.source, x.target) for x in whole])
            for limit in (1, 2, 7, 14, 15):
                assert await list_relations(reader, limit) == whole

    async def test_a_filter_leaves_out_and_weighs_what_it_lets_through(
        self, workspace: Workspace
    ) -> None:
        await ingest(
            workspace,
            claiming("a", *weighing(PAIRS[:8], 200), author="Ann"),
            claiming("b", *weighing(PAIRS[4:], 900), author="Bob"),
            claiming("c", *weighing(PAIRS[2:5], 10), author="Ann"),
        )
        weights = {pair: 200 + 10 * (2 <= n < 5) for n, pair in enumerate(PAIRS[:8])}
        async with workspace.store.snapshot() as reader:
            whole = await list_relations(reader, filter=BY_ANN)
            assert shown(whole) == in_order(weights)
            pairs = [(one.source, one.target) for one in whole]
            assert whole == await reader.relations_between(pairs, filter=BY_ANN)
            assert await list_relations(reader, 3, filter=BY_ANN) == whole
            assert await list_relations(reader, filter=In("author", ("Cid",))) == []

    async def test_a_list_goes_on_where_it_was_whatever_was_written_meanwhile(
        self, workspace: Workspace
    ) -> None:
        await ingest(workspace, claiming("a", *weighing(PAIRS, 100)))
        async with workspace.store.snapshot() as reader:
            whole = await list_relations(reader)
            page = await reader.list_relations(limit=5)
            # The last one of the page goes, and the one after the next moves before it.
            named = {ends(*pair): pair for pair in PAIRS}
            places = [(one.source, one.target) for one in whole]
            gone, moved = named[places[4]], named[places[6]]
            kept = [pair for pair in PAIRS if pair != gone]
            await ingest(workspace, claiming("a", *weighing(kept, 100)), claiming("b", (*moved, 1)))
            # A view shows what it showed before, whatever it is asked first.
            assert await list_relations(reader, 4) == whole
            assert await reader.relations_between([places[4]]) == [whole[4]]
        async with workspace.store.snapshot() as reader:
            after = await reader.list_relations(after=page.next)
        assert shown(after.relations) == [
            one for n, one in enumerate(shown(whole)) if n > 4 and n != 6
        ]
        assert after.next is None

    async def test_what_edits_make_of_relations_is_listed(self, workspace: Workspace) -> None:
        claims = [("Ann", "Bob", 5), ("Anna", "Bob", 6), ("Bob", "Cid", 7), ("Ann", "Dan", 8)]
        await ingest(workspace, claiming("a", *claims))
        vectors = lattice("Ann")[None, :].repeat(2, axis=0)
        async with workspace.store.snapshot() as before:
            await workspace.store.edit(Alias(source="Anna", target="Ann"), vectors)
            await workspace.store.edit(Suppression(name="Cid"), vectors[:1])
            await workspace.store.edit(Suppression(name="Ann", other="Dan"), vectors)
            assert shown(await list_relations(before)) == in_order(
                {(source, target): weight for source, target, weight in claims}
            )
        async with workspace.store.snapshot() as reader:
            [listed] = await list_relations(reader)
            assert shown([listed]) == in_order({("Ann", "Bob"): 11})
            found = await reader.assertions(id_of("Bob"), id_of("Ann"))
            pairs = [(id_of("Bob"), id_of("Cid")), (id_of("Ann"), id_of("Dan"))]
            assert await reader.relations_between(pairs) == [None, None]
            assert await reader.assertions(*pairs[0]) == await reader.assertions(*pairs[1]) == []
        assert [(x.assertion.source, x.assertion.target) for x in found] == [("Ann", "Bob")] * 2
        assert [x.assertion.weight for x in found] == [6, 5]

    async def test_what_joins_two_is_told_from_either(self, workspace: Workspace) -> None:
        await ingest(workspace, claiming("a", ("Ann", "Bob", 5), ("BOB", "Ann", 6)))
        await ingest(workspace, claiming("b", ("Cid", "Bob", 90)))
        ann, bob, cid = map(id_of, ("Ann", "Bob", "Cid"))
        pairs = [(bob, ann), (ann, bob), (ann, cid), (ann, ann), (bob, EntityId(7)), (bob, ann)]
        async with workspace.store.snapshot() as reader:
            one, other, *nothing, again = await reader.relations_between(pairs)
            assert nothing == [None, None, None]
            assert one == again
            assert await reader.relations_between([]) == []
            [around] = await reader.relations([bob], limit=1)
            assert await reader.relations_between([(bob, cid)]) == [*around]
        assert one is not None
        assert other is not None
        assert (one.source, one.target, one.target_name) == (bob, ann, "Ann")
        assert (other.source, other.target, other.target_name) == (ann, bob, "Bob")
        assert (one.weight, one.assertions) == (other.weight, other.assertions) == (11, 2)
        assert one.keywords == other.keywords == ("by a",)

    async def test_assertions_are_ordered_by_weight_chunk_and_direction(
        self, workspace: Workspace
    ) -> None:
        both = Extraction(
            mentions=(Mention(name="Ann"), Mention(name="Bob"), Mention(name="Cid")),
            assertions=(
                Assertion(source="Ann", target="Bob", keywords="knows", weight=500),
                Assertion(source="Bob", target="Ann", description="back", weight=500),
                Assertion(source="Ann", target="Cid", weight=9000),
            ),
        )
        drafts = [saying(f"d{n}", both) for n in range(4)]
        heavy = claiming("h", ("Ann", "Bob", 800), author="Ann")
        await ingest(workspace, *drafts, heavy)
        ann, bob = id_of("Ann"), id_of("Bob")
        chunks = sorted(draft.chunk_ids()[0] for draft in drafts)
        [first] = heavy.chunk_ids()
        expected = [(first, ann), *itertools.product(chunks, sorted((ann, bob)))]
        async with workspace.store.snapshot() as reader:
            found = await reader.assertions(ann, bob)
            assert [(x.chunk_id, id_of(x.assertion.source)) for x in found] == expected
            assert await reader.assertions(bob, ann) == found
            assert await reader.assertions(ann, bob, limit=4) == found[:4]
            assert await reader.assertions(ann, bob, filter=BY_ANN) == found[:1]
            for nobody in (ann, EntityId(7)):
                assert await reader.assertions(ann, nobody) == []
        assert {x.assertion for x in found[1:]} == {*both.assertions[:2]}

    async def test_no_place_is_refused(self, workspace: Workspace) -> None:
        await ingest(workspace, claiming("a", ("Ann", "Bob", 1), author="Ann"))
        places = ("", "x", "1.2", "1.2.", "1.2.x", "1.2.3.4", "-1.2.3", "1.-2.3", " 1.2.3")
        async with workspace.store.snapshot() as reader:
            for filter, after in itertools.product((None, BY_ANN), (*places, f"{2**63}.1.1")):
                with pytest.raises(InvalidCursor):
                    await reader.list_relations(after=after, filter=filter)
            for filter in (None, BY_ANN):
                last = ".".join([str(2**63 - 1)] * 3)
                page = await reader.list_relations(after=last, filter=filter)
                assert shown(page.relations) == in_order({("Ann", "Bob"): 1})
                page = await reader.list_relations(after="0.0.0", filter=filter)
                assert (page.relations, page.next) == ((), None)

    async def test_nothing_is_listed_of_nothing(self, workspace: Workspace) -> None:
        await ingest(workspace, Draft(id="a"))
        async with workspace.store.snapshot() as reader:
            for filter in (None, BY_ANN):
                page = await reader.list_relations(filter=filter)
                assert (page.relations, page.next) == ((), None)


def ends(one: str, other: str) -> tuple[EntityId, EntityId]:
    """Ids of two names, the lower one first."""
    low, high = sorted((id_of(one), id_of(other)))
    return low, high
