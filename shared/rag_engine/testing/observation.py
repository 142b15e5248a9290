"""The whole observable state of a workspace, as plain data that two stores can be compared by."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import isclose
from typing import TYPE_CHECKING

import numpy as np

from rag_engine.core.ids import entity_id
from rag_engine.core.names import entity_key
from rag_engine.core.tokens import tokenize
from rag_engine.testing.drafts import int64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_engine.core.filters import Filter
    from rag_engine.core.models import Chunk, Document, Relation
    from rag_engine.ports.storage import Adjacency, Hits, Ids, NodeKind, Reader, Workspace

Observed = dict[str, object]

OF_THE_WORKSPACE = ("statistics", "text search", "stats")
"""What a filter does not narrow, or what word statistics of the whole workspace shape."""

_ALL = 10_000
_PAGE = 2  # so that several pages are read
_JOINED = 20


async def observe(reader: Reader, *, filter: Filter | None = None) -> Observed:
    """Ask a reader everything there is to ask, with no more than what it tells of itself.

    Times are left out: what was added and deleted in between may have moved them. So is the
    counter, which only has to differ where the content does.

    Args:
        reader: The view.
        filter: Passed on wherever a method takes one.
    """
    documents = await list_all(reader, filter)
    chunks = [
        chunk for document in documents for chunk in await reader.document_chunks(document.id)
    ]
    return {
        "documents": {document.id: _timeless(document) for document in documents},
        "chunks": {f"{one.document_id} {one.ordinal}": asdict(one) for one in chunks},
        **await _observe_graph(reader, chunks, filter),
        **await _observe_searches(reader, chunks, filter),
        "edits": {one.edit.id: asdict(one.edit) for one in await reader.edits()},
        "stats": asdict(await reader.stats()),
    }


async def observed(workspace: Workspace) -> Observed:
    """Observe a workspace as it is now."""
    async with workspace.store.snapshot() as reader:
        return await observe(reader)


def without(observed: Observed, *names: str) -> Observed:
    """Return an observation without some of its parts."""
    return {name: part for name, part in observed.items() if name not in names}


async def list_all(reader: Reader, filter: Filter | None = None) -> list[Document]:
    """Return all documents that match, read page by page."""
    found: list[Document] = []
    after: str | None = None
    while True:
        page = await reader.list_documents(after=after, limit=_PAGE, filter=filter)
        found.extend(page.documents)
        if page.next is None:
            return found
        after = page.next


async def _observe_graph(reader: Reader, chunks: list[Chunk], filter: Filter | None) -> Observed:
    ids = [chunk.id for chunk in chunks]
    extractions = await reader.extractions(ids)
    assert await reader.chunks(ids) == chunks
    found_keys = {entity_key(one.name) for found in extractions if found for one in found.mentions}
    keys = sorted(found_keys | set(await reader.canonical(sorted(found_keys))))
    entities = [entity_id(key) for key in keys]
    rows: Observed = {
        "extractions": [found and asdict(found) for found in extractions],
        "entities": [
            found and asdict(found) for found in await reader.entities(entities, filter=filter)
        ],
        "listed entities": await _listed(reader, filter),
        "listed relations": await _joined(reader, filter),
        "relations": {
            key: [asdict(one) for one in found]
            for key, found in zip(
                keys, await reader.relations(entities, limit=_ALL, filter=filter), strict=True
            )
        },
        "evidence": {
            key: [
                asdict(one)
                for one in await reader.evidence(entity_id(key), limit=_ALL, filter=filter)
            ]
            for key in keys
        },
    }
    nodes: dict[NodeKind, Ids] = {"chunk": int64(ids), "entity": int64(entities)}
    for kind, given in nodes.items():
        edges = await reader.adjacency(kind, given, filter=filter)
        rows[f"edges of each {kind}"] = adjacency_rows(edges)
        rows[f"vector of each {kind}"] = (await reader.vectors(kind, given)).tolist()
    return rows


async def _listed(reader: Reader, filter: Filter | None) -> list[int]:
    found: list[int] = []
    after: str | None = None
    while True:
        page = await reader.list_entities(after=after, limit=_PAGE, filter=filter)
        found += [one.id for one in page.entities]
        if (after := page.next) is None:
            return found


async def _joined(reader: Reader, filter: Filter | None) -> list[object]:
    """The relations in pages, and the evidence of the first ones, which adds up to them."""
    found: list[Relation] = []
    after, limit = None, _PAGE
    while True:
        page = await reader.list_relations(after=after, limit=limit, filter=filter)
        found += page.relations
        after, limit = page.next, 2 * limit
        if after is None:
            break
    pairs = [(one.source, one.target) for one in found]
    assert await reader.relations_between(pairs, filter=filter) == found
    rows: list[object] = [asdict(one) for one in found]
    for one in found[:_JOINED]:
        said = await reader.assertions(one.target, one.source, limit=_ALL, filter=filter)
        assert sum(each.assertion.weight for each in said) == one.weight
        assert len(said) == one.assertions
        rows.append([asdict(each) for each in said])
    return rows


async def _observe_searches(reader: Reader, chunks: list[Chunk], filter: Filter | None) -> Observed:
    words = sorted({word for chunk in chunks for word in tokenize(chunk.text)})
    probes = await reader.vectors("chunk", int64([chunk.id for chunk in chunks]))
    width = probes.shape[1]
    queries = np.concatenate([np.eye(width, dtype=np.float32), probes])
    found: Observed = {
        "statistics": asdict(await reader.statistics(words)),
        "text search": {
            word: hits_rows(await reader.search_text([word], _ALL, filter=filter)) for word in words
        }
        | {"": hits_rows(await reader.search_text(words, _ALL, filter=filter))},
    }
    kinds: tuple[NodeKind, ...] = ("chunk", "entity")
    for kind in kinds:
        hits = await reader.search_dense(kind, queries, _ALL, filter=filter)
        found[f"dense search for each {kind}"] = [hits_rows(one) for one in hits]
    return found


def hits_rows(hits: Hits) -> list[list[float]]:
    """Return hits as rows of id and score."""
    return [[id, score] for id, score in zip(hits.ids.tolist(), hits.scores.tolist(), strict=True)]


def adjacency_rows(edges: Adjacency) -> list[list[object]]:
    """Return each node's degree, neighbours and weights."""
    bounds = zip(edges.offsets[:-1], edges.offsets[1:], edges.degrees.tolist(), strict=True)
    return [
        [degree, edges.neighbours[first:last].tolist(), edges.weights[first:last].tolist()]
        for first, last, degree in bounds
    ]


