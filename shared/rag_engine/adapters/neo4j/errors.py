"""What the driver raises, in our own words: one place, walked by a test over the driver's classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from neo4j import exceptions as driver

from rag_engine.errors import (
    ConfigurationError,
    RagEngineError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)

_OVERTAKEN: Final = "Neo.ClientError.Statement.EntityNotFound"
"""Somebody deleted what this transaction was about to lock: run again, it finds that out."""

_BUSY: Final = (
    "Neo.ClientError.Transaction.TransactionTimedOut",
    "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
    "Neo.ClientError.Transaction.LockClientStopped",
)
_FULL: Final = ("no space left", "disk full", "DatabaseOutOfDisk", "StorageFull")
_DAMAGED: Final = ("corrupt", "InconsistentDatabase", "KernelException", "IndexCorruption")


class Overtaken(Exception):
    """Another transaction changed what this one rests on: roll it back and run all of it again."""


def is_worth_repeating(error: BaseException) -> bool:
    """Whether a transaction that failed so may succeed when all of it is run again.

    That goes for one that may have been committed before the connection broke, too: what the store
    writes it writes once, however often it is told to (see `Connection.write`).
    """
    if isinstance(error, Overtaken | driver.IncompleteCommit):
        return True
    if isinstance(error, driver.Neo4jError):
        return error.is_retryable() or error.code == _OVERTAKEN
    return isinstance(error, driver.DriverError) and error.is_retryable()


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raise our errors in place of the driver's.

    Args:
        uri: Of the database, for the message.
    """
    try:
        yield
    except (driver.Neo4jError, driver.DriverError, Overtaken, OSError) as error:
        raise translation(error, uri) from error
    except ValueError as error:  # the driver's word for a host that nobody knows
        if not isinstance(error.__cause__, OSError):
            raise
        raise translation(error.__cause__, uri) from error


def translation(error: BaseException, uri: str) -> RagEngineError:
    """Our error for one of the driver's."""
    if isinstance(error, driver.Neo4jError):
        return _of_server(error, uri)
    if isinstance(error, driver.ConfigurationError | ValueError):
        return ConfigurationError(
            f"NEO4J_URI={uri!r} or another Neo4j setting cannot be used ({_text(error)}). Use an "
            "address like neo4j://host:7687, or neo4j+s://host:7687 with TLS."
        )
    if isinstance(error, driver.ConnectionPoolError):
        return StoreUnavailable(
            f"All connections to Neo4j at {uri!r} are in use. Try again, or raise "
            "NEO4J_MAX_CONNECTIONS."
        )
    if isinstance(error, Overtaken):
        return StoreUnavailable(
            f"Others changed what was to be written to Neo4j at {uri!r} again and again. Try again."
        )
    if isinstance(error, driver.SessionExpired | driver.ServiceUnavailable | OSError):
        return StoreUnavailable(
            f"Neo4j at {uri!r} cannot be reached ({_text(error)}). Check that it runs and that "
            "NEO4J_URI names it; then try again."
        )
    return StoreUnavailable(
        f"The connection to Neo4j at {uri!r} was used up ({type(error).__name__}: {_text(error)}). "
        "Try again, and report it if it stays."
    )


def _of_server(error: driver.Neo4jError, uri: str) -> RagEngineError:
    code, text = error.code or "", _text(error)
    if isinstance(error, driver.AuthError) or code.startswith("Neo.ClientError.Security"):
        return ConfigurationError(
            f"Neo4j at {uri!r} refuses the user ({text}). Check NEO4J_USERNAME and NEO4J_PASSWORD, "
            "and that this user may read, write and create indexes."
        )
    if code == "Neo.ClientError.Database.DatabaseNotFound":
        return ConfigurationError(
            f"Neo4j at {uri!r} has no such database ({text}). Correct NEO4J_DATABASE, or leave it "
            "empty for the user's default one."
        )
    if any(one.lower() in f"{code} {text}".lower() for one in _FULL):
        return StoreFull(f"Neo4j at {uri!r} has no space left ({text}). Free some on its disk.")
    if isinstance(error, driver.DatabaseError) and any(one in f"{code} {text}" for one in _DAMAGED):
        return StoreCorrupt(
            f"The database of Neo4j at {uri!r} is damaged ({text}). Restore it from a backup."
        )
    if is_worth_repeating(error) or code in _BUSY or isinstance(error, driver.DatabaseError):
        return StoreUnavailable(f"Neo4j at {uri!r} is busy or failed ({text}). Try again.")
    return StoreUnavailable(
        f"Neo4j at {uri!r} refused a statement ({code}: {text}). Check that it is version 5.15 or "
        "newer; if it is, please report this."
    )


def _text(error: BaseException) -> str:
    if isinstance(error, driver.Neo4jError):
        return (error.message or error.code or type(error).__name__).rstrip(".")
    return (str(error) or type(error).__name__).rstrip(".")
