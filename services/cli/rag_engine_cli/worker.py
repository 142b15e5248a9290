"""`worker`: work on what waits in the queues, until it is told to stop."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from rag_engine.core.models import Version, VersionStatus
from rag_engine.errors import NotFound
from rag_engine_cli.options import shared_options
from rag_engine_cli.records import version_record
from rag_engine_cli.report import outcome_line
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.signals import INTERRUPTED, Signals
from rag_engine_cli.terminal import plural

if TYPE_CHECKING:
    from rag_engine.engine import Engine


@click.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="Documents at a time. Default: RAG_WORKER_CONCURRENCY, else 4.",
)
@click.option("--until-idle", is_flag=True, help="End when nothing waits any more.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to go on with documents in hand when told to stop. Default: they go back to the "
    "queue at once.",
)
@shared_options
@pass_session
def worker(session: Session, concurrency: int | None, until_idle: bool, grace: float) -> None:
    """Ingest what waits in the queues of all workspaces.

    Run as many workers on one data folder as you like: each document is claimed by one of them, and
    if that one is killed, by another. With --workspace it works on that one alone.

    SIGTERM ends it with exit code 0 and Ctrl-C with 130; what it was working on goes back to the
    queue. A second Ctrl-C ends it at once, and nothing is lost either.

    \b
    Examples:
      rag-engine worker
      rag-engine worker --concurrency 8 --grace 20
      rag-engine worker --until-idle
    """
    shift = _Shift(session)
    # The interrupt is raised only while the models are being loaded.
    with Signals() as signals, suppress(KeyboardInterrupt):
        session.run(lambda engine: shift.work(engine, signals, concurrency, until_idle, grace))
    if signals.received == signal.SIGINT:
        session.terminal.note("Stopped. What was being worked on is safe in the queue.")
        raise click.exceptions.Exit(INTERRUPTED)
    if until_idle and signals.received is None:
        shift.summary()
        if shift.failed:
            raise click.exceptions.Exit(1)


class _Shift:
    """Works, and prints a line for every document that comes to its end."""

    def __init__(self, session: Session) -> None:
        self.failed = 0
        self._indexed = 0
        self._session = session
        self._only = session.workspace if _is_named(click.get_current_context()) else None

    async def work(
        self,
        engine: Engine,
        signals: Signals,
        concurrency: int | None,
        until_idle: bool,
        grace: float,
    ) -> None:
        """Work until nothing waits or a signal comes."""
        from rag_engine_lightrag.pool import WorkerPool

        await self._check(engine, until_idle)
        pool = WorkerPool(
            engine=engine,
            concurrency=concurrency or engine.concurrency,
            only=self._only,
            until_idle=until_idle,
            grace_seconds=grace,
            ended=self._ended,
        )
        signals.call(pool.stop)
        if not until_idle:
            where = repr(self._only) if self._only else "all workspaces"
            folder = self._session.settings.data_dir
            self._session.terminal.note(f"Working on {where} of {folder}. Press Ctrl-C to stop.")
        await pool.run()

    async def _check(self, engine: Engine, until_idle: bool) -> None:
        """A workspace that is not there is a mistake, unless it can still come."""
        names = await engine.control.workspaces()
        if self._only is None or self._only in names:
            return
        there = f"Those there are: {', '.join(map(repr, names))}" if names else "There is none yet"
        try:
            await engine.workspace(self._only)
        except NotFound as error:
            folder = str(self._session.settings.data_dir)
            what = f"There is no workspace {self._only!r}"
            if until_idle:
                raise NotFound(
                    f"{what} in {folder!r}. {there}. Check the spelling, or leave --workspace out."
                ) from error
            self._session.terminal.warn([f"{what} yet; it is waited for. {there}."])

    def summary(self) -> None:
        """Say what was done."""
        terminal = self._session.terminal
        terminal.record({"summary": {"indexed": self._indexed, "failed": self.failed}})
        failed = f", {self.failed:,} failed" if self.failed else ""
        terminal.line(f"Nothing waits: {plural(self._indexed, 'document')} indexed{failed}.")

    def _ended(self, workspace: str, version: Version) -> None:
        self.failed += version.status is VersionStatus.FAILED
        self._indexed += version.status is VersionStatus.INDEXED
        terminal = self._session.terminal
        terminal.record({"workspace": workspace, **version_record(version)})
        where = "" if workspace == self._only else f"  [{workspace}]"
        terminal.line(outcome_line(version) + where)


def _is_named(context: click.Context | None) -> bool:
    """Whether the line says which workspace, before or after the command's name."""
    while context is not None:
        if context.get_parameter_source("workspace") not in (None, ParameterSource.DEFAULT):
            return True
        context = context.parent
    return False
