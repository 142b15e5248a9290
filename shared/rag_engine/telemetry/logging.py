"""Lines of the log: one record each, whatever is in it, and never a secret.

What a client sent may hold line ends and colours, and what a library raised may hold a password.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Of the request on whose behalf something is done, or `None`."""

_KEY: Final = r"\brag-[0-9a-f]{12}-[A-Za-z0-9_-]{20,}"
_SHORTEST: Final = 4  # shorter ones stand in words
_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Redaction:
    """Takes secrets out of a text: keys of ours, whosever they are, and those that are given.

    Args:
        secrets: What must not be read in a log.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({one for one in secrets if len(one) >= _SHORTEST}, key=len, reverse=True)
        self._pattern = re.compile("|".join([_KEY, *map(re.escape, known)]))

    def __call__(self, text: str) -> str:
        """The text with `…` in place of each."""
        return self._pattern.sub("…", text)


def on_one_line(text: str) -> str:
    """A text whose controls, line ends and invisible characters are written as escapes."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, and what else was said of it.

    Args:
        redact: Takes secrets out.
    """

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line; with the traceback of an error, if there is one."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if (id := REQUEST_ID.get()) is not None:
            fields["request"] = id
        for name, value in vars(record).items():
            if name not in _KNOWN and name not in fields:
                plain = isinstance(value, int | float | None)
                fields[name] = value if plain else self._redact(str(value))
        if record.exc_info:
            fields["traceback"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(fields)
