"""Every store keeps the words of `Control`, `Store` and `Reader`."""

from __future__ import annotations

from rag_engine.testing.contents_contract import ContentsContract
from rag_engine.testing.control_contract import ControlContract
from rag_engine.testing.edits_contract import EditsContract
from rag_engine.testing.entity_list_contract import EntityListContract
from rag_engine.testing.listing_contract import ListingContract
from rag_engine.testing.reader_contract import ReaderContract
from rag_engine.testing.relation_list_contract import RelationListContract
from rag_engine.testing.search_contract import SearchContract
from rag_engine.testing.store_contract import StoreContract


class TestControl(ControlContract):
    pass


class TestStore(StoreContract):
    pass


class TestReader(ReaderContract):
    pass


class TestListing(ListingContract):
    pass


class TestEntityList(EntityListContract):
    pass


class TestRelationList(RelationListContract):
    pass


class TestSearch(SearchContract):
    pass


class TestEdits(EditsContract):
    pass


class TestContents(ContentsContract):
    pass
