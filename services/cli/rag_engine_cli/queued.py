"""`documents cancel` and `documents retry`: out of the queue, and into it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import click

from rag_engine.core.models import UNFINISHED, Version, VersionStatus
from rag_engine.errors import BlobMissing
from rag_engine_cli.named import named
from rag_engine_cli.options import shared_options
from rag_engine_cli.plan import ALL
from rag_engine_cli.records import version_record
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import plural

if TYPE_CHECKING:
    from rag_engine.engine import Engine

_RETRIED: Final = (VersionStatus.FAILED, VersionStatus.CANCELLED)


@click.command()
@click.argument("names", metavar="DOCUMENT...", nargs=-1, required=True)
@shared_options
@pass_session
def cancel(session: Session, names: tuple[str, ...]) -> None:
    """Take DOCUMENTs, given by id or path, out of the queue.

    One that is being worked on is let go of within about a second. If an older version of it
    answers questions, it goes on to do so.

    \b
    Example:
      rag-engine documents cancel big-scan.pdf
    """

    async def work(engine: Engine) -> list[Version]:
        found = await named(engine, session.workspace, names)
        return await _each(engine.cancel, found, session.workspace, UNFINISHED)

    cancelled = session.run(work)
    session.terminal.record({"cancelled": [version_record(version) for version in cancelled]})
    session.terminal.line(f"{plural(len(cancelled), 'document')} cancelled.")


@click.command()
@click.argument("names", metavar="[DOCUMENT]...", nargs=-1)
@click.option("--failed", is_flag=True, help="All that failed.")
@shared_options
@pass_session
def retry(session: Session, names: tuple[str, ...], failed: bool) -> None:
    """Put DOCUMENTs that failed or were cancelled into the queue again.

    Their files need not be there any more: the originals were kept. A running worker takes them up;
    without one, do it with: rag-engine ingest

    \b
    Examples:
      rag-engine documents retry big-scan.pdf
      rag-engine documents retry --failed
    """
    if bool(names) == failed:
        raise click.UsageError("Name documents, or give --failed.", click.get_current_context())
    if failed:
        versions, lost = session.run(lambda engine: _retry_failed(engine, session.workspace))
    else:
        versions, lost = session.run(lambda engine: _retry(engine, session.workspace, names)), []
    session.terminal.record(
        {"retried": [version_record(version) for version in versions], "warnings": lost}
    )
    if versions or not lost:
        what = f"{plural(len(versions), 'document')} put into the queue again."
        more = " Go on: rag-engine ingest" if versions else ""
        session.terminal.line(f"{what}{more}")
    session.terminal.warn(lost)
    if lost:
        raise click.exceptions.Exit(1)


async def _retry(engine: Engine, workspace: str, names: tuple[str, ...]) -> list[Version]:
    found = await named(engine, workspace, names)
    return await _each(engine.retry, found, workspace, _RETRIED)


async def _retry_failed(engine: Engine, workspace: str) -> tuple[list[Version], list[str]]:
    """Retry all that failed; those whose originals are lost are told, and do not stop the others."""
    queue = (await engine.workspace(workspace)).queue
    retried, lost = [], []
    for version in reversed(await queue.versions(status=VersionStatus.FAILED, limit=ALL)):
        try:
            retried.append(await engine.retry(version.document_id, workspace))
        except BlobMissing as error:
            lost.append(str(error))
    return retried, lost


async def _each(
    change: Callable[[str, str], Awaitable[Version]],
    versions: list[Version],
    workspace: str,
    wanted: tuple[VersionStatus, ...],
) -> list[Version]:
    """Change each document's newest version. What cannot be changed is met before anything is."""
    ordered = sorted(versions, key=lambda version: version.status in wanted)
    return [await change(version.document_id, workspace) for version in ordered]
