"""What a page of a list costs does not depend on how much there is: it is read through an index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.resources import files
from itertools import product

import pytest

from rag_engine.adapters import sqlite as package
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.core.listing import Sort

LISTS = {
    **{f"listed_by_{sort}{way}": "document_columns" for sort, way in product(Sort, ("", "_down"))},
    "newest_versions": "version_columns",
    "newest_versions_of_status": "version_columns",
    "newest_versions_by_id": "version_columns",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_page_begins_at_its_place_and_is_not_sorted(name: str) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(files(package).joinpath("schema.sql").read_text("utf-8"))
        sql = f"EXPLAIN QUERY PLAN {SQL[LISTS[name]]} {SQL[name]}"
        steps = [row[3] for row in connection.execute(sql, (1, 1, 1, 1))]
    first = steps[0]
    assert first.startswith("SEARCH")
    assert ">?" in first or "<?" in first or ">(?" in first or "<(?" in first
    assert [one for one in steps if one.startswith("SCAN") and "json_each" not in one] == []
    # Only what is equal is sorted, by its id.
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps
