"""The connection to a Neo4j server: transactions that are run again when the server asks for it.

A driver belongs to one event loop. Heartbeats have a thread and a loop of their own, so that they go
on while the other one is busy; so each loop gets a driver, which is closed when the loop ends.

A network that swallows everything never says so. Each attempt therefore has a time after which it
is given up, with the connection it had; that is some seconds longer than the server lets a
transaction be, whose own words for it are better.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import neo4j
from neo4j import AsyncDriver, AsyncGraphDatabase
from neo4j.api import AsyncBookmarkManager

from rag_engine.adapters.neo4j.errors import (
    Unanswered,
    is_worth_repeating,
    translated,
    translation,
)
from rag_engine.adapters.neo4j.queries import CYPHER, for_workspace
from rag_engine.errors import NotFound

T = TypeVar("T")
Row = Mapping[str, Any]

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0
_IDLE_SECONDS: Final = 30.0
"""Longest time for which a connection lies unused and is trusted all the same. A firewall or a proxy
in between may have forgotten it, and tells neither side."""
_USER_AGENT: Final = "rag-engine"
_SCHEMES: Final = ("neo4j", "neo4j+s", "neo4j+ssc", "bolt", "bolt+s", "bolt+ssc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the server is, and how to speak with it.

    Attributes:
        uri: `neo4j://` routes to the members of a cluster, `bolt://` speaks with one server; `+s`
            after either means TLS, `+ssc` TLS with a certificate that nobody has signed.
        database: Name of the database; "" for the user's own.
        ca_file: Certificates that vouch for the server, with TLS; "" for what `uri` says.
        max_connections: Open at a time.
        connect_seconds: Longest wait for a connection, or for one that is in use.
        retry_seconds: How long after its first failure a transaction is run again when others are
            in its way, or the connection breaks.
        transaction_seconds: Longest time of a transaction on the server.
    """

    uri: str
    username: str = "neo4j"
    password: str = field(default="", repr=False)
    database: str = ""
    ca_file: str = ""
    max_connections: int = 50
    connect_seconds: float = 15.0
    retry_seconds: float = 30.0
    transaction_seconds: float = 120.0


class NoWorkspace(Exception):
    """A write found no workspace of its number."""


def only(rows: list[Row]) -> Row:
    """The one row of a statement that has one for each workspace there is.

    Raises:
        NoWorkspace: It has none.
    """
    if not rows:
        raise NoWorkspace
    return rows[0]


class Transaction(Protocol):
    """What runs statements, within one transaction."""

    async def rows(self, query: str, /, **parameters: object) -> list[Row]:
        """Run a statement of `queries.cypher` by its name; return all it returns."""
        ...


