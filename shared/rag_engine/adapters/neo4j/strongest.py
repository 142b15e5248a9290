"""Pairs of entities by the weight of what joins them, as of a view.

The database has them as they are now. A pair is in a view what it is now unless evidence of it came or
went since; then it is worked out from the evidence of the view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from itertools import chain
from typing import Any, Final

from rag_engine.adapters.neo4j.connection import Row
from rag_engine.adapters.neo4j.errors import kept_no_more
from rag_engine.adapters.neo4j.records import seen_of
from rag_engine.adapters.neo4j.resident import state_of
from rag_engine.core.ids import EntityId, entity_id
from rag_engine.core.models import Assertion, Extraction
from rag_engine.core.names import entity_key
from rag_engine.core.ranked import Pair, page_of_pairs, place_of

Ends = tuple[EntityId, EntityId]
"""Ids of two entities, the lower one first."""

_BEFORE_ALL: Final = (2**63 - 1, -1, -1)


def with_ends(seen: Iterable[Extraction]) -> Iterator[list[tuple[Ends, Assertion]]]:
    """The assertions of each chunk's evidence, with the two that each joins."""
    ids = dict[str, EntityId]()  # making one takes longer than all the rest
    for found in seen:
        yield [(_ends(one, ids), one) for one in found.assertions]


def _ends(assertion: Assertion, ids: dict[str, EntityId]) -> Ends:
    for name in (assertion.source, assertion.target):
        if name not in ids:
            ids[name] = entity_id(entity_key(name))
    low, high = sorted((ids[assertion.source], ids[assertion.target]))
    return low, high


def weights_of(seen: Iterable[Extraction]) -> Counter[Ends]:
    """The weights of what some evidence joins, added up by pair."""
    found = Counter[Ends]()
    for ends, assertion in chain.from_iterable(with_ends(seen)):
        found[ends] += assertion.weight
    return found


async def strongest_page(
    rows: Callable[..., Awaitable[list[Row]]],
    counter: int,
    after: str | None,
    limit: int,
    from_evidence: Callable[[Collection[Ends]], Awaitable[Collection[Pair]]],
) -> tuple[list[Pair], str | None]:
    """A page of all pairs, and where it ends unless it is the last one.

    Args:
        rows: Asks the database.
        counter: Of the view.
        after: Where the page before ended.
        limit: Pairs at most.
        from_evidence: Works out what some pairs are in the view; those that nothing joins are
            left out.

    Raises:
        InvalidCursor: `after` is no place.
        StoreUnavailable: The view is so old that what went since is not kept any more.
    """
    weight, low, high = _BEFORE_ALL if after is None else place_of(after, 2)
    place: dict[str, Any] = {"weight": weight, "low": low, "high": high}
    touched, wanted = set[Ends](), limit + 1
    while True:
        now = await rows("strongest_relations", limit=wanted, **place)
        # Afterwards, so that nothing that came in between goes unnoticed.
        touched = await _touched_since(rows, counter)
        pairs = [(one["low"], one["high"], one["weight"]) for one in now]
        same = [one for one in pairs if one[:2] not in touched]
        if len(same) > limit or len(now) < wanted:
            break
        wanted = limit + 1 + 2 * len(touched)
    if touched:
        late = await from_evidence(touched)
        same += [one for one in late if _order(one) > (-weight, low, high)]
        same.sort(key=_order)
    return page_of_pairs(same, limit)


def _order(pair: Pair) -> tuple[int, int, int]:
    low, high, weight = pair
    return -weight, low, high


async def _touched_since(rows: Callable[..., Awaitable[list[Row]]], counter: int) -> set[Ends]:
    """The pairs of which some evidence came or went after a view."""
    found = await rows("evidence_since", since=counter)
    states = await rows("state")
    if states and state_of(states[0]["state"]).removed > counter:
        raise kept_no_more()
    return {*weights_of(seen_of(one) for one in found if one["extraction"] is not None)}
