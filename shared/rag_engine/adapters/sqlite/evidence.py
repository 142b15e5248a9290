"""Evidence as it was found, whatever edits make of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from rag_engine.adapters.sqlite.queries import SQL
from rag_engine.adapters.sqlite.rows import assertion_of, extraction_of, id_list, mention_of
from rag_engine.adapters.sqlite.views import View
from rag_engine.core.models import Extraction
from rag_engine.core.names import entity_key


def found_in(view: View, chunks: Sequence[int]) -> list[Extraction]:
    """The evidence of chunks that are there, by their ids, each sorted by entity keys."""
    listed = id_list(chunks)
    mentions, assertions = defaultdict[int, list[Any]](list), defaultdict[int, list[Any]](list)
    for id, *row in view.rows(SQL["mentions_of_chunks"], listed):
        mentions[int(str(id))].append(mention_of(row))
    for id, *row in view.rows(SQL["assertions_of_chunks"], listed):
        assertions[int(str(id))].append(assertion_of(row))
    edited: list[Any] = view.rows(SQL["edited_chunks"], listed)
    kept = dict(edited)
    return [
        (
            extraction_of(kept[id])
            if id in kept
            else Extraction(
                mentions=tuple(sorted(mentions[id], key=lambda one: entity_key(one.name))),
                assertions=tuple(
                    sorted(
                        assertions[id],
                        key=lambda one: (entity_key(one.source), entity_key(one.target)),
                    )
                ),
            )
        )
        for id in chunks
    ]
