"""`graph`: what the knowledge graph knows of a name."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import click

from rag_engine_cli.edits import add, edits_, hide, merge, undo
from rag_engine_cli.options import shared_options
from rag_engine_cli.query import check_workspace
from rag_engine_cli.relations import (
    connection_record,
    list_relations,
    place_of,
    place_record,
    print_connection,
)
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import Terminal, plural
from rag_engine_cli.values import filter_of

if TYPE_CHECKING:
    from rag_engine.engine import Engine
    from rag_engine.retrieval.neighbourhood import Neighbourhood


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
@click.option("--to", "other", metavar="OTHER", help="Only what joins it to this one, and where.")
@shared_options
@pass_session
def show(
    session: Session, name: tuple[str, ...], filters: tuple[str, ...], other: str | None
) -> None:
    """Show where NAME is mentioned, and what it is joined to.

    Case and spacing do not matter. A name that is unknown brings up those that come close.

    \b
    Examples:
      rag-engine graph show "Ada Thorne"
      rag-engine graph show "Ada Thorne" --to "Jonas Reed"
    """
    session.run(lambda engine: _show(engine, session, " ".join(name), other, filters))


async def _show(
    engine: Engine, session: Session, name: str, other: str | None, filters: tuple[str, ...]
) -> None:
    warnings = await check_workspace(engine, session)
    terminal, filter = session.terminal, filter_of(filters)
    if other is None:
        found = await engine.graph(name, session.workspace, filter=filter)
        _print(terminal, found)
        record = _record(found)
    else:
        joined = await engine.relation(name, other, session.workspace, filter=filter)
        print_connection(terminal, joined)
        record = connection_record(joined)
    terminal.record(record | {"warnings": warnings})


@graph.command("list")
@click.option("--search", metavar="NAME", help="Those that a name may mean, best first.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many.")
@click.option("--relations", is_flag=True, help="What joins them instead, strongest first.")
@shared_options
@pass_session
def list_(session: Session, search: str | None, limit: int, relations: bool) -> None:
    """List the entities that most passages mention, or those that a name may mean.

    \b
    Examples:
      rag-engine graph list
      rag-engine graph list --search Thorne
      rag-engine graph list --relations --search Thorne
    """
    listing = list_relations if relations else _list
    session.run(lambda engine: listing(engine, session, search, limit))


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
        where = place_of(sighting.chunk, sighting.document)
        terminal.line(click.style(f"    {where}", dim=True))
    if found.relations:
        terminal.line()
        terminal.line(click.style("Joined to", bold=True))
        width = max(len(relation.target_name) for relation in found.relations)
        for relation in found.relations:
            name = relation.target_name.ljust(width)
            keywords = "; ".join(relation.keywords[:3])
            times = plural(relation.assertions, "passage")
            terminal.line(f"  {name}  {times}" + (f": {keywords}" if keywords else ""))


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
                **place_record(one.chunk, one.document),
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
