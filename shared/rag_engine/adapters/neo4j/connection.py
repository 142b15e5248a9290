"""The connection to a Neo4j server: transactions that are run again when the server asks for it.

The driver belongs to the event loop that used it first. Calls from another one (heartbeats have a
thread and a loop of their own, so that they go on while this one is busy) go through a second,
synchronous driver in a thread.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

import neo4j
from neo4j import AsyncDriver, AsyncGraphDatabase, Driver, GraphDatabase

from rag_engine.adapters.neo4j.errors import is_worth_repeating, translated, translation
from rag_engine.adapters.neo4j.queries import CYPHER, for_workspace

T = TypeVar("T")
D = TypeVar("D", AsyncDriver, Driver)
Row = Mapping[str, Any]

_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 1.0
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
        retry_seconds: How long a transaction is run again when others are in its way.
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


class Transaction(Protocol):
    """What runs statements, within one transaction."""

    async def rows(self, query: str, /, **parameters: object) -> list[Row]:
        """Run a statement of `queries.cypher` by its name; return all it returns."""
        ...


Work = Callable[[Transaction], Awaitable[T]]


class Connection:
    """A pool of connections to one database.

    Args:
        address: Of the server.
        count: Called before each round trip, for measurements: with the name of the statement, or
            `begin` and `commit`.
    """

    def __init__(
        self, address: Address, *, count: Callable[[str], object] = lambda name: None
    ) -> None:
        self.address = address
        self._count = count
        self._driver: AsyncDriver | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._elsewhere: Driver | None = None
        self._bookmarks = AsyncGraphDatabase.bookmark_manager()
        self._bookmarks_elsewhere = GraphDatabase.bookmark_manager()

    async def run(
        self, query: str, /, *, workspace: int = 0, write: bool = False, **parameters: object
    ) -> list[Row]:
        """Run one statement that is a transaction by itself: one round trip.

        Args:
            query: Name of the statement.
            workspace: Number of the workspace that it is about.
            write: Whether it writes; then it must do no harm when it is run again.
            parameters: Of the statement.

        Raises:
            StoreUnavailable: The server cannot be reached or stayed busy.
        """
        mode = neo4j.WRITE_ACCESS if write else neo4j.READ_ACCESS
        return await self._repeated(lambda: self._single(query, mode, workspace, parameters))

    async def read(self, work: Work[T], *, workspace: int = 0) -> T:
        """Run a reading transaction. It sees what this process wrote before."""
        return await self._repeated(lambda: self._once(work, neo4j.READ_ACCESS, workspace))

    async def write(self, work: Work[T], *, workspace: int = 0) -> T:
        """Run a writing transaction, all of it again where another one was in its way.

        Args:
            work: Runs the statements. It may be called several times, and each time must find out
                anew what there is; also after a commit whose answer was lost.
            workspace: Number of the workspace that statements are about.

        Raises:
            StoreUnavailable: The server cannot be reached or stayed busy.
        """
        return await self._repeated(lambda: self._once(work, neo4j.WRITE_ACCESS, workspace))

    async def aclose(self) -> None:
        """Close all connections."""
        driver, self._driver = self._driver, None
        elsewhere, self._elsewhere = self._elsewhere, None
        if driver is not None:
            await driver.close()
        if elsewhere is not None:
            await asyncio.to_thread(elsewhere.close)

    async def _repeated(self, once: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self.address.retry_seconds
        pause = _FIRST_PAUSE
        with translated(self.address.uri):
            while True:
                try:
                    return await once()
                except Exception as error:
                    if not is_worth_repeating(error) or time.monotonic() + pause > deadline:
                        raise
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def _single(
        self, query: str, mode: str, workspace: int, parameters: dict[str, object]
    ) -> list[Row]:
        self._count(query)
        text = neo4j.Query(_text(query, workspace), timeout=self.address.transaction_seconds)
        given = {**parameters, "workspace": workspace}
        if not self._is_home():
            elsewhere = self._session_elsewhere(mode)
            return await asyncio.to_thread(_run_and_close, elsewhere, text, given)
        async with self._session(mode) as session:
            result = await session.run(text, given)
            return [_row(record) async for record in result]

    async def _once(self, work: Work[T], mode: str, workspace: int) -> T:
        if not self._is_home():
            return await self._once_elsewhere(work, mode, workspace)
        async with self._session(mode) as session:
            self._count("begin")
            begun = await session.begin_transaction(timeout=self.address.transaction_seconds)
            async with begun as transaction:
                result = await work(_Here(transaction, workspace, self._count))
                self._count("commit")
                await transaction.commit()
                return result

    async def _once_elsewhere(self, work: Work[T], mode: str, workspace: int) -> T:
        session = self._session_elsewhere(mode)
        try:
            transaction = await asyncio.to_thread(
                session.begin_transaction, timeout=self.address.transaction_seconds
            )
            try:
                result = await work(_Elsewhere(transaction, workspace, self._count))
                await asyncio.to_thread(transaction.commit)
            finally:
                await asyncio.to_thread(transaction.close)
            return result
        finally:
            await asyncio.to_thread(session.close)

    def _is_home(self) -> bool:
        """Whether this is the event loop of the asynchronous driver."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop is asyncio.get_running_loop()

    def _session(self, mode: str) -> neo4j.AsyncSession:
        if self._driver is None:
            self._driver = self._made(AsyncGraphDatabase.driver)
        return self._driver.session(
            database=self.address.database or None,
            default_access_mode=mode,
            bookmark_manager=self._bookmarks,
        )

    def _session_elsewhere(self, mode: str) -> neo4j.Session:
        if self._elsewhere is None:
            self._elsewhere = self._made(GraphDatabase.driver)
        return self._elsewhere.session(
            database=self.address.database or None,
            default_access_mode=mode,
            bookmark_manager=self._bookmarks_elsewhere,
        )

    def _made(self, make: Callable[..., D]) -> D:
        """A driver; it connects when it is first used."""
        try:
            parts = urlsplit(self.address.uri)
            if parts.scheme not in _SCHEMES or not parts.hostname or parts.port == 0:
                raise ValueError("it is no address of a Neo4j server")
            return make(self.address.uri, **self._options())
        except ValueError as error:
            raise translation(error, self.address.uri) from error

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "auth": (self.address.username, self.address.password),
            "max_connection_pool_size": self.address.max_connections,
            "connection_timeout": self.address.connect_seconds,
            "connection_acquisition_timeout": self.address.connect_seconds,
            "keep_alive": True,
            "user_agent": _USER_AGENT,
            "notifications_min_severity": "OFF",
        }
        if self.address.ca_file:
            trusted = neo4j.TrustCustomCAs(self.address.ca_file)
            options |= {"encrypted": True, "trusted_certificates": trusted}
        return options


class _Here:
    """A transaction of the event loop's own driver."""

    def __init__(
        self,
        transaction: neo4j.AsyncTransaction,
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


class _Elsewhere:
    """A transaction of the driver for other event loops; each call waits in a thread."""

    def __init__(
        self, transaction: neo4j.Transaction, workspace: int, count: Callable[[str], object]
    ) -> None:
        self._transaction = transaction
        self._workspace = workspace
        self._count = count

    async def rows(self, query: str, /, **parameters: object) -> list[Row]:
        """See `Transaction.rows`."""
        self._count(query)
        text = _text(query, self._workspace)
        parameters["workspace"] = self._workspace
        return await asyncio.to_thread(
            lambda: [_row(record) for record in self._transaction.run(text, parameters)]
        )


def _text(query: str, workspace: int) -> Any:
    """A statement by its name; migrations bring theirs along."""
    return for_workspace(query, workspace) if query in CYPHER else query


def _row(record: neo4j.Record) -> Row:
    return dict(zip(record.keys(), record.values(), strict=True))


def _run_and_close(session: neo4j.Session, text: Any, parameters: dict[str, object]) -> list[Row]:
    with session:
        return [_row(record) for record in session.run(text, parameters)]
