"""`documents`: list, show and delete what a workspace holds; its queue is in `queued.py`."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from rag_engine.core.listing import Order, Sort
from rag_engine.core.models import Document, Usage, Version, VersionStatus
from rag_engine.errors import NotFound
from rag_engine.ingest.versions import version_page
from rag_engine_cli.asking import agreed, check_askable
from rag_engine_cli.named import named, resolve
from rag_engine_cli.options import shared_options
from rag_engine_cli.plan import ALL, unfinished
from rag_engine_cli.queued import cancel, retry
from rag_engine_cli.records import document_record, metadata_record, moment, version_record
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import in_words, plural
from rag_engine_cli.values import filter_of

if TYPE_CHECKING:
    from rag_engine.engine import Engine

_LISTED_FAILURES: Final = 20
_FILE: Final = click.Path(path_type=Path, dir_okay=False, writable=True)
_KINDS: Final = {
    "document": "docx",
    "presentation": "pptx",
    "sheet": "xlsx",
    "msword": "doc",
    "ms-powerpoint": "ppt",
    "ms-excel": "xls",
    "epub+zip": "epub",
    "rfc822": "mail",
    "ms-outlook": "mail",
    "x-ipynb+json": "notebook",
    "x-source": "code",
}


@click.group()
@shared_options
def documents() -> None:
    """List, show, delete, cancel and retry documents."""


@documents.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, help="How many. Default: 100.")
@click.option("--after", metavar="PLACE", help="The 'next' of the page before, in the same order.")
@click.option(
    "--sort",
    type=click.Choice([str(one) for one in Sort]),
    help="By what; ties are in the order of ids. Default: id.",
)
@click.option("--order", type=click.Choice(["asc", "desc"]), help="Which way. Default: asc.")
@click.option(
    "--filter",
    "-f",
    "filters",
    metavar="CONDITION",
    multiple=True,
    help="Only documents that match. See: rag-engine query --help",
)
@click.option(
    "--status",
    type=click.Choice([str(status) for status in VersionStatus]),
    help="Only documents whose newest version stands there, the latest requested first; "
    "'failed' shows the reasons.",
)
@shared_options
@pass_session
def list_(
    session: Session,
    limit: int,
    after: str | None,
    sort: str | None,
    order: str | None,
    filters: tuple[str, ...],
    status: str | None,
) -> None:
    """List the documents that answer questions, and those that failed.

    \b
    Examples:
      rag-engine documents list --filter 'year>=2023'
      rag-engine documents list --sort updated --order desc
      rag-engine documents list --status failed
    """
    if status and (filters or sort or order):
        raise click.UsageError("--status goes with none of --filter, --sort and --order.")
    if status:
        session.run(lambda engine: _list_versions(engine, session, status, after, limit))
        return
    by = Order(by=Sort(sort or Sort.ID), descending=order == "desc")
    session.run(lambda engine: _list(engine, session, by, after, limit, filters))


async def _list(
    engine: Engine,
    session: Session,
    order: Order,
    after: str | None,
    limit: int,
    filters: tuple[str, ...],
) -> None:
    page = await engine.documents(
        session.workspace, order=order, after=after, limit=limit, filter=filter_of(filters)
    )
    queue = (await engine.workspace(session.workspace)).queue
    failed = await queue.versions(status=VersionStatus.FAILED, limit=ALL)
    waiting = await unfinished(queue)
    put_off = await queue.versions(status=VersionStatus.PENDING, limit=ALL)
    put_off = [version for version in put_off if version.retry_at]
    terminal = session.terminal
    terminal.record(
        {
            "documents": [document_record(document) for document in page.documents],
            "next": page.next,
            "failed": [version_record(version) for version in failed],
            "put_off": [version_record(version) for version in put_off],
            "waiting": waiting,
        }
    )
    if page.documents:
        header = ("document", "type", "passages", "size", "updated")
        terminal.table(header, [_row(document) for document in page.documents])
    else:
        terminal.line("No documents.")
    _say_more(session, page.next)
    if waiting:
        terminal.line(f"\n{plural(waiting, 'document')} in the queue. Go on: rag-engine ingest")
    for version in put_off[:_LISTED_FAILURES]:
        terminal.line(f"  {_put_off(version)}")
    if failed:
        terminal.line(f"\n{plural(len(failed), 'document')} failed:")
        for version in failed[:_LISTED_FAILURES]:
            terminal.line(f"  {version.error}")
        if len(failed) > _LISTED_FAILURES:
            terminal.line("  … all of them: rag-engine documents list --status failed")


def _say_more(session: Session, next: str | None) -> None:
    if next:
        session.terminal.line(f"\nThere are more: --after {next}")


def _row(document: Document) -> tuple[str, ...]:
    updated = datetime.fromtimestamp(document.updated_at).astimezone()
    return (
        document.source,
        _kind(document.media_type),
        f"{document.chunks:,}",
        in_words(document.size),
        updated.strftime("%Y-%m-%d %H:%M"),
    )


def _kind(media_type: str) -> str:
    """A media type in a word."""
    last = re.split(r"[/.]", media_type)[-1]
    return _KINDS.get(last, last.removeprefix("x-"))


def _put_off(version: Version) -> str:
    """Why a version was put off, how often it was tried, and when it is tried again."""
    again = datetime.fromtimestamp(version.retry_at or 0).astimezone().strftime("%H:%M:%S")
    tried = plural(version.attempt, "attempt")
    return f"{version.error} ({tried}; again at {again})"


async def _list_versions(
    engine: Engine, session: Session, status: str, after: str | None, limit: int
) -> None:
    queue = (await engine.workspace(session.workspace)).queue
    page = await version_page(queue, status=VersionStatus(status), after=after, limit=limit)
    session.terminal.record(
        {"versions": [version_record(version) for version in page.versions], "next": page.next}
    )
    for version in page.versions:
        remark = f": {version.error}" if version.error else ""
        if version.retry_at:
            remark = f": {_put_off(version)}"
        session.terminal.line(f"{version.submission.source}{remark}")
    if not page.versions:
        session.terminal.line(f"No {'more ' if after else ''}document is {status}.")
    _say_more(session, page.next)


@documents.command()
@click.argument("document")
@click.option("--text", is_flag=True, help="Print the text that was found in it, and only that.")
@shared_options
@pass_session
def show(session: Session, document: str, text: bool) -> None:
    """Show a DOCUMENT, given by its id or its path.

    \b
    Examples:
      rag-engine documents show contracts/framework.pdf
      rag-engine documents show contracts/framework.pdf --text | less
    """
    session.run(lambda engine: _show(engine, session, document, text))


async def _show(engine: Engine, session: Session, word: str, text: bool) -> None:
    document, version = await _current(engine, session, word)
    terminal = session.terminal
    if text:
        if document is None:
            raise _no_text(word, version)
        parsed = await engine.parsed(document)
        terminal.record(document_record(document) | {"text": parsed.text})
        terminal.line(parsed.text)
        return
    record = document_record(document) if document else None
    terminal.record({"document": record, "newest": version_record(version)})
    for name, value in _facts(document, version):
        terminal.line(f"{name:<9}  {value}")


@documents.command()
@click.argument("document")
@click.option("--output", "-o", type=_FILE, help="Where to write it. Default: stdout.")
@shared_options
@pass_session
def original(session: Session, document: str, output: Path | None) -> None:
    """Write the original of a DOCUMENT, given by its id or its path, byte for byte.

    Of a document that is being replaced it is the version that answers.

    \b
    Example:
      rag-engine documents original contracts/framework.pdf -o framework.pdf
    """
    content = session.run(lambda engine: _original(engine, session, document))
    _deliver(session, document, content, output)


async def _original(engine: Engine, session: Session, word: str) -> bytes:
    document, version = await _current(engine, session, word)
    if document is None:  # nothing answers yet: what was submitted
        return await engine.blobs.read(version.submission.content_hash)
    return await engine.original(document)


@documents.command("text")
@click.argument("document")
@click.option("--output", "-o", type=_FILE, help="Where to write it. Default: stdout.")
@shared_options
@pass_session
def text_(session: Session, document: str, output: Path | None) -> None:
    """Write the text that was found in a DOCUMENT, as UTF-8, character for character.

    Spans in citations count the characters of this text.
    """
    found = session.run(lambda engine: _text(engine, session, document))
    _deliver(session, document, found.encode(), output)


async def _text(engine: Engine, session: Session, word: str) -> str:
    document, version = await _current(engine, session, word)
    if document is None:
        raise _no_text(word, version)
    return (await engine.parsed(document)).text


async def _current(engine: Engine, session: Session, word: str) -> tuple[Document | None, Version]:
    """The document that a word means, if it answers questions, and its newest version."""
    opened = await engine.workspace(session.workspace)
    version = await resolve(opened, word)
    async with opened.store.snapshot() as reader:
        [document] = await reader.documents([version.document_id])
    return document, version


def _no_text(word: str, version: Version) -> NotFound:
    return NotFound(f"{word!r} has no text: it is {version.status}. {version.error or ''}".strip())


def _deliver(session: Session, word: str, content: bytes, output: Path | None) -> None:
    if output is None:
        if session.json:
            raise click.UsageError("With --json, say where to write it: -o FILE.")
        sys.stdout.buffer.write(content)
        return
    output.write_bytes(content)
    session.terminal.record({"document": word, "file": str(output), "size": len(content)})
    session.terminal.line(f"{in_words(len(content))} written to {output}.")


def _facts(document: Document | None, version: Version) -> list[tuple[str, Any]]:
    submission = version.submission
    facts: list[tuple[str, Any]] = [
        ("id", version.document_id),
        ("source", submission.source),
        ("root", submission.root),
        ("title", document.title if document else submission.title),
        ("type", document.media_type if document else version.media_type),
        ("status", f"{version.status} (version {version.number})"),
        ("error", version.error),
        ("code", version.error_code),
        ("attempts", version.attempt if version.error else None),
        ("again", moment(version.retry_at)),
    ]
    if document and document.version != version.number:
        facts.append(("answers", f"version {document.version}, until the newer one is indexed"))
    if document:
        facts.append(("passages", f"{document.chunks:,}"))
    facts += [
        ("size", in_words(submission.size)),
        ("asked", moment(version.requested_at)),
        ("finished", moment(version.finished_at)),
        ("took", _usage(version.usage)),
    ]
    facts += [("metadata", f"{k} = {v!r}") for k, v in metadata_record(submission.metadata).items()]
    facts += [("warning", warning) for warning in version.warnings]
    return [(name, value) for name, value in facts if value not in (None, "")]


def _usage(usage: Usage) -> str:
    """What it has cost to index a version."""
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in usage.seconds.items())
    tokens = f"; {plural(usage.tokens, 'token')} embedded" if usage.tokens else ""
    return f"{sum(usage.seconds.values()):.2f} s ({stages}){tokens}" if stages else ""


@documents.command()
@click.argument("names", metavar="DOCUMENT...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@shared_options
@pass_session
def delete(session: Session, names: tuple[str, ...], yes: bool) -> None:
    """Delete DOCUMENTs, given by id or path, with all that was derived from them.

    The files themselves are left alone. What came from a folder that is kept in step comes back
    with the next sync, unless its file is gone too.

    \b
    Example:
      rag-engine documents delete minutes.docx --yes
    """
    check_askable("delete", yes=yes)
    versions = session.run(lambda engine: named(engine, session.workspace, names))
    if not yes:
        for version in versions:
            session.terminal.note(f"  {version.document_id}")
    question = f"Delete {plural(len(versions), 'document')}?"
    if not agreed(session.terminal, question, otherwise="Nothing was deleted.", yes=yes):
        return
    ids = [version.document_id for version in versions]
    count = session.run(lambda engine: engine.delete(ids, session.workspace))
    session.terminal.record({"deleted": ids})
    session.terminal.line(f"{plural(count, 'document')} deleted.")


documents.add_command(cancel)
documents.add_command(retry)
