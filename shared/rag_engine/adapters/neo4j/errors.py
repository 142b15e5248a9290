"""What the driver raises, in our own words: one place, walked by a test over the driver's classes."""

from __future__ import annotations

import re
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

_STOPPED: Final = (
    "Neo.ClientError.Transaction.Terminated",
    "Neo.ClientError.Transaction.LockClientStopped",
)
"""The server ended the transaction, most often because it is told to stop itself."""

_TIMED_OUT: Final = (
    "Neo.ClientError.Transaction.TransactionTimedOut",
    "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
)
"""Most often it waited for a lock, which somebody holds who was cut off."""

_RACED: Final = re.compile(r"Neo\.ClientError\.Schema\.\w+AlreadyExists")
"""What `IF NOT EXISTS` cannot see: somebody else makes the same index at this moment."""

_FULL: Final = ("no space left", "disk full", "DatabaseOutOfDisk", "StorageFull")
_DAMAGED: Final = ("corrupt", "InconsistentDatabase", "KernelException", "IndexCorruption")


class Overtaken(Exception):
    """Another transaction changed what this one rests on: roll it back and run all of it again."""


class Unanswered(Exception):
    """The server said nothing for too long; what was asked for may have been done all the same.

    Args:
        seconds: How long was waited.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def kept_no_more() -> StoreUnavailable:
    """What to raise when something of an old view was removed for good."""
    return StoreUnavailable(
        "What was read was replaced or deleted so long ago that it is not kept any more. Try again."
    )


def is_worth_repeating(error: BaseException) -> bool:
    """Whether a transaction that failed so may succeed when all of it is run again.

    That goes for one that may have been committed before the connection broke, too: what the store
    writes it writes once, however often it is told to (see `Connection.write`).
    """
    if isinstance(error, Overtaken | Unanswered | driver.IncompleteCommit):
        return True
    if isinstance(error, driver.ConnectionPoolError):
        return True  # an idle connection that was found dead takes all the time there is
    if isinstance(error, driver.Neo4jError):
        code = error.code or ""
        known = code in (_OVERTAKEN, *_STOPPED, *_TIMED_OUT) or bool(_RACED.fullmatch(code))
        return known or error.is_retryable()
    return isinstance(error, driver.DriverError) and error.is_retryable()


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raise our errors in place of the driver's.

    Args:
        uri: Of the database, for the message.
    """
    try:
        yield
    except (driver.Neo4jError, driver.DriverError, Overtaken, Unanswered, OSError) as error:
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
            f"No connection to Neo4j at {uri!r} was free in time ({_text(error)}). Try again; if "
            "the server can be reached and many ask at once, raise NEO4J_MAX_CONNECTIONS."
        )
    if isinstance(error, Unanswered):
        return StoreUnavailable(
            f"Neo4j at {uri!r} did not answer within {error.seconds:g} s. Check that it is not "
            "overloaded and the network between here and there; then try again."
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
    if is_worth_repeating(error) or isinstance(error, driver.DatabaseError):
        return StoreUnavailable(f"Neo4j at {uri!r} is busy or failed ({text}). Try again.")
    return StoreUnavailable(
        f"Neo4j at {uri!r} refused a statement ({code}: {text}). Check that it is version 5.15 or "
        "newer; if it is, please report this."
    )


def _text(error: BaseException) -> str:
    if isinstance(error, driver.Neo4jError):
        return (error.message or error.code or type(error).__name__).rstrip(". ")
    return (str(error) or type(error).__name__).rstrip(".")
