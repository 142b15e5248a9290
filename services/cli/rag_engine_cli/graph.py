"""`graph`: what the knowledge graph knows of a name."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from rag_engine_cli.edits import add, edits_, hide, merge, undo
from rag_engine_cli.options import shared_options
from rag_engine_cli.query import check_workspace
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import Terminal, plural
from rag_engine_cli.values import filter_of

if TYPE_CHECKING:
    from rag_engine.engine import Engine
    from rag_engine.retrieval.neighbourhood import Neighbourhood, Sighting


@click.group()
@shared_options
def graph() -> None:
    """Look at the knowledge graph, and change it by hand."""


for _command in (merge, hide, add, edits_, undo):
    graph.add_command(_command)


@graph.command()
@click.argument("name", nargs=-1, required=True)
@click.option(
    "--filter",
    "-f",
    "filters",
    metavar="CONDITION",
    multiple=True,
    help="Only what documents that match say. See: rag-engine query --help",
)
@shared_options
@pass_session
def show(session: Session, name: tuple[str, ...], filters: tuple[str, ...]) -> None:
    """Show where NAME is mentioned, and what it is joined to.

    Case and spacing do not matter. A name that is unknown brings up those that come close.

    \b
    Example:
      rag-engine graph show "Ada Thorne"
    """
    session.run(lambda engine: _show(engine, session, " ".join(name), filters))


async def _show(engine: Engine, session: Session, name: str, filters: tuple[str, ...]) -> None:
    warnings = await check_workspace(engine, session)
    found = await engine.graph(name, session.workspace, filter=filter_of(filters))
    terminal = session.terminal
    _print(terminal, found)
    terminal.record(_record(found) | {"warnings": warnings})


@graph.command("list")
@click.option("--search", metavar="NAME", help="Those that a name may mean, best first.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@shared_options
@pass_session
def list_(session: Session, search: str | None, limit: int) -> None:
    """List the entities that most passages mention, or those that a name may mean.

    \b
    Examples:
      rag-engine graph list
      rag-engine graph list --search Thorne
    """
    session.run(lambda engine: _list(engine, session, search, limit))


async def _list(engine: Engine, session: Session, search: str | None, limit: int) -> None:
    page = await engine.entities(session.workspace, search=search, limit=limit)
    for one in page.entities:
        session.terminal.record({"name": one.name, "type": one.type, "mentions": one.mentions})
    rows = [(one.name, one.type, f"{one.mentions:,}") for one in page.entities]
    if rows:
        session.terminal.table(("name", "type", "passages"), rows)
    else:
        session.terminal.line("There is no entity yet. Begin with: rag-engine ingest PATH")


def _print(terminal: Terminal, found: Neighbourhood) -> None:
    entity = found.entity
    kind = f" ({entity.type})" if entity.type else ""
    terminal.line(click.style(entity.name, bold=True) + kind)
    if found.aliases:
        terminal.line(f"also called {', '.join(found.aliases)}")
    terminal.line(f"mentioned in {plural(entity.mentions, 'passage')}")
    for description in entity.descriptions:
        terminal.line(textwrap.indent(description, "  "))
    terminal.line()
    for sighting in found.sightings:
        terminal.line(f"  “{sighting.text}”")
        terminal.line(click.style(f"    {_place(sighting)}", dim=True))
    if found.relations:
        terminal.line()
        terminal.line(click.style("Joined to", bold=True))
        width = max(len(relation.target_name) for relation in found.relations)
        for relation in found.relations:
            name = relation.target_name.ljust(width)
            keywords = "; ".join(relation.keywords[:3])
            times = plural(relation.assertions, "passage")
            terminal.line(f"  {name}  {times}" + (f": {keywords}" if keywords else ""))


def _place(sighting: Sighting) -> str:
    parts = [sighting.document.name]
    if pages := sighting.chunk.pages:
        first, last = pages
        parts.append(f"page {first}" if first == last else f"pages {first}–{last}")
    parts += [one for one in sighting.chunk.heading_path if one != sighting.document.name]
    return ", ".join(parts)


def _record(found: Neighbourhood) -> dict[str, Any]:
    entity = found.entity
    return {
        "name": entity.name,
        "key": entity.key,
        "type": entity.type or None,
        "aliases": list(found.aliases),
        "mentions": entity.mentions,
        "descriptions": list(entity.descriptions),
        "sightings": [
            {
                "name": one.name,
                "text": one.text,
                "document_id": one.document.id,
                "document": one.document.name,
                "source": one.document.source,
                "pages": list(one.chunk.pages) if one.chunk.pages else None,
                "headings": list(one.chunk.heading_path),
                "weight": one.weight / 1000,
            }
            for one in found.sightings
        ],
        "relations": [
            {
                "name": one.target_name,
                "passages": one.assertions,
                "weight": one.weight / 1000,
                "keywords": list(one.keywords),
                "descriptions": list(one.descriptions),
            }
            for one in found.relations
        ],
    }