def differences(left: object, right: object, *, tolerance: float = 0.0) -> list[str]:
    """Return where two observations differ, in words; empty when they agree.

    Args:
        left: The one.
        right: The other.
        tolerance: By how much two floats may be apart.
    """
    return list(_differences(left, right, tolerance, "it"))


def _differences(left: object, right: object, tolerance: float, path: str) -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted(left.keys() | right.keys(), key=repr):
            where = f"{path}[{name!r}]"
            if name not in left or name not in right:
                yield f"{where} is only {'right' if name in right else 'left'}"
            else:
                yield from _differences(left[name], right[name], tolerance, where)
    elif isinstance(left, list | tuple) and isinstance(right, list | tuple):
        if len(left) != len(right):
            yield f"{path} has {len(left)} left, {len(right)} right: {left!r} against {right!r}"
        for index, (one, other) in enumerate(zip(left, right, strict=False)):
            yield from _differences(one, other, tolerance, f"{path}[{index}]")
    elif not _same(left, right, tolerance):
        yield f"{path} is {left!r} left, {right!r} right"


def _same(left: object, right: object, tolerance: float) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return isclose(left, right, rel_tol=0.0, abs_tol=tolerance)
    return type(left) is type(right) and left == right


def _timeless(document: Document) -> Observed:
    return asdict(replace(document, created_at=0.0, updated_at=0.0))
