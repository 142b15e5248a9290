"""`stats` and `workspaces`: what there is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag_engine.core.models import UNFINISHED, VersionStatus
from rag_engine_cli.asking import agreed, check_askable
from rag_engine_cli.options import shared_options
from rag_engine_cli.plan import ALL
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import in_words, plural

if TYPE_CHECKING:
    from rag_engine.engine import Engine


@click.command()
@shared_options
@pass_session
def stats(session: Session) -> None:
    """Count what a workspace holds, and name the fields that filters can use."""
    session.run(lambda engine: _stats(engine, session))


async def _stats(engine: Engine, session: Session) -> None:
    found = await engine.stats(session.workspace)
    queue = (await engine.workspace(session.workspace)).queue
    counts = {
        name: getattr(found, name)
        for name in ("documents", "chunks", "entities", "relations", "mentions", "assertions")
    }
    for status in (*UNFINISHED, VersionStatus.FAILED):
        counts[str(status)] = len(await queue.versions(status=status, limit=ALL))
    terminal = session.terminal
    terminal.record(
        {
            "workspace": session.workspace,
            "data_dir": str(session.settings.data_dir),
            **counts,
            "fields": dict(found.fields),
            "model": found.model,
        }
    )
    terminal.line(f"Workspace {session.workspace!r} in {session.settings.data_dir}")
    for name, count in counts.items():
        terminal.line(f"  {name:<10}  {count:>10,}")
    fields = ", ".join(f"{name} ({count:,})" for name, count in sorted(found.fields.items()))
    terminal.line(f"Metadata fields: {fields or 'none'}")
    terminal.line(f"Embedding model: {found.model or 'none yet'}")


@click.group()
@shared_options
def workspaces() -> None:
    """List, make and delete workspaces: collections of documents that know nothing of each other."""


@workspaces.command("list")
@shared_options
@pass_session
def list_(session: Session) -> None:
    """List all workspaces with the number of their documents."""
    session.run(lambda engine: _list(engine, session))


async def _list(engine: Engine, session: Session) -> None:
    rows = []
    for name in await engine.control.workspaces():
        count = (await engine.stats(name)).documents
        session.terminal.record({"workspace": name, "documents": count})
        rows.append((name, f"{count:,}"))
    terminal, folder = session.terminal, session.settings.data_dir
    if not rows:
        terminal.line(f"There is no workspace in {folder} yet. Begin with: rag-engine ingest PATH")
        return
    terminal.table(("workspace", "documents"), rows)
    terminal.line(f"{in_words(await asyncio.to_thread(_size, folder))} in {folder}")


@workspaces.command()
@click.argument("name")
@shared_options
@pass_session
def create(session: Session, name: str) -> None:
    """Make the workspace NAME, as the first document would; one that is there stays as it is."""
    session.run(lambda engine: engine.control.open(name, create=True))
    session.terminal.record({"workspace": name})
    session.terminal.line(f"There is a workspace {name!r}.")


@workspaces.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared_options
@pass_session
def delete(session: Session, name: str, yes: bool) -> None:
    """Delete the workspace NAME with all it holds, for good.

    Originals that no other workspace has go within a day. API keys that are bound to it stay.

    \b
    Example:
      rag-engine workspaces delete contracts --yes
    """
    check_askable("delete", yes=yes)
    count = session.run(lambda engine: engine.stats(name)).documents
    question = f"Delete the workspace {name!r} with {plural(count, 'document')}?"
    if not agreed(session.terminal, question, otherwise="Nothing was deleted.", yes=yes):
        return
    session.run(lambda engine: engine.delete_workspace(name))
    session.terminal.record({"deleted": name, "documents": count})
    session.terminal.line(f"Workspace {name!r} is deleted, with {plural(count, 'document')}.")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
