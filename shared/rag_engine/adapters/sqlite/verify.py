"""Checks of one workspace's file: every counter against the evidence, every part against its sum.

Each check is a statement of `upkeep.sql` that finds what is wrong, or a loop where SQL cannot say
it. All of them run in one read transaction, and none holds more than a document in memory.
"""

from __future__ import annotations

import json
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from rag_engine.adapters.sqlite import queries
from rag_engine.adapters.sqlite.connection import connect
from rag_engine.adapters.sqlite.edits import active_edit_of
from rag_engine.adapters.sqlite.filters import stored
from rag_engine.adapters.sqlite.functions import add_functions
from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import (
    assertion_of,
    document_of,
    extraction_of,
    id_list,
    mention_of,
)
from rag_engine.core.edits import Edits
from rag_engine.core.evidence import canonical
from rag_engine.core.filters import fields_of, values_of
from rag_engine.core.models import Document, Extraction
from rag_engine.ports.inspection import Checking, Damage, Remedy

UPKEEP: Final = queries.read(files(__package__).joinpath("upkeep.sql").read_text("utf-8"))

_INDEX: Final = re.compile(r"(missing from|entries in) index|non-unique entry in index")
_ENOUGH: Final = 100  # mistakes that are named of a file whose pages are broken

Look = Callable[[sqlite3.Connection], Iterator[Damage]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check by its name.

    Attributes:
        query: Of `upkeep.sql`; `None` where `look` does it.
        dimensions: Whether the statement wants the length of the vectors.
    """

    name: str
    remedy: Remedy = Remedy.REBUILD
    query: str | None = None
    look: Look | None = None
    dimensions: bool = False


def open_for_upkeep(path: Path) -> sqlite3.Connection:
    """A connection that knows our functions, reads damaged text, and keeps its heaps on disk."""
    connection = connect(path)
    connection.text_factory = lambda content: content.decode("utf-8", "replace")
    connection.execute("PRAGMA temp_store=FILE")
    add_functions(connection)
    return connection


def damages(connection: sqlite3.Connection, *, words: bool) -> Iterator[Damage | Checking]:
    """Make all checks in the connection's transaction.

    Where pages are broken, whatever else would be found is not worth naming: it ends there.

    Args:
        connection: It has our functions.
        words: Whether the word index is whole; else word counts are not compared with it.
    """
    yield Checking(check="pages")
    broken = list(_pages(connection))
    yield from broken
    if any(one.remedy is Remedy.SALVAGE for one in broken):
        return
    found = connection.execute(SQL["meta"], ("dimensions",)).fetchone()
    dimensions = int(found[0]) if found else 0
    for check in CHECKS:
        if check.name == "word counts" and not words:
            continue
        yield Checking(check=check.name)
        if check.look is not None:
            yield from check.look(connection)
            continue
        parameters = (dimensions,) if check.dimensions else ()
        rows = connection.execute(UPKEEP[check.query or check.name], parameters)
        for place, document, message in rows:
            yield Damage(
                check=check.name,
                message=message,
                remedy=check.remedy,
                document_id=document,
                place=place,
            )


def words_are_whole(connection: sqlite3.Connection) -> bool:
    """Whether the word index is that of the lexemes. Needs a transaction that may write."""
    try:
        connection.execute(UPKEEP["check_words"])
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT:
            return False
        raise
    return True


def _pages(connection: sqlite3.Connection) -> Iterator[Damage]:
    for (found,) in connection.execute(f"PRAGMA integrity_check({_ENOUGH})"):
        if found != "ok":
            remedy = Remedy.REBUILD if _INDEX.search(found) else Remedy.SALVAGE
            yield Damage(check="pages", message=f"SQLite finds: {found}.", remedy=remedy)


def _references(connection: sqlite3.Connection) -> Iterator[Damage]:
    found: dict[tuple[str, str], int] = {}
    for table, _, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        found[table, parent] = found.get((table, parent), 0) + 1
    for (table, parent), count in found.items():
        message = f"{count:,} rows of {table!r} belong to no {parent!r}."
        yield Damage(check="references", message=message, remedy=Remedy.REBUILD)


def packed(connection: sqlite3.Connection, chunk: int) -> bytes:
    """A chunk's mentions as they are held beside its vector."""
    rows = connection.execute(UPKEEP["mentions_to_pack"], (chunk,))
    return b"".join(struct.pack("<ii", entity, weight) for entity, weight in rows)


def _packed_mentions(connection: sqlite3.Connection) -> Iterator[Damage]:
    for chunk, document, number, held in connection.execute(UPKEEP["packed_mentions"]):
        if held != packed(connection, chunk):
            yield Damage(
                check="packed mentions",
                message=f"The mentions held in memory of passage {number} of {document!r} are not "
                "those that were found in it.",
                remedy=Remedy.REBUILD,
                document_id=document,
                place=chunk,
            )


def document_at(connection: sqlite3.Connection, row: int) -> Document:
    """A document by its database row; it answers."""
    sql = f"{SQL['document_columns']} {SQL['document_by_row']}"
    return document_of(connection.execute(sql, (row,)).fetchone())


def documents_in_order(connection: sqlite3.Connection) -> Iterator[int]:
    """Database rows of the documents that answer."""
    yield from (row for (row,) in connection.execute(UPKEEP["fields_of_documents"]))


def _fields(connection: sqlite3.Connection) -> Iterator[Damage]:
    for row in documents_in_order(connection):
        try:
            document = document_at(connection, row)
        except (ValueError, TypeError, AttributeError) as error:  # no metadata any more
            message = f"What is known of document number {row} cannot be read ({error})."
            yield Damage(check="fields", message=message, remedy=Remedy.SALVAGE, place=row)
            continue
        fields = fields_of(document)
        wanted = {(name, *stored(one)) for name in fields for one in values_of(fields, name)}
        held = connection.execute(UPKEEP["field_values"], (row,)).fetchall()
        if set(held) != wanted or len(held) != len(wanted):
            yield Damage(
                check="fields",
                message=f"What filters see of {document.id!r} is not its metadata.",
                remedy=Remedy.REBUILD,
                document_id=document.id,
                place=row,
            )


def _unknown_edits(connection: sqlite3.Connection) -> Iterator[Damage]:
    """An edit's id is a function of what it is about."""
    for id, *row in connection.execute(UPKEEP["edits_by_id"]):
        if active_edit_of(tuple(row)).edit.id != id:
            yield Damage(
                check="edits",
                message=f"Edit {id!r} is not what was written. Restore the folder from a backup.",
                remedy=Remedy.NONE,
            )


def _edited(connection: sqlite3.Connection) -> Iterator[Damage]:
    """What is seen of a passage is what edits make of what was found in it."""
    if any(_unknown_edits(connection)):
        return
    edits = Edits.of(active_edit_of(row).edit for row in connection.execute(SQL["edits"]))
    for row, id, document, number, text, keys in connection.execute(UPKEEP["edited_evidence"]):
        listed = id_list([id])
        mentions = connection.execute(SQL["mentions_of_chunks"], (listed,))
        assertions = connection.execute(SQL["assertions_of_chunks"], (listed,))
        seen = Extraction(
            mentions=tuple(mention_of(one[1:]) for one in mentions),
            assertions=tuple(assertion_of(one[1:]) for one in assertions),
        )
        try:
            found = extraction_of(text)
            whole = edits.applied(found) == canonical(seen)
            whole = whole and edits.changed(found) == set(json.loads(keys))
        except (ValueError, TypeError, IndexError, AttributeError):  # no extraction any more
            whole = False
        if not whole:
            yield Damage(
                check="edited evidence",
                message=f"What is seen of passage {number} of {document!r} is not what the edits in "
                "force make of what was found in it.",
                remedy=Remedy.INGEST,
                document_id=document,
                place=row,
            )


CHECKS: Final = (
    Check(name="references", look=_references),
    Check(name="answering versions", query="current_versions"),
    Check(name="documents", query="childless_documents"),
    Check(name="staged evidence", query="staged_for_nothing"),
    Check(name="passage counts", query="passage_counts", remedy=Remedy.INGEST),
    Check(name="unfinished repairs", query="unfinished_repairs", remedy=Remedy.INGEST),
    Check(name="passages", remedy=Remedy.INGEST),
    Check(name="evidence", remedy=Remedy.INGEST),
    Check(name="edits", look=_unknown_edits),
    Check(name="edited evidence", look=_edited),
    Check(name="unedited evidence", query="seen_unedited", remedy=Remedy.INGEST),
    Check(name="lexemes", remedy=Remedy.EMBED),
    Check(name="passage vectors", query="chunk_vectors", remedy=Remedy.EMBED, dimensions=True),
    Check(name="entity vectors", query="entity_vectors", remedy=Remedy.EMBED, dimensions=True),
    Check(name="edit vectors", query="edit_vectors", remedy=Remedy.EMBED, dimensions=True),
    Check(name="checksums"),
    Check(name="entity ids", query="entity_ids"),
    Check(name="entity counts", query="entity_counts"),
    Check(name="entity values", query="entity_values"),
    Check(name="relation counts", query="relation_counts"),
    Check(name="relation values", query="relation_values"),
    Check(name="held in memory", query="held_in_memory"),
    Check(name="packed mentions", look=_packed_mentions),
    Check(name="word counts", query="terms"),
    Check(name="fields", look=_fields),
    Check(name="field counts", query="field_counts"),
    Check(name="totals"),
)
"""All checks of a file whose pages are whole, in the order in which they are made."""
