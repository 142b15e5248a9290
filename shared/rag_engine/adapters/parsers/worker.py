"""The process in which documents are parsed, as `process.py` starts it.

It reads requests from its standard input and writes results to what was its standard output. It
ends when its input closes, so it cannot outlive the process that started it.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import BinaryIO

from rag_engine.adapters.parsers import confinement, frames
from rag_engine.adapters.parsers.formats import Reader
from rag_engine.adapters.parsers.limits import ParserLimits
from rag_engine.adapters.parsers.source import in_a_line
from rag_engine.core import children
from rag_engine.errors import DocumentRejected


def main(limits_json: str) -> None:
    """Serve requests until the input closes."""
    requests, replies = children.private_streams()
    limits = ParserLimits(**json.loads(limits_json))
    confinement.confine(limits)
    reader = Reader(ocr=limits.ocr)
    waiting: queue.SimpleQueue[frames.Frame] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    frames.write(replies, {"ready": True})
    while True:
        frame = waiting.get()
        confinement.allow_cpu(limits.timeout_seconds)
        frames.write(replies, _answer(reader, frame, limits, replies))


def _receive(stream: BinaryIO, waiting: queue.SimpleQueue[frames.Frame]) -> None:
    """Queue requests. In a thread of its own, to notice at once that the parent is gone."""
    while (frame := frames.read(stream)) is not None:
        waiting.put(frame)
    os._exit(0)


def _answer(
    reader: Reader, frame: frames.Frame, limits: ParserLimits, replies: BinaryIO
) -> frames.Frame:
    def progress() -> None:
        confinement.allow_cpu(limits.timeout_seconds)
        frames.write(replies, {"progress": True})

    source = frames.source(frame, limits, progress)
    try:
        return frames.success(reader.read(source))
    except DocumentRejected as exc:
        return frames.failure(exc)
    except MemoryError:
        return frames.failure(source.takes_too_much_memory())
    except RecursionError:
        return frames.failure(source.damaged("it is nested too deeply"))
    except OSError as exc:
        return frames.failure(source.damaged(exc.strerror or in_a_line(exc)))
    # The boundary of the sandbox: whatever a library raises concerns this document alone.
    except Exception as exc:  # noqa: BLE001
        return frames.failure(source.damaged(f"its parser failed ({in_a_line(exc)})"))
