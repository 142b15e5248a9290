"""`keys`: what lets programs in over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from rag_engine.core.keys import Key, Scope
from rag_engine_cli.options import shared_options
from rag_engine_cli.records import moment
from rag_engine_cli.session import Session, pass_session

if TYPE_CHECKING:
    from rag_engine.engine import Engine


@click.group()
@shared_options
def keys() -> None:
    """Make, list and revoke the keys that let programs in over HTTP."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([str(one) for one in Scope]),
    multiple=True,
    help="What it may do: read, write (documents and graph), admin (everything). Repeat it for "
    "several. Default: read.",
)
@click.option(
    "--only-in",
    "workspaces",
    metavar="WORKSPACE",
    multiple=True,
    help="The workspaces it may be used in. Repeat it for several. Default: all.",
)
@shared_options
@pass_session
def create(
    session: Session, name: str, scopes: tuple[str, ...], workspaces: tuple[str, ...]
) -> None:
    """Make a key and print its token, which nobody can show again.

    NAME says what it is for. A server that was started while there were no keys asks for them when
    it is started again.

    \b
    Examples:
      rag-engine keys create "Open WebUI"
      rag-engine keys create Scanner --scope write --only-in invoices
    """
    wanted = [Scope(one) for one in scopes] or [Scope.READ]
    session.run(lambda engine: _create(engine, session, name, wanted, workspaces))


async def _create(
    engine: Engine,
    session: Session,
    name: str,
    scopes: list[Scope],
    workspaces: tuple[str, ...],
) -> None:
    from rag_engine.access import Access

    key, token = await Access(engine.control).make(name, scopes, workspaces)
    terminal = session.terminal
    terminal.record({**_record(key), "token": token})
    terminal.note(f"{_line(key)}. Its token is shown this once:")
    terminal.line(token)


@keys.command(name="list")
@shared_options
@pass_session
def list_(session: Session) -> None:
    """List the keys, without their tokens."""
    session.run(lambda engine: _list(engine, session))


async def _list(engine: Engine, session: Session) -> None:
    known = await engine.control.keys()
    terminal = session.terminal
    terminal.record({"keys": [_record(one) for one in known]})
    for one in known:
        terminal.line(_line(one))
    if not known:
        terminal.line("There are no keys. Make one with: rag-engine keys create NAME")


@keys.command()
@click.argument("id")
@shared_options
@pass_session
def revoke(session: Session, id: str) -> None:
    """Let the key ID open nothing any more, within a second."""
    session.run(lambda engine: _revoke(engine, session, id))


async def _revoke(engine: Engine, session: Session, id: str) -> None:
    from rag_engine.access import Access

    await Access(engine.control).revoke(id)
    session.terminal.record({"revoked": id})
    session.terminal.line(f"Key {id} is revoked.")


def _line(key: Key) -> str:
    may = " and ".join(sorted(key.scopes))
    where = f"in {', '.join(sorted(key.workspaces))}" if key.workspaces else "everywhere"
    return f"{key.id}  {key.name}: {may} {where}"


def _record(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "workspaces": sorted(key.workspaces),
        "made_at": moment(key.made_at),
    }
