"""What came to light between two states of a workspace, read page by page into arrays.

As rows a million passages take several times the memory that they take as arrays, and longer to be
read than one transaction may last. So each page is a transaction of its own: what was shown is never
changed, so it does not matter when it is read (see `resident`), and the bookmarks of the connection
let no member of a cluster answer that has not seen the state yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from rag_engine.adapters.neo4j.connection import Row
from rag_engine.adapters.neo4j.records import EDGE
from rag_engine.core.postings import Postings
from rag_engine.core.vectors import Float16, Ids, Mask
from rag_engine.errors import StoreUnavailable

_PAGE: Final = 5_000
"""Chunks, or names, that are read at a time: some ten megabytes.

They come as columns, one record a page: records one by one took most of the time of reading.
"""

_BEFORE_NONE: Final = (1 << 63) - 1
"""As the row to go on after: none of the same write comes after it."""

Ask = Callable[..., Awaitable[list[Row]]]
"""Runs a statement by its name."""


class Torn(StoreUnavailable):
    """Something was deleted while a page with it was read, so its columns do not belong together."""

    def __init__(self) -> None:
        super().__init__("Something was deleted from the workspace while it was read. Try again.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Chunks that came to light, by the write that showed them, then by row.

    Attributes:
        rows: Of the chunks.
        ids: Of the chunks.
        versions: Row of the version of each.
        assertions: How many each makes.
        vectors: Shape `(n, dimensions)`, or `(n, 0)` when they are not wanted.
        counts: How many mentions each has.
        edges: The mentions, chunk after chunk; of type `EDGE`.
        postings: The words of these chunks, after those that were known before.
    """

    rows: Ids
    ids: Ids
    versions: Ids
    assertions: Ids
    vectors: Float16
    counts: Ids
    edges: npt.NDArray[np.void]
    postings: Postings


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Vectors of entities that were not held before.

    Attributes:
        ids: Of the entities, ascending.
        vectors: Shape `(n, dimensions)`; zeros where there is none.
        found: Shape `(n,)`. An entity that is not there went away after the state that is read.
    """

    ids: Ids
    vectors: Float16
    found: Mask


async def arrivals(
    ask: Ask, known: Postings, *, since: int, upto: int, dimensions: int, exact: bool
) -> Arrivals:
    """The chunks that were shown after one write and up to another, and are not gone by then.

    Args:
        ask: Runs a statement.
        known: The words of the chunks up to the first write.
        since: The first write's number.
        upto: The other's.
        dimensions: Of the vectors.
        exact: Whether vectors are wanted at all.

    Raises:
        Torn: Something was deleted meanwhile; read again.
    """
    dimensions = dimensions if exact else 0
    pages, postings = list[tuple[npt.NDArray[np.generic], ...]](), known
    after, row = since, _BEFORE_NONE
    while True:
        [page] = await ask(
            "chunks_between", after=after, row=row, upto=upto, limit=_PAGE, vectors=exact
        )
        pages.append(await asyncio.to_thread(_taken, page, dimensions))
        postings = await asyncio.to_thread(postings.extended, page["lexemes"])
        if len(page["row"]) < _PAGE:
            break
        after, row = page["shown_at"], page["row"][-1]
    columns = [np.concatenate(column) for column in zip(*pages, strict=True)]
    rows, ids, versions, assertions, vectors, counts, edges = columns
    return Arrivals(
        rows=rows,
        ids=ids,
        versions=versions,
        assertions=assertions,
        vectors=vectors,
        counts=counts,
        edges=edges,
        postings=postings,
    )


def _taken(page: Row, dimensions: int) -> tuple[npt.NDArray[np.generic], ...]:
    """The columns of a page as arrays, in the order of `Arrivals`."""
    names = ("row", "id", "version", "assertions")
    _check_lengths(page, *names, "mentions", "lexemes", *(["vector"] if dimensions else []))
    numbers = [np.array(page[name], dtype=np.int64) for name in names]
    vectors = np.zeros((len(page["row"]), 0), dtype=np.float16)
    if dimensions:
        vectors = _vectors(page["vector"], dimensions)
    counts = np.array([len(one) // EDGE.itemsize for one in page["mentions"]], dtype=np.int64)
    edges = np.frombuffer(b"".join(page["mentions"]), dtype=EDGE)
    return (*numbers, vectors, counts, edges)


async def names_of(ask: Ask, ids: Ids, dimensions: int) -> Names:
    """The vectors of entities.

    Args:
        ask: Runs a statement.
        ids: Of the entities, ascending.
        dimensions: Of the vectors.

    Raises:
        Torn: Something was deleted meanwhile; read again.
    """
    vectors = np.zeros((len(ids), dimensions), dtype=np.float16)
    found = np.zeros(len(ids), dtype=np.bool_)
    for first in range(0, len(ids), _PAGE):
        [page] = await ask("names_in_columns", ids=ids[first : first + _PAGE].tolist())
        _check_lengths(page, "id", "vector")
        places = np.searchsorted(ids, np.array(page["id"], dtype=np.int64))
        vectors[places] = _vectors(page["vector"], dimensions)
        found[places] = True
    return Names(ids=ids, vectors=vectors, found=found)


def _check_lengths(page: Row, *columns: str) -> None:
    if len({len(page[column]) for column in columns}) > 1:
        raise Torn


def _vectors(packed: Sequence[bytes], dimensions: int) -> Float16:
    return np.frombuffer(b"".join(packed), dtype="<f2").reshape(-1, dimensions)