Work = Callable[[Transaction], Awaitable[T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """What belongs to one event loop.

    Attributes:
        driver: A pool of connections.
        bookmarks: Of what was written through it.
        ending: Set to have it closed.
        keeper: The task that closes it.
    """

    driver: AsyncDriver
    bookmarks: AsyncBookmarkManager
    ending: asyncio.Event
    keeper: asyncio.Task[None]


class Connection:
    """Pools of connections to one database.

    Args:
        address: Of the server.
        count: Called before each round trip, for measurements: with the name of the statement, or
            `commit`.
    """

    def __init__(
        self, address: Address, *, count: Callable[[str], object] = lambda name: None
    ) -> None:
        self.address = address
        self._count = count
        self._owned: dict[asyncio.AbstractEventLoop, _Own] = {}
        self.deleted: set[int] = set()
        """Numbers of workspaces that turned out to be deleted."""

    async def run(
        self,
        query: str,
        /,
        *,
        workspace: int = 0,
        write: bool = False,
        within: float | None = None,
        **parameters: object,
    ) -> list[Row]:
        """Run one statement that is a transaction by itself: one round trip.

        Args:
            query: Name of the statement.
            workspace: Number of the workspace that it is about.
            write: Whether it writes; then it must do no harm when it is run again.
            within: See `write`.
            parameters: Of the statement.

        Raises:
            StoreUnavailable: The server cannot be reached, does not answer or stayed busy.
            NotFound: The workspace was deleted.
        """
        mode = neo4j.WRITE_ACCESS if write else neo4j.READ_ACCESS
        given = {**parameters, "workspace": workspace}
        return await self._repeated(lambda limit: self._single(query, mode, given, limit), within)

    async def read(self, work: Work[T], *, workspace: int = 0) -> T:
        """Run a reading transaction. It sees what this process wrote before."""
        mode = neo4j.READ_ACCESS
        return await self._repeated(lambda limit: self._once(work, mode, workspace, limit))

    async def write(self, work: Work[T], *, workspace: int = 0, within: float | None = None) -> T:
        """Run a writing transaction, all of it again where another one was in its way.

        Args:
            work: Runs the statements. It may be called several times, and each time must find out
                anew what there is; also after a commit whose answer was lost.
            workspace: Number of the workspace that statements are about.
            within: Seconds after which an answer is of no use; an attempt takes a third of them at
                most, so that another connection can be tried. By default as `Address` says.

        Raises:
            StoreUnavailable: The server cannot be reached, does not answer or stayed busy.
        """
        mode = neo4j.WRITE_ACCESS
        try:
            return await self._repeated(
                lambda limit: self._once(work, mode, workspace, limit), within
            )
        except NoWorkspace as error:
            raise self.gone(workspace) from error

    def gone(self, workspace: int) -> NotFound:
        """What to raise when a workspace turns out to be deleted, which is remembered."""
        self.deleted.add(workspace)
        return NotFound(
            "The workspace was deleted. Create it by ingesting a document into it: "
            "rag-engine ingest FILE"
        )

    async def aclose(self) -> None:
        """Close all connections. Those of other event loops are closed there, a moment later."""
        for loop, own in list(self._owned.items()):
            if loop is asyncio.get_running_loop():
                own.ending.set()
                await own.keeper
            else:
                with suppress(RuntimeError):  # that loop has ended since
                    loop.call_soon_threadsafe(own.ending.set)

    async def _repeated(
        self, once: Callable[[float], Awaitable[T]], within: float | None = None
    ) -> T:
        """Try until it succeeds, fails for good, or has taken too long.

        Args:
            once: One attempt, given the longest time of its transaction in seconds.
            within: See `write`.
        """
        limit, grace = self.address.transaction_seconds, self.address.connect_seconds
        began = time.monotonic()
        last: float | None = None
        if within is not None:
            limit, grace, last = min(limit, within / 3), 0.0, began + within * 2 / 3
        pause = _FIRST_PAUSE
        with translated(self.address.uri):
            while True:
                try:
                    return await _answered(once(limit), limit + grace)
                except Exception as error:
                    if last is None:  # a server that answers slowly has not failed yet
                        since = began if isinstance(error, Unanswered) else time.monotonic()
                        last = since + self.address.retry_seconds
                    if not is_worth_repeating(error) or time.monotonic() + pause > last:
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _single(
        self, query: str, mode: str, parameters: dict[str, Any], limit: float
    ) -> list[Row]:
        self._count(query)
        text = neo4j.Query(_text(query, parameters["workspace"]), timeout=limit)
        async with self._session(mode) as session:
            result = await session.run(text, parameters)
            return [_row(record) async for record in result]

    async def _once(self, work: Work[T], mode: str, workspace: int, limit: float) -> T:
        # The server is told to begin along with the first statement, unlike by `begin_transaction`.
        @neo4j.unit_of_work(timeout=limit)
        async def unit(transaction: neo4j.AsyncManagedTransaction) -> T:
            result = await work(_Begun(transaction, workspace, self._count))
            self._count("commit")
            return result

        async with self._session(mode) as session:
            if mode == neo4j.WRITE_ACCESS:
                return await session.execute_write(unit)
            return await session.execute_read(unit)

    def _session(self, mode: str) -> neo4j.AsyncSession:
        own = self._own()
        return own.driver.session(
            database=self.address.database or None,
            default_access_mode=mode,
            bookmark_manager=own.bookmarks,
        )

    def _own(self) -> _Own:
        """What belongs to the event loop that runs here; it connects when it is first used."""
        loop = asyncio.get_running_loop()
        if loop not in self._owned:
            driver, ending = self._made(), asyncio.Event()
            self._owned[loop] = _Own(
                driver=driver,
                bookmarks=AsyncGraphDatabase.bookmark_manager(),
                ending=ending,
                keeper=loop.create_task(self._keep(driver, ending)),
            )
        return self._owned[loop]

    async def _keep(self, driver: AsyncDriver, ending: asyncio.Event) -> None:
        """Close a driver when its event loop ends, which cancels all tasks, or when told to."""
        try:
            await ending.wait()
        finally:
            del self._owned[asyncio.get_running_loop()]
            await driver.close()

    def _made(self) -> AsyncDriver:
        try:
            parts = urlsplit(self.address.uri)
            if parts.scheme not in _SCHEMES or not parts.hostname or parts.port == 0:
                raise ValueError("it is no address of a Neo4j server")
            return AsyncGraphDatabase.driver(self.address.uri, **self._options())
        except ValueError as error:
            raise translation(error, self.address.uri) from error

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "auth": (self.address.username, self.address.password),
            "max_connection_pool_size": self.address.max_connections,
            "connection_timeout": self.address.connect_seconds,
            "connection_acquisition_timeout": self.address.connect_seconds,
            "liveness_check_timeout": _IDLE_SECONDS,
            "keep_alive": True,
            "max_transaction_retry_time": 0.0,  # `_repeated` knows better what is worth it
            "user_agent": _USER_AGENT,
            "notifications_min_severity": "OFF",
        }
        if self.address.ca_file:
            trusted = neo4j.TrustCustomCAs(self.address.ca_file)
            options |= {"encrypted": True, "trusted_certificates": trusted}
        return options


class _Begun:
    """A transaction that has begun."""

    def __init__(
        self,
        transaction: neo4j.AsyncManagedTransaction,
        workspace: int,
        count: Callable[[str], object],
    ) -> None:
        self._transaction = transaction
        self._workspace = workspace
        self._count = count

    async def rows(self, query: str, /, **parameters: object) -> list[Row]:
        """See `Transaction.rows`."""
        self._count(query)
        text = _text(query, self._workspace)
        parameters["workspace"] = self._workspace
        result = await self._transaction.run(text, parameters)
        return [_row(record) async for record in result]


async def _answered(attempt: Awaitable[T], seconds: float) -> T:
    """Wait for an attempt, and give it up when it takes too long.

    Raises:
        Unanswered: It took longer.
    """
    try:
        async with asyncio.timeout(seconds) as limit:
            return await attempt
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Unanswered(seconds) from error


def _text(query: str, workspace: int) -> Any:
    """A statement by its name; migrations bring theirs along."""
    return for_workspace(query, workspace) if query in CYPHER else query


def _row(record: neo4j.Record) -> Row:
    return dict(zip(record.keys(), record.values(), strict=True))
