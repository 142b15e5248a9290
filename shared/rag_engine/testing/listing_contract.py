"""What every Reader and JobQueue promises of lists: each order is whole, page by page, come what may.

Each test's name is the promise; see `Reader.list_documents` and `JobQueue.versions`.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

from rag_engine.core.filters import In
from rag_engine.core.listing import BY_ID, Order, Sort, VersionSort
from rag_engine.core.models import VersionStatus
from rag_engine.errors import InvalidCursor
from rag_engine.testing.drafts import Draft, Passage, ingest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rag_engine.core.filters import Filter
    from rag_engine.core.models import Document
    from rag_engine.ports.queue import JobQueue
    from rag_engine.ports.storage import Reader, Workspace
    from rag_engine.testing.drafts import Place

BY_ANN: Final = In("author", ("Ann",))
_STILL: Final = 2.0**50
"""Seconds after which a clock that advances a little at every look stands still between two."""

ORDERS: Final = tuple(
    Order(by=by, descending=descending) for by, descending in product(Sort, (False, True))
)
UP: Final = {by: Order(by=by) for by in Sort}


def _draft(id: str, words: int, title: str | None, author: str = "Ann") -> Draft:
    text = Passage(text="word " * words)
    return Draft(id=id, passages=(text,), title=title, metadata={"author": author})


SHELF: Final = (
    _draft("d", 5, "beta"),
    _draft("B", 1, "Alpha", "Bob"),
    _draft("a", 5, "alpha"),
    _draft("ä", 9, None),  # the parser calls it "Parsed"
    _draft("c", 1, "Älter", "Bob"),
    _draft("b", 5, "ALPHA \x00 1"),
    _draft("京", 2, "zeta"),
)
"""Two come at each moment; many are equal in one thing or another."""

EXPECTED: Final = {
    Sort.ID: ["B", "a", "b", "c", "d", "ä", "京"],
    Sort.TITLE: ["B", "a", "b", "d", "ä", "京", "c"],
    Sort.CREATED: ["B", "d", "a", "ä", "b", "c", "京"],
    Sort.UPDATED: ["B", "a", "ä", "b", "c", "d", "京"],  # "d" was replaced
    Sort.SIZE: ["B", "c", "京", "a", "b", "d", "ä"],
}


class ListingContract:
    """Subclass it and provide a fixture `control` that returns a `Place`."""

    @pytest.fixture
    async def workspace(self, control: Place) -> AsyncIterator[Workspace]:
        opened = control()
        yield await opened.open("default", create=True)
        await opened.aclose()

    @pytest.fixture
    async def filled(self, workspace: Workspace, control: Place) -> Workspace:
        await control.pass_time(_STILL)
        again = replace(SHELF[0], metadata={"author": "Ann", "again": True})
        for number, draft in enumerate((*SHELF, again)):
            await control.pass_time(1 - number % 2)
            await ingest(workspace, draft)
        return workspace

    async def test_ids_are_ordered_by_code_point(self, workspace: Workspace) -> None:
        ids = ["B", "a", "aa", "b", "z", "ä", "京", "\U0001f600"]
        await ingest(workspace, *(Draft(id=id) for id in reversed(ids)))
        async with workspace.store.snapshot() as reader:
            page = await reader.list_documents(limit=len(ids))
            assert [one.id for one in page.documents] == ids
            assert page.next is None
            assert await _in_pages(reader, limit=3) == ids
            between = BY_ID.cursor(("", "ab"))
            page = await reader.list_documents(after=between)
            assert [one.id for one in page.documents] == ids[3:]
            beyond = BY_ID.cursor(("", "\U0001f601"))
            assert (await reader.list_documents(after=beyond)).documents == ()

    async def test_documents_come_in_every_order_page_by_page(self, filled: Workspace) -> None:
        authors = {one.id: one.metadata["author"] for one in SHELF}
        async with filled.store.snapshot() as reader:
            for order in ORDERS:
                ids = _expected(order)
                for limit in (1, 2, 3, len(ids)):
                    assert await _in_pages(reader, order, limit) == ids
                mine = [id for id in ids if authors[id] == "Ann"]
                assert await _in_pages(reader, order, 2, BY_ANN) == mine

    async def test_a_filtered_page_is_full_all_the_same(self, filled: Workspace) -> None:
        async with filled.store.snapshot() as reader:
            page = await reader.list_documents(limit=3, filter=BY_ANN)
            assert [one.id for one in page.documents] == ["a", "b", "d"]
            page = await reader.list_documents(limit=2, after=page.next, filter=BY_ANN)
            assert [one.id for one in page.documents] == ["ä", "京"]
            assert page.next is None

    async def test_a_place_stays_when_what_stood_there_is_gone(self, filled: Workspace) -> None:
        async with filled.store.snapshot() as reader:
            first = {order: await reader.list_documents(order=order, limit=3) for order in ORDERS}
        gone = {one.documents[-1].id for one in first.values()} - {"b"}
        assert len(gone) > 2
        await filled.store.delete([*gone])
        async with filled.store.snapshot() as reader:
            for order, page in first.items():
                rest = [id for id in _expected(order)[3:] if id not in gone]
                assert await _in_pages(reader, order, 1, after=page.next) == rest

    async def test_what_comes_and_goes_elsewhere_moves_nothing(
        self, filled: Workspace, control: Place
    ) -> None:
        async with filled.store.snapshot() as reader:
            first = {order: await reader.list_documents(order=order, limit=4) for order in ORDERS}
        await control.pass_time(1)
        await ingest(filled, _draft("Z", 1, "aa"), _draft("zz", 20, "ñ"))
        async with filled.store.snapshot() as reader:
            for order, page in first.items():
                rest = await _in_pages(reader, order, 1, after=page.next)
                assert [id for id in rest if id not in ("Z", "zz")] == _expected(order)[4:]

    async def test_a_view_is_listed_as_it_was(self, filled: Workspace) -> None:
        async with filled.store.snapshot() as reader:
            await ingest(filled, _draft("new", 3, "new"), _draft("a", 30, "zz"))
            await filled.store.delete(["c"])
            async with filled.store.snapshot() as later:
                for order in ORDERS:
                    ids = {*_expected(order), "new"} - {"c"}
                    assert {*await _in_pages(later, order, 2)} == ids
            for order in ORDERS:
                assert await _in_pages(reader, order, 2) == _expected(order)

    async def test_a_cursor_of_another_order_is_refused(self, filled: Workspace) -> None:
        async with filled.store.snapshot() as reader:
            for order, other in product(ORDERS, ORDERS):
                cursor = (await reader.list_documents(order=order, limit=1)).next
                if order != other:
                    with pytest.raises(InvalidCursor, match="another order"):
                        await reader.list_documents(order=other, after=cursor)
            cursor = VersionSort.ID.cursor((await filled.queue.versions())[0])
            with pytest.raises(InvalidCursor):
                await reader.list_documents(after=cursor)

    async def test_what_is_no_cursor_is_refused(self, filled: Workspace) -> None:
        number, name = UP[Sort.SIZE], UP[Sort.TITLE]
        async with filled.store.snapshot() as reader:
            for order, cursor in (
                *((number, one) for one in ("", "a", "é", "MQ", "bnVsbA", "=", "[1]")),
                (number, number.cursor(("5", "a"))),
                (number, number.cursor((True, "a"))),
                (number, number.cursor((1 << 64, "a"))),
                (number, number.cursor((float("nan"), "a"))),
                (number, number.cursor((1, "\ud800"))),
                (name, name.cursor((5, "a"))),
                (name, name.cursor(("\ud800", "a"))),
            ):
                with pytest.raises(InvalidCursor):
                    await reader.list_documents(order=order, after=cursor)
        with pytest.raises(InvalidCursor):
            await filled.queue.versions(after="x")

    @pytest.mark.parametrize("sort", VersionSort)
    async def test_versions_come_in_pages(
        self, workspace: Workspace, control: Place, sort: VersionSort
    ) -> None:
        queue = workspace.queue
        await control.pass_time(_STILL)
        # Two are requested at each moment, so that pages end between equals.
        for number, id in enumerate(("b", "a", "C", "ä", "d", "e")):
            await queue.accept(Draft(id=id).submission)
            await control.pass_time(number % 2)
        await queue.accept(Draft(id="b", title="Other").submission)
        await queue.cancel("C")
        latest = ["b", "d", "e", "C", "ä", "a"]
        ids = latest if sort is VersionSort.REQUESTED else ["C", "a", "b", "d", "e", "ä"]
        for limit in (1, 2, 4, 6):
            assert await _versions_in_pages(queue, sort, limit) == ids
        waiting = [id for id in ids if id != "C"]
        assert await _versions_in_pages(queue, sort, 2, VersionStatus.PENDING) == waiting
        cancelled = VersionStatus.CANCELLED
        assert await _versions_in_pages(queue, sort, 1, cancelled) == ["C"]

    @pytest.mark.parametrize("sort", VersionSort)
    async def test_a_place_among_versions_stays(
        self, workspace: Workspace, control: Place, sort: VersionSort
    ) -> None:
        queue = workspace.queue
        for id in ("d", "c", "b", "a"):
            await queue.accept(Draft(id=id).submission)
            await control.pass_time(1)
        first = await queue.versions(sort=sort, limit=2)
        await workspace.store.delete([first[-1].document_id])
        await queue.accept(Draft(id="a", title="Other").submission)
        rest = await queue.versions(sort=sort, after=sort.cursor(first[-1]))
        assert [one.document_id for one in rest] == ["c", "d"]

    async def test_by_id_no_document_is_missed_that_is_requested_anew(
        self, workspace: Workspace, control: Place
    ) -> None:
        queue = workspace.queue
        for id in ("a", "b", "c"):
            await queue.accept(Draft(id=id).submission)
            await control.pass_time(1)
        [first] = await queue.versions(sort=VersionSort.ID, limit=1)
        await queue.accept(Draft(id="c", title="Other").submission)
        after = VersionSort.ID.cursor(first)
        rest = await queue.versions(sort=VersionSort.ID, after=after)
        assert [(one.document_id, one.number) for one in rest] == [("b", 1), ("c", 2)]

    async def test_a_cursor_of_other_versions_is_refused(self, filled: Workspace) -> None:
        first = (await filled.queue.versions())[0]
        requested, by_id = VersionSort
        with pytest.raises(InvalidCursor, match="another order"):
            await filled.queue.versions(sort=by_id, after=requested.cursor(first))
        with pytest.raises(InvalidCursor, match="another order"):
            await filled.queue.versions(after=by_id.cursor(first))


def _expected(order: Order) -> list[str]:
    ids = EXPECTED[order.by]
    return ids[::-1] if order.descending else ids


async def _in_pages(
    reader: Reader,
    order: Order = BY_ID,
    limit: int = 100,
    filter: Filter | None = None,
    after: str | None = None,
) -> list[str]:
    """Ids in the order of the list, read page by page."""
    found: list[Document] = []
    while True:
        page = await reader.list_documents(order=order, after=after, limit=limit, filter=filter)
        assert len(page.documents) <= limit
        found += page.documents
        if (after := page.next) is None:
            return [one.id for one in found]
        assert len(page.documents) == limit


async def _versions_in_pages(
    queue: JobQueue, sort: VersionSort, limit: int, status: VersionStatus | None = None
) -> list[str]:
    found: list[str] = []
    after: str | None = None
    while page := await queue.versions(sort=sort, status=status, after=after, limit=limit):
        assert len(page) <= limit
        found += [one.document_id for one in page]
        after = sort.cursor(page[-1])
    return found
