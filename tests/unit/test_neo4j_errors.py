"""Every error of the Neo4j driver becomes one of ours; a new one fails here until it has a row."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import pytest
from neo4j import exceptions

from rag_engine.adapters.neo4j import Address, Neo4jControl
from rag_engine.adapters.neo4j.connection import Connection
from rag_engine.adapters.neo4j.errors import (
    Overtaken,
    Unanswered,
    is_worth_repeating,
    translation,
)
from rag_engine.errors import (
    ConfigurationError,
    RagEngineError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)

URI = "bolt://127.0.0.1:1"

SERVER = {
    "AuthError": ConfigurationError,
    "ClientError": StoreUnavailable,
    "ConstraintError": StoreUnavailable,
    "CypherSyntaxError": StoreUnavailable,
    "CypherTypeError": StoreUnavailable,
    "DatabaseError": StoreUnavailable,
    "DatabaseUnavailable": StoreUnavailable,
    "Forbidden": ConfigurationError,
    "ForbiddenOnReadOnlyDatabase": StoreUnavailable,
    "Neo4jError": StoreUnavailable,
    "NotALeader": StoreUnavailable,
    "TokenExpired": ConfigurationError,
    "TransientError": StoreUnavailable,
}
DRIVER = {
    "AuthConfigurationError": ConfigurationError,
    "BrokenRecordError": StoreUnavailable,
    "CertificateConfigurationError": ConfigurationError,
    "ConfigurationError": ConfigurationError,
    "ConnectionAcquisitionTimeoutError": StoreUnavailable,
    "ConnectionPoolError": StoreUnavailable,
    "DriverError": StoreUnavailable,
    "IncompleteCommit": StoreUnavailable,
    "ReadServiceUnavailable": StoreUnavailable,
    "ResultConsumedError": StoreUnavailable,
    "ResultError": StoreUnavailable,
    "ResultFailedError": StoreUnavailable,
    "ResultNotSingleError": StoreUnavailable,
    "RoutingServiceUnavailable": StoreUnavailable,
    "ServiceUnavailable": StoreUnavailable,
    "SessionError": StoreUnavailable,
    "SessionExpired": StoreUnavailable,
    "TransactionError": StoreUnavailable,
    "TransactionNestingError": StoreUnavailable,
    "UnsupportedServerProduct": ConfigurationError,
    "WriteServiceUnavailable": StoreUnavailable,
}
CODES = {
    "Neo.ClientError.Security.Unauthorized": ConfigurationError,
    "Neo.ClientError.Security.Forbidden": ConfigurationError,
    "Neo.ClientError.Database.DatabaseNotFound": ConfigurationError,
    "Neo.ClientError.Statement.SyntaxError": StoreUnavailable,
    "Neo.ClientError.Statement.EntityNotFound": StoreUnavailable,
    "Neo.ClientError.Transaction.TransactionTimedOut": StoreUnavailable,
    "Neo.TransientError.Transaction.Terminated": StoreUnavailable,
    "Neo.TransientError.Transaction.LockClientStopped": StoreUnavailable,
    "Neo.TransientError.Transaction.DeadlockDetected": StoreUnavailable,
    "Neo.TransientError.General.DatabaseUnavailable": StoreUnavailable,
    "Neo.DatabaseError.General.UnknownError": StoreUnavailable,
    "Neo.DatabaseError.Database.DatabaseInconsistentDatabase": StoreCorrupt,
    "Neo.TransientError.General.DatabaseOutOfDisk": StoreFull,
}


def of_code(code: str) -> exceptions.Neo4jError:
    """The error that the driver makes of a server's code."""
    return exceptions.Neo4jError._hydrate_neo4j(code=code, message="It says so")


def classes(root: type[Exception]) -> set[str]:
    return {
        name
        for name, one in vars(exceptions).items()
        if inspect.isclass(one) and issubclass(one, root)
    }


def test_every_class_of_the_driver_has_a_row() -> None:
    assert classes(exceptions.Neo4jError) == SERVER.keys()
    assert classes(exceptions.DriverError) == DRIVER.keys()


