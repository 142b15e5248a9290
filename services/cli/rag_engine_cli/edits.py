"""`graph merge`, `hide`, `add`, `edits` and `undo`: the graph changed by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from rag_engine.core.edits import Alias, Edit, Fact, Suppression
from rag_engine.core.models import VersionStatus
from rag_engine.errors import NotFound
from rag_engine_cli.options import shared_options
from rag_engine_cli.query import check_workspace
from rag_engine_cli.session import Session, pass_session

if TYPE_CHECKING:
    from rag_engine.engine import Engine
    from rag_engine_cli.terminal import Terminal


@click.command()
@click.argument("name")
@click.argument("into")
@shared_options
@pass_session
def merge(session: Session, name: str, into: str) -> None:
    """Let NAME and INTO be one entity, called INTO.

    For what is there and for what will come; no document is changed. Aliases may lead to further
    ones, but not round in a circle.

    \b
    Example:
      rag-engine graph merge "Big Blue" IBM
    """
    edit = Alias(source=name, target=into)
    session.run(lambda engine: _edit(engine, session, edit, f"{name!r} is {into!r} from now on."))


@click.command()
@click.argument("name")
@click.argument("other", required=False)
@shared_options
@pass_session
def hide(session: Session, name: str, other: str | None) -> None:
    """Hide the entity NAME; with OTHER, hide only what joins the two.

    No document is changed: passages that mention it are still found by their words.

    \b
    Examples:
      rag-engine graph hide "Page 3"
      rag-engine graph hide "Ada Thorne" Whitby
    """
    between = f" to {other!r}" if other else ""
    what = f"What joins {name!r}{between}" if other else repr(name)
    edit = Suppression(name=name, other=other)
    session.run(lambda engine: _edit(engine, session, edit, f"{what} is hidden from now on."))


async def _edit(engine: Engine, session: Session, edit: Edit, done: str) -> None:
    warnings = await _warnings(engine, session)
    unknown = [name for name in edit.names[:1] if not await _is_mentioned(engine, session, name)]
    new = await engine.edit(edit, session.workspace)
    terminal = session.terminal
    if unknown and new:
        warnings.append(f"No passage mentions {unknown[0]!r} yet. Check the spelling.")
        terminal.warn(warnings[-1:])
    terminal.line(done if new else "That is in force already.")
    terminal.line(click.style(f"Undo it with: rag-engine graph undo {edit.id}", dim=True))
    terminal.record({"id": edit.id, "new": new, **_record(edit), "warnings": warnings})


async def _warnings(engine: Engine, session: Session) -> list[str]:
    """What there is to say of a workspace; an edit may come before its first document."""
    try:
        return await check_workspace(engine, session)
    except NotFound:
        return []


async def _is_mentioned(engine: Engine, session: Session, name: str) -> bool:
    try:
        await engine.graph(name, session.workspace)
    except NotFound:
        return False
    return True


@click.command()
@click.argument("name")
@click.option("--type", "kind", default="", help="What kind of thing it is, such as 'person'.")
@click.option("--description", "-d", default="", help="What there is to say, in a sentence.")
@click.option("--to", "target", help="Another entity that it is joined to.")
@click.option("--as", "keywords", default="", help="What joins the two, in a few words.")
@shared_options
@pass_session
def add(
    session: Session, name: str, kind: str, description: str, target: str | None, keywords: str
) -> None:
    """Add something you know of NAME, or of what joins it to another entity.

    It is found and cited as any passage is, as a document of its own; a filter leaves it out
    unless it asks for source=manual ('$source=manual').

    \b
    Examples:
      rag-engine graph add "Ada Thorne" --type person -d "Keeper of the Farne light since 1911."
      rag-engine graph add "Ada Thorne" --to "Jonas Reed" --as "sister of"
    """
    if keywords and not target:
        raise click.UsageError("--as says what joins NAME to another entity. Name it with --to.")
    if kind and target:
        raise click.UsageError("--type is for one entity. Add it in a command of its own.")
    if not (kind or description or target):
        raise click.UsageError("There is nothing to add. Give --type, --description or --to.")
    fact = Fact(name=name, type=kind, description=description, target=target, keywords=keywords)
    session.run(lambda engine: _add(engine, session, fact))


async def _add(engine: Engine, session: Session, fact: Fact) -> None:
    version = await engine.add_fact(fact, session.workspace)
    if version.status is not VersionStatus.INDEXED:
        await engine.work(session.workspace)
        version = await engine.outcome(version, session.workspace)
    terminal = session.terminal
    terminal.record({"id": fact.id, "status": version.status, **_record(fact)})
    if version.status is not VersionStatus.INDEXED:
        terminal.note(version.error or f"The fact is {version.status}.")
        raise click.exceptions.Exit(1)
    terminal.line(f"Added: {fact.text}")
    terminal.line(click.style(f"Undo it with: rag-engine graph undo {fact.id}", dim=True))


@click.command("edits")
@shared_options
@pass_session
def edits_(session: Session) -> None:
    """List what was merged, hidden and added by hand, and is in force."""
    session.run(lambda engine: _edits(engine, session))


async def _edits(engine: Engine, session: Session) -> None:
    found = await engine.edits(session.workspace)
    terminal = session.terminal
    made: list[Edit | Fact] = [*(one.edit for one in found.edits), *found.facts]
    for one in made:
        terminal.record({"id": one.id, **_record(one)})
    for id in found.lost:
        terminal.record({"id": id, "kind": "add", "lost": True})
    rows = [(one.id, _in_words(one)) for one in made]
    rows += [(id, "added   (its original is gone)") for id in found.lost]
    if not rows:
        terminal.line("Nothing was changed by hand.")
        return
    terminal.table(("id", "what"), rows)


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@shared_options
@pass_session
def undo(session: Session, ids: tuple[str, ...]) -> None:
    """Take back what was merged, hidden or added, as if it had never been."""
    session.run(lambda engine: _undo(engine, session.terminal, session.workspace, ids))


async def _undo(engine: Engine, terminal: Terminal, workspace: str, ids: tuple[str, ...]) -> None:
    for id in ids:
        await engine.undo(id, workspace)
        terminal.record({"id": id, "undone": True})
        terminal.line(f"Undone: {id}")


def _record(one: Edit | Fact) -> dict[str, Any]:
    kinds = {Alias: "merge", Suppression: "hide", Fact: "add"}
    return {"kind": kinds[type(one)], **asdict(one)}


def _in_words(one: Edit | Fact) -> str:
    match one:
        case Alias():
            return f"merged  {one.source} into {one.target}"
        case Suppression(other=None):
            return f"hidden  {one.name}"
        case Suppression():
            return f"hidden  what joins {one.name} and {one.other}"
        case Fact():
            return f"added   {one.text}"
