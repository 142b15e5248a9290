"""The server: an application on a socket, until it is told to stop; then its streams drain."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import FastAPI

from rag_engine.errors import ConfigurationError

_BACKLOG: Final = 512
_DRAIN_SECONDS: Final = 20


class Server(uvicorn.Server):
    """Serves until `stop` is called. Signals are for its caller to handle.

    Args:
        app: What answers.
        drain_seconds: How long answers that are under way may go on after `stop`.
    """

    def __init__(self, app: FastAPI, *, drain_seconds: int = _DRAIN_SECONDS) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=drain_seconds,
            )
        )

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals as they are."""
        yield

    def stop(self) -> None:
        """Accept nothing more, and end when what is under way has been answered."""
        self.should_exit = True


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigurationError: The address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"Nothing can listen on {host!r}, port {port} ({reason}). Stop whoever does, or choose "
            "another with --host and --port, for example --port 8001."
        ) from error
