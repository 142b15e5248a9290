"""The one place where an HTTP client is made: time-outs, limits, user agent, closing."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import httpx

try:
    _VERSION = version("rag-engine-server")
except PackageNotFoundError:  # run from a checkout that was not installed
    _VERSION = "0"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")  # never through the environment's proxy
_USER_AGENT: Final = f"rag-engine/{_VERSION}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """How long and how much.

    Attributes:
        connect_seconds: For a connection to come about.
        silence_seconds: Between two pieces of a response, the first one included: a local model may
            read a long prompt for minutes before it says anything.
        connections: Open at the same time at most.
    """

    connect_seconds: float = 10.0
    silence_seconds: float = 300.0
    connections: int = 32


def http_client(
    limits: HttpLimits | None = None, *, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client for model servers; close it with `aclose()`.

    It follows no redirect, so that a key is never handed on to another host.

    Args:
        limits: Time-outs and number of connections.
        transport: In place of the network, for tests.
    """
    limits = limits or HttpLimits()
    return httpx.AsyncClient(
        timeout=httpx.Timeout(limits.silence_seconds, connect=limits.connect_seconds),
        limits=httpx.Limits(
            max_connections=limits.connections, max_keepalive_connections=limits.connections
        ),
        headers={"User-Agent": _USER_AGENT},
        follow_redirects=False,
        mounts={f"all://{host}": None for host in _LOOPBACK},
        transport=transport,
    )
