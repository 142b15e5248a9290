"""Log lines to stderr: for a person who reads them between the lines of a command, or as JSON."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection
from typing import Literal

from rag_engine.telemetry import events
from rag_engine.telemetry.logging import REQUEST_ID, JsonLines, Redaction, on_one_line


def log_to_stderr(
    level: str,
    *,
    tracebacks: bool,
    form: Literal["text", "json"] = "text",
    secrets: Collection[str] = (),
) -> None:
    """Send what is logged at `level` and above to stderr.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        tracebacks: Whether logged exceptions show where they were raised; in JSON they always do.
        form: For whom.
        secrets: What must not be read there.
    """
    redact = Redaction(secrets)
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(JsonLines(redact))
    else:
        handler.setFormatter(_Lines(redact, tracebacks=tracebacks))
    if level == "WARNING" and form == "text":
        handler.addFilter(_shown_otherwise)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level != "DEBUG":
        # Each connection that breaks or is given up is an error to the driver. What it means is
        # said by ours, or nothing is wrong.
        logging.getLogger("neo4j").setLevel(logging.CRITICAL)
        # Each request to a model server, with its address.
        logging.getLogger("httpx").setLevel(logging.WARNING)


def _shown_otherwise(record: logging.LogRecord) -> bool:
    # Every failed document already is a line of the command's own output.
    return getattr(record, "action", None) != events.FAILED


class _Lines(logging.Formatter):
    def __init__(self, redact: Redaction, *, tracebacks: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        self._redact = redact
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """One line, with the document or the request that a record is about."""
        if not self._tracebacks:
            record.exc_info = record.exc_text = None
        return self._redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        """The line; a traceback has others below it."""
        about = getattr(record, "document", None) or REQUEST_ID.get()
        return on_one_line(super().formatMessage(record) + (f" [{about}]" if about else ""))
