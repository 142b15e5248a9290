"""`ingest`: files into a workspace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from rag_engine_cli.files import find
from rag_engine_cli.intake import Intake
from rag_engine_cli.options import shared_options
from rag_engine_cli.plan import Wish, compare, known_versions, waiting_in
from rag_engine_cli.report import Report
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.values import metadata as metadata_of

if TYPE_CHECKING:
    from rag_engine.engine import Engine


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--metadata",
    "-m",
    "pairs",
    metavar="KEY=VALUE",
    multiple=True,
    help="What filters can select by; may be repeated. Numbers, true and false are typed, "
    "[a, b] is a list.",
)
@click.option("--metadata-json", metavar="OBJECT", help="The same as one JSON object.")
@click.option("--title", help="A title for one document, instead of the one found in it.")
@click.option("--id", "document_id", help="An id for one document. Default: its absolute path.")
@shared_options
@pass_session
def ingest(
    session: Session,
    paths: tuple[str, ...],
    pairs: tuple[str, ...],
    metadata_json: str | None,
    title: str | None,
    document_id: str | None,
) -> None:
    """Add documents: files, folders, or patterns such as '*.pdf'.

    PDF, Word, Excel, PowerPoint, OpenDocument, HTML, Markdown, text, CSV, JSON, mail, EPUB,
    notebooks, source code, and images and scans by text recognition. What is there already and
    unchanged is passed over; what changed is replaced, whole. In folders, hidden files and files
    of other types are left aside.

    Without a PATH it goes on with what an interrupted run left in the queue.

    \b
    Examples:
      rag-engine ingest report.pdf
      rag-engine ingest ~/papers 'notes/**/*.md'
      rag-engine ingest minutes.docx -m year=2024 -m 'tags=[board, draft]'
    """
    wish = Wish(
        document_id=document_id, title=title, metadata=metadata_of(pairs, metadata_json), retry=True
    )
    report = Report(session.terminal)
    with report:
        try:
            session.run(lambda engine: _ingest(engine, session, paths, wish, report))
        except KeyboardInterrupt:
            report.interrupted()
            raise click.exceptions.Exit(130) from None
    if report.failed:
        raise click.exceptions.Exit(1)


async def _ingest(
    engine: Engine, session: Session, paths: tuple[str, ...], wish: Wish, report: Report
) -> None:
    known = await known_versions(engine, session.workspace)
    if not paths and not waiting_in(known):
        raise click.UsageError(
            "No file is named, and none waits in the queue. Name files or folders to add.",
            click.get_current_context(),
        )
    found = await asyncio.to_thread(find, paths, session.settings.data_dir)
    if len(found.files) > 1 and (wish.document_id or wish.title):
        raise click.UsageError(
            f"--id and --title are for one document, and {len(found.files)} files are named.",
            click.get_current_context(),
        )
    plan = await compare(
        found,
        known,
        wish,
        fingerprint=engine.pipeline.fingerprint,
        max_bytes=session.settings.parser_max_bytes,
        looked=report.looked,
    )
    report.begin(plan)
    await Intake(engine, session.workspace, report).run(plan)
    report.end(plan)
