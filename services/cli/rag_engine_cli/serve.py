"""`serve`: the REST service and its workers, in one process."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import click

from rag_engine.errors import ConfigurationError
from rag_engine.telemetry import events
from rag_engine_cli.options import shared_options
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.signals import INTERRUPTED, Signals

if TYPE_CHECKING:
    import socket

    from rag_engine.access import Access
    from rag_engine.engine import Engine
    from rag_engine_api.app import Admission

logger = logging.getLogger(__name__)


@click.command()
@click.option("--host", help="The address to listen on. Default: RAG_API_HOST, else 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="Default: RAG_API_PORT, else 8000.")
@click.option("--no-workers", is_flag=True, help="Answer only; other processes ingest.")
@click.option(
    "--keys",
    "wanted",
    flag_value="keys",
    help="Ask for keys, even while there are none. Say it behind a proxy.",
)
@click.option(
    "--open",
    "wanted",
    flag_value="open",
    help="Let in whoever reaches it, without a key. Only behind something that keeps strangers out.",
)
@click.option(
    "--reload/--no-reload",
    "reload",
    default=None,
    help="For development: start anew when RAG Engine's own sources change. Default: API_RELOAD.",
)
@shared_options
@pass_session
def serve(
    session: Session,
    host: str | None,
    port: int | None,
    no_workers: bool,
    wanted: str | None,
    reload: bool | None,
) -> None:
    """Serve documents, questions and the graph over HTTP, and ingest what comes in.

    The routes are described at /docs. Who brings a key is let in (rag-engine keys create); while
    there are no keys, programs on this machine are. Other commands can use the same data folder
    meanwhile.

    SIGTERM ends it with exit code 0 and Ctrl-C with 130, when what is under way has been answered;
    what was being ingested goes back to the queue. A second Ctrl-C ends it at once.

    \b
    Examples:
      rag-engine serve
      rag-engine serve --port 8080 --no-workers
      curl -F files=@report.pdf http://localhost:8000/api/v1/documents
    """
    from rag_engine_api.server import listening

    settings = session.settings
    if settings.api_reload if reload is None else reload:
        from rag_engine_cli.reload import run_anew

        raise click.exceptions.Exit(run_anew(session.terminal.note))
    host = settings.api_host if host is None else host
    with listening(host, settings.api_port if port is None else port) as door:
        _Service(session, door, workers=not no_workers, wanted=wanted).run()


class _Service:
    """A server, and the workers beside it."""

    def __init__(
        self, session: Session, door: socket.socket, *, workers: bool, wanted: str | None
    ) -> None:
        self._session = session
        self._door = door
        self._workers = workers
        self._wanted = wanted

    def run(self) -> None:
        """Serve until a signal comes or one of the two fails; Ctrl-C is an exit code of its own."""
        from rag_engine_api.server import event_loop

        search_processes = self._session.settings.api_search_processes
        with Signals() as signals, suppress(KeyboardInterrupt):
            self._session.run(
                lambda engine: self._run(engine, signals),
                loop_factory=event_loop,
                search_processes=search_processes,
            )
        if signals.received == signal.SIGINT:
            self._session.terminal.note("Stopped.")
            raise click.exceptions.Exit(INTERRUPTED)

    async def _run(self, engine: Engine, signals: Signals) -> None:
        from rag_engine.access import Access
        from rag_engine.settings import listed
        from rag_engine_api.app import create_app
        from rag_engine_api.limits import limits_of
        from rag_engine_api.server import Server
        from rag_engine_lightrag.pool import WorkerPool

        settings = self._session.settings
        keyring = Access(engine.control, admin_token=settings.admin_key.get_secret_value())
        admission = await self._admission(keyring)
        limits = limits_of(settings)
        app = create_app(
            engine,
            keyring,
            admission=admission,
            limits=limits,
            root_path=settings.api_root_path,
            origins=self._origins(admission),
        )
        server = Server(
            app,
            limits=limits,
            drain_seconds=settings.api_drain_seconds,
            proxies=listed(settings.api_trusted_proxies),
        )
        pool = WorkerPool(engine=engine, concurrency=engine.concurrency)
        signals.call(server.stop)
        self._greet(admission)
        async with asyncio.TaskGroup() as together:
            serving = together.create_task(server.serve([self._door]))
            serving.add_done_callback(lambda _: pool.stop())
            if self._workers:
                together.create_task(pool.run())

    def _origins(self, admission: Admission) -> list[str]:
        """Whose pages may use it: all of the web's never, where nobody is asked for a key."""
        from rag_engine.settings import listed

        origins = listed(self._session.settings.api_cors_origins)
        if "*" in origins and admission != "keys":
            raise ConfigurationError(
                "RAG_API_CORS_ORIGINS=* would let every page on the web read what is stored here, "
                "since nobody is asked for a key. Name the origins, or start the server with --keys."
            )
        return origins

    async def _admission(self, keyring: Access) -> Admission:
        """Who is let in: never strangers, unless somebody says so."""
        from rag_engine_api.app import Admission
        from rag_engine_api.doors import is_loopback

        if self._wanted is not None:
            return Admission(self._wanted)
        if await keyring.any():
            return Admission.KEYS
        host = self._door.getsockname()[0]
        if is_loopback(host):
            return Admission.LOCAL
        raise ConfigurationError(
            f"{host!r} can be reached from other machines, and there are no keys. Make one with: "
            "rag-engine keys create NAME --scope admin. Or listen on 127.0.0.1, or say --open where "
            "something else keeps strangers out."
        )

    def _greet(self, admission: Admission) -> None:
        host, port = self._door.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        terminal = self._session.terminal
        folder = self._session.settings.data_dir
        terminal.note(f"Serving {folder} at {address} (see {address}/docs).")
        if admission in _ADMITTED:
            terminal.note(_ADMITTED[admission])
        else:
            logger.warning(_OPEN, address, extra={"action": events.OPEN})
        terminal.note("Press Ctrl-C to stop.")


_ADMITTED: Final = {
    "keys": "Who brings a key is let in.",
    "local": "Programs on this machine are let in without a key.",
}
_OPEN: Final = "WITHOUT A KEY: whoever reaches %s may read, change and delete everything."
