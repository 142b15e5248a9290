"""Log lines to stderr, for a person who reads them between the lines of a command."""

from __future__ import annotations

import logging
import sys

from rag_engine.telemetry import events


def log_to_stderr(level: str, *, tracebacks: bool) -> None:
    """Send what is logged at `level` and above to stderr.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        tracebacks: Whether logged exceptions show where they were raised.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(tracebacks=tracebacks))
    if level == "WARNING":
        handler.addFilter(_shown_otherwise)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level != "DEBUG":
        # Each connection that breaks or is given up is an error to the driver. What it means is
        # said by ours, or nothing is wrong.
        logging.getLogger("neo4j").setLevel(logging.CRITICAL)


def _shown_otherwise(record: logging.LogRecord) -> bool:
    # Every failed document already is a line of the command's own output.
    return getattr(record, "action", None) != events.FAILED


class _Lines(logging.Formatter):
    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """One line, with the document a record is about."""
        if not self._tracebacks:
            record.exc_info = record.exc_text = None
        document = getattr(record, "document", None)
        return super().format(record) + (f" [{document}]" if document else "")
