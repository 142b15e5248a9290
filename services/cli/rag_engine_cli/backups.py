"""`backup` and `restore`: everything there is, in a folder of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag_engine.errors import StoreUnavailable
from rag_engine_cli.archives import progress_of
from rag_engine_cli.options import shared_options
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import plural

if TYPE_CHECKING:
    from rag_engine.archive import Progress
    from rag_engine.backup import Backup, Inventory, Kept, Restored
    from rag_engine.engine import Engine


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the N newest backups.")
@click.option(
    "--keep-days",
    type=click.IntRange(min=1),
    metavar="N",
    help="Keep backups of the last N days, and the newest.",
)
@shared_options
@pass_session
def backup(session: Session, folder: Path, keep: int | None, keep_days: int | None) -> None:
    """Back up all workspaces into a new folder in FOLDER.

    Nothing has to be stopped. A backup gets its name when it is whole, and only then older ones are
    deleted. Secrets are not in it, all documents are: it is readable by its owner alone.

    \b
    Example, for a crontab:
      15 3 * * *  rag-engine backup /var/backups/rag-engine --keep 14
    """
    from rag_engine.backup import Kept
    from rag_engine.wiring import alone_in

    kept = Kept(count=keep, days=keep_days)
    with alone_in(folder) as alone:
        if not alone:
            raise StoreUnavailable(
                f"Another backup into {str(folder)!r} is being made. Wait for its end."
            )
        with progress_of(session.terminal) as progress:
            done = session.run(lambda engine: _back_up(engine, session, folder, kept, progress))
    documents = sum(saved.documents for saved in done.inventory.workspaces)
    session.terminal.record(
        {
            "backup": str(done.path),
            "workspaces": [saved.name for saved in done.inventory.workspaces],
            "documents": documents,
            "deleted": [str(path) for path in done.deleted],
        }
    )
    session.terminal.line(
        f"{plural(documents, 'document')} of {plural(len(done.inventory.workspaces), 'workspace')} "
        f"backed up to {done.path}"
    )
    if done.deleted:
        session.terminal.line(f"{plural(len(done.deleted), 'older backup')} deleted.")


async def _back_up(
    engine: Engine, session: Session, folder: Path, kept: Kept, progress: Progress
) -> Backup:
    from rag_engine.backup import back_up
    from rag_engine.settings import told

    return await back_up(
        engine,
        folder,
        settings=told(session.settings),
        now=datetime.now(UTC),
        kept=kept,
        progress=progress,
    )


@click.command()
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False))
@click.option("--check", is_flag=True, help="Only check the backup, and write nothing.")
@click.option(
    "--force", is_flag=True, help="Replace workspaces of the same names that hold something."
)
@shared_options
@pass_session
def restore(session: Session, backup: Path, check: bool, force: bool) -> None:
    """Restore all workspaces from BACKUP, which 'backup' made.

    The backup is checked from end to end before anything is written, and what was written is
    compared with it. Workspaces that are not in the backup stay. Stop workers meanwhile.

    \b
    Examples:
      rag-engine restore /var/backups/rag-engine/rag-engine-20260301T031500Z
      rag-engine restore /var/backups/rag-engine/rag-engine-20260301T031500Z --check
    """
    if check:
        with progress_of(session.terminal) as progress:
            inventory = _check(backup, progress)
        for saved in inventory.workspaces:
            session.terminal.record({"workspace": saved.name, "documents": saved.documents})
            session.terminal.line(f"{saved.name}: {plural(saved.documents, 'document')}")
        session.terminal.line("The backup is whole.")
        return
    with progress_of(session.terminal) as progress:
        restored = session.run(lambda engine: _restore(engine, backup, force, progress))
    for one in restored:
        session.terminal.record(
            {
                "workspace": one.name,
                "documents": one.imported.written,
                "chunks": one.compared.chunks,
                "waiting": one.imported.waiting,
            }
        )
        waiting = f", {one.imported.waiting:,} waiting" if one.imported.waiting else ""
        session.terminal.line(
            f"{one.name}: {plural(one.imported.written, 'document')} "
            f"({plural(one.compared.chunks, 'passage')}) restored and compared{waiting}."
        )


def _check(path: Path, progress: Progress) -> Inventory:
    import asyncio

    from rag_engine.backup import check_backup

    return asyncio.run(check_backup(path, progress))


async def _restore(
    engine: Engine, path: Path, force: bool, progress: Progress
) -> tuple[Restored, ...]:
    from rag_engine.backup import restore as restored

    return await restored(engine, path, force=force, progress=progress)
