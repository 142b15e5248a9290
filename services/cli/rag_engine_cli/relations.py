"""What joins entities, for `graph list --relations` and `graph show NAME --to OTHER`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from rag_engine_cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from rag_engine.core.models import Chunk, Document
    from rag_engine.engine import Engine
    from rag_engine.retrieval.relations import Connection, Joined
    from rag_engine_cli.session import Session


async def list_relations(engine: Engine, session: Session, search: str | None, limit: int) -> None:
    """List what joins entities, strongest first; with `search` only what joins those it names."""
    page = await engine.relations(session.workspace, search=search, limit=limit)
    for one in page.relations:
        session.terminal.record(_record(one))
    rows = [
        (
            one.source.name,
            one.target.name,
            f"{one.relation.weight / 1000:,.4g}",
            "; ".join(one.relation.keywords[:3]),
        )
        for one in page.relations
    ]
    if rows:
        session.terminal.table(("name", "joined to", "weight", "keywords"), rows)
    else:
        session.terminal.line("Nothing is joined yet. Begin with: rag-engine ingest PATH")


def print_connection(terminal: Terminal, found: Connection) -> None:
    """Say what joins two entities, and where passages say so."""
    source, target = found.joined.source, found.joined.target
    relation = found.joined.relation
    terminal.line(f"{click.style(source.name, bold=True)} – {click.style(target.name, bold=True)}")
    terminal.line(f"joined by {plural(relation.assertions, 'statement')}")
    for description in relation.descriptions:
        terminal.line(textwrap.indent(description, "  "))
    terminal.line()
    for place in found.places:
        said = f" ({place.keywords})" if place.keywords else ""
        terminal.line(f"  {place.name} → {place.other}{said}")
        terminal.line(f"  “{place.text}”")
        terminal.line(click.style(f"    {place_of(place.chunk, place.document)}", dim=True))


def connection_record(found: Connection) -> dict[str, Any]:
    """What joins two entities as JSON."""
    return {
        **_record(found.joined),
        "descriptions": list(found.joined.relation.descriptions),
        "places": [
            {
                "name": one.name,
                "other": one.other,
                "text": one.text,
                "keywords": one.keywords,
                "description": one.description,
                **place_record(one.chunk, one.document),
                "weight": one.weight / 1000,
            }
            for one in found.places
        ],
    }


def place_of(chunk: Chunk, document: Document) -> str:
    """Where a passage stands, for people."""
    parts = [document.name]
    if pages := chunk.pages:
        first, last = pages
        parts.append(f"page {first}" if first == last else f"pages {first}–{last}")
    parts += [one for one in chunk.heading_path if one != document.name]
    return ", ".join(parts)


def place_record(chunk: Chunk, document: Document) -> dict[str, Any]:
    """Where a passage stands as JSON."""
    return {
        "chunk_id": str(chunk.id),
        "document_id": document.id,
        "document": document.name,
        "source": document.source,
        "pages": list(chunk.pages) if chunk.pages else None,
        "headings": list(chunk.heading_path),
    }


def _record(one: Joined) -> dict[str, Any]:
    relation = one.relation
    return {
        "name": one.source.name,
        "other": one.target.name,
        "assertions": relation.assertions,
        "weight": relation.weight / 1000,
        "keywords": list(relation.keywords),
    }
