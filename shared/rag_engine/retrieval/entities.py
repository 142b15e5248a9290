"""The entities of a graph: all of them in pages, and those that a name may mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rag_engine.core.ids import EntityId, entity_id
from rag_engine.core.names import entity_key
from rag_engine.core.tokens import tokenize
from rag_engine.errors import InvalidRequest
from rag_engine.ports.listed import EntityPage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rag_engine.core.filters import Filter
    from rag_engine.core.models import Entity
    from rag_engine.ports.models import Embedder
    from rag_engine.ports.storage import Reader

_NEAREST: Final = 100
_PASSAGES: Final = 100
"""In so many passages with its words a name is looked for."""


async def entity_page(
    reader: Reader,
    embedder: Embedder,
    search: str | None,
    after: str | None,
    *,
    limit: int,
    filter: Filter | None,
) -> EntityPage:
    """A page of the visible entities; with `search` those that it may mean.

    Raises:
        InvalidRequest: `search` names nothing, or `after` was given too.
        InvalidCursor: `after` is none of ours.
    """
    if search is not None and after is not None:
        raise InvalidRequest("What is searched for comes in one page. Leave out `after`.")
    if search is not None:
        return await search_entities(reader, search, embedder, limit=limit, filter=filter)
    return await reader.list_entities(after=after, limit=limit, filter=filter)


async def search_entities(
    reader: Reader, name: str, embedder: Embedder, *, limit: int, filter: Filter | None
) -> EntityPage:
    """Visible entities that a name may mean: itself, those that contain it, those near in meaning.

    Those that contain it are looked for in the passages that have its words. There is one page.

    Raises:
        InvalidRequest: The name is empty or too long.
    """
    key = entity_key(name)
    if not key or embedder.count_tokens([key])[0] > embedder.max_tokens:
        raise InvalidRequest(f"{name[:80]!r} names nothing. Give some words of a name.")
    [same] = await reader.canonical([key])
    [near] = await reader.search_dense(
        "entity", await embedder.embed([key], "query"), _NEAREST, filter=filter
    )
    passages = await reader.search_text(tokenize(name), _PASSAGES, filter=filter)
    around = await reader.adjacency("chunk", passages.ids, filter=filter)
    ids = [entity_id(same), *near.ids.tolist(), *around.neighbours.tolist()]
    found = await _known(reader, dict.fromkeys(ids), filter)
    nearest = {id: place for place, id in enumerate(near.ids.tolist())}

    def rank(entity: Entity) -> tuple[bool, bool, bool, int, int, int]:
        begins, contains = entity.key.startswith(key), key in entity.key
        place = 0 if contains else nearest.get(entity.id, _NEAREST)
        rest = (place, -entity.mentions, entity.id)
        return (entity.key != same, not begins, not contains, *rest)

    fitting = [one for one in found if one.key == same or key in one.key or one.id in nearest]
    return EntityPage(entities=tuple(sorted(fitting, key=rank)[:limit]), next=None)


async def _known(reader: Reader, ids: Iterable[int], filter: Filter | None) -> list[Entity]:
    found = await reader.entities([EntityId(id) for id in ids], filter=filter)
    return [one for one in found if one is not None]
