"""`worker`: work on what waits in the queues, until it is told to stop."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager, contextmanager, suppress
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
    import socket
    from collections.abc import AsyncIterator, Iterator

    from rag_engine.engine import Engine


_metrics_port = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Answer /metrics and /health there. Default: RAG_WORKER_METRICS_PORT, else 0 for none.",
)
_metrics_host = click.option(
    "--metrics-host",
    help="The address for that. Default: RAG_WORKER_METRICS_HOST, else 127.0.0.1.",
)

_grace = click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="How long to go on with documents in hand when told to stop. Default: they go back to the "
    "queue at once.",
)
_reload = click.option(
    "--reload/--no-reload",
    "reload",
    help="For development: start anew when RAG Engine's own sources change.",
)


@click.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="Documents at a time. Default: RAG_WORKER_CONCURRENCY, else 4.",
)
@click.option("--until-idle", is_flag=True, help="End when nothing waits any more.")
@_grace
@_metrics_port
@_metrics_host
@_reload
@shared_options
@pass_session
def worker(
    session: Session,
    concurrency: int | None,
    until_idle: bool,
    grace: float,
    metrics_port: int | None,
    metrics_host: str | None,
    reload: bool,
) -> None:
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
      rag-engine worker --metrics-port 9100
    """
    if reload:
        from rag_engine_cli.reload import run_anew

        raise click.exceptions.Exit(run_anew(session.terminal.note))
    # The interrupt is raised only while the models are being loaded.
    with (
        _door(session, metrics_host, metrics_port) as door,
        Signals() as signals,
        suppress(KeyboardInterrupt),
    ):
        shift = _Shift(session, door)
        session.run(lambda engine: shift.work(engine, signals, concurrency, until_idle, grace))
    if signals.received == signal.SIGINT:
        session.terminal.note("Stopped. What was being worked on is safe in the queue.")
        raise click.exceptions.Exit(INTERRUPTED)
    if until_idle and signals.received is None:
        shift.summary()
        if shift.failed:
            raise click.exceptions.Exit(1)


@contextmanager
def _door(session: Session, host: str | None, port: int | None) -> Iterator[socket.socket | None]:
    """Where the worker can be watched, if anywhere."""
    port = session.settings.worker_metrics_port if port is None else port
    host = session.settings.worker_metrics_host if host is None else host
    if not port:
        yield None
        return
    from rag_engine_api.server import listening

    with listening(host, port, chosen_by="--metrics-host and --metrics-port") as door:
        yield door


class _Shift:
    """Works, and prints a line for every document that comes to its end.

    Args:
        session: Of the command.
        door: Where it can be watched, or `None`.
    """

    def __init__(self, session: Session, door: socket.socket | None) -> None:
        self.failed = 0
        self._door = door
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
        async with self._watched(engine):
            await pool.run()

    @asynccontextmanager
    async def _watched(self, engine: Engine) -> AsyncIterator[None]:
        if self._door is None:
            yield
            return
        from rag_engine_lightrag.watching import watched

        async with watched(engine, self._door):
            yield

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