@pytest.mark.parametrize(("name", "ours"), [*DRIVER.items(), *SERVER.items()])
def test_each_becomes_one_of_ours(name: str, ours: type[RagEngineError]) -> None:
    kind = getattr(exceptions, name)
    if issubclass(kind, exceptions.Neo4jError):
        error = kind("It says so")
    elif issubclass(kind, exceptions.ResultError):
        error = kind(None, "It says so")
    else:
        error = kind("It says so")
    if name == "Forbidden":
        error = of_code("Neo.ClientError.Security.Forbidden")
    found = translation(error, URI)
    assert type(found) is ours
    assert URI in str(found)
    assert str(found).endswith(".")


@pytest.mark.parametrize(("code", "ours"), CODES.items())
def test_each_code_of_the_server_becomes_one_of_ours(code: str, ours: type[RagEngineError]) -> None:
    found = translation(of_code(code), URI)
    assert type(found) is ours
    assert "It says so" in str(found)


@pytest.mark.parametrize(
    "code",
    [
        "Neo.TransientError.Transaction.DeadlockDetected",
        "Neo.ClientError.Cluster.NotALeader",
        "Neo.ClientError.Statement.EntityNotFound",
        "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists",
        "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
        "Neo.TransientError.Transaction.Terminated",
        "Neo.TransientError.Transaction.LockClientStopped",
    ],
)
def test_what_passes_by_itself_is_run_again(code: str) -> None:
    assert is_worth_repeating(of_code(code))
    assert is_worth_repeating(Overtaken())
    assert is_worth_repeating(Unanswered(1.0))
    assert is_worth_repeating(exceptions.ConnectionAcquisitionTimeoutError("x"))
    assert is_worth_repeating(exceptions.SessionExpired("x"))
    assert is_worth_repeating(exceptions.IncompleteCommit("x"))
    assert is_worth_repeating(exceptions.ServiceUnavailable("x"))


def test_what_stays_wrong_is_not_run_again() -> None:
    for code in ("Neo.ClientError.Security.Unauthorized", "Neo.ClientError.Statement.SyntaxError"):
        assert not is_worth_repeating(of_code(code))
    assert not is_worth_repeating(exceptions.AuthConfigurationError("x"))
    assert not is_worth_repeating(ValueError())


@pytest.mark.parametrize(
    "uri", ["nonsense", "http://127.0.0.1:7687", "bolt://127.0.0.1:port", "neo4j://"]
)
async def test_an_address_that_cannot_be_used_is_the_settings_fault(uri: str) -> None:
    control = Neo4jControl(Address(uri=uri), model="m", dimensions=2)
    with pytest.raises(ConfigurationError, match="NEO4J_URI"):
        await control.workspaces()
    await control.aclose()


@pytest.mark.parametrize("uri", [URI, "neo4j://nowhere.invalid:7687"])
async def test_a_server_that_is_not_there_is_the_surroundings_fault(uri: str) -> None:
    connection = Connection(Address(uri=uri, retry_seconds=0.0, connect_seconds=1.0))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await connection.read(lambda transaction: transaction.rows("ping"))
    await connection.aclose()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def _babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x00\x05\x05" + b"\x00\x03\xff\xff\xff\x00\x00" * 9)
    writer.close()


async def _break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x00\x05\x05\x00\x63\xb1")
    writer.close()


@pytest.mark.parametrize("scheme", ["bolt", "bolt+ssc", "neo4j"])
@pytest.mark.parametrize("answer", [_hang_up, _speak_http, _babble, _break_off])
async def test_whatever_answers_in_place_of_neo4j_is_an_error_of_ours(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], scheme: str
) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    uri = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    connection = Connection(Address(uri=uri, retry_seconds=0.0, connect_seconds=1.0))
    for ask in (
        lambda: connection.run("ping"),
        lambda: connection.write(lambda transaction: transaction.rows("ping")),
    ):
        with pytest.raises((StoreUnavailable, ConfigurationError)) as caught:
            await ask()
        assert uri in str(caught.value)
        assert str(caught.value).endswith((".", "stays."))
    await connection.aclose()
    server.close()


async def test_what_nobody_answers_says_how_long_was_waited() -> None:
    assert "within 2 s" in str(translation(Unanswered(2.0), URI))


def test_the_password_is_not_printed() -> None:
    assert "hidden" not in repr(Address(uri=URI, password="hidden"))  # noqa: S106
