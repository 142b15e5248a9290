"""`export` and `import`: a workspace as one file."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag_engine_cli.options import shared_options
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import Terminal, in_words, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag_engine.archive import Imported, Manifest, Progress
    from rag_engine.engine import Engine


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
@shared_options
@pass_session
def export(session: Session, file: Path, force: bool) -> None:
    """Write a workspace to FILE: documents, graph, vectors and originals.

    It can be imported anywhere, without parsing or embedding anything again.

    \b
    Example:
      rag-engine export papers.zip --workspace papers
    """
    if file.exists() and not force:
        raise click.UsageError(f"{str(file)!r} is there already. Add --force to replace it.")
    with progress_of(session.terminal) as progress:
        manifest = session.run(lambda engine: _export(engine, session, file, progress))
    count = manifest.documents
    size = file.stat().st_size
    session.terminal.record({"file": str(file), "documents": count, "size": size})
    session.terminal.line(f"{plural(count, 'document')} exported to {file} ({in_words(size)}).")


async def _export(engine: Engine, session: Session, file: Path, progress: Progress) -> Manifest:
    from rag_engine.archive import export_workspace

    return await export_workspace(engine, session.workspace, file, progress)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@shared_options
@pass_session
def import_(session: Session, file: Path) -> None:
    """Fill a workspace from FILE, which 'export' wrote.

    Documents that are there already stay as they are. It can be repeated after an interruption.

    \b
    Example:
      rag-engine import papers.zip --workspace papers
    """
    with progress_of(session.terminal) as progress:
        done = session.run(lambda engine: _import(engine, session, file, progress))
    warnings = []
    if done.unfinished:
        warnings.append(
            f"{plural(done.unfinished, 'document')} of it wait in the queue, or are being worked "
            "on by another process. Go on with: rag-engine ingest"
        )
    if done.waiting:
        warnings.append(
            f"{plural(done.waiting, 'document')} had not been ingested yet when it was exported, "
            "and wait in the queue here. Go on with: rag-engine ingest"
        )
    if done.contradicted:
        warnings.append(
            f"{plural(done.contradicted, 'name')} had been merged in another way here, which "
            "stays. See: rag-engine graph edits"
        )
    session.terminal.record(
        {
            "file": str(file),
            "documents": done.written,
            "kept": done.kept,
            "unfinished": done.unfinished,
            "waiting": done.waiting,
            "warnings": warnings,
        }
    )
    kept = f" {done.kept:,} there already." if done.kept else ""
    session.terminal.line(
        f"{plural(done.written, 'document')} imported into workspace {session.workspace!r}.{kept}"
    )
    session.terminal.warn(warnings)


async def _import(engine: Engine, session: Session, file: Path, progress: Progress) -> Imported:
    from rag_engine.archive import import_workspace

    return await import_workspace(engine, session.workspace, file, progress)


@contextmanager
def progress_of(terminal: Terminal) -> Iterator[Progress]:
    """Show how far an export or an import is, if a person watches."""
    if not terminal.live:
        yield lambda doing, done, total: None
        return
    from rag_engine_cli.report import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("", total=None, doing="")
        yield lambda doing, done, total: bar.update(task, completed=done, total=total, doing=doing)
