"""A local server that speaks the OpenAI chat protocol and misbehaves on demand.

It answers real HTTP on the loopback interface from a thread of its own, so that adapters, the
command line and other processes can be tested against it.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_PIECE: Final = 5  # characters of a delta: a citation falls into two


class Fault(StrEnum):
    """What goes wrong with a reply."""

    NONE = "none"  # nothing
    EMPTY = "empty"  # a well-formed reply without text
    TRUNCATED_JSON = "truncated_json"  # the last event breaks off inside its JSON
    TRUNCATED_STREAM = "truncated_stream"  # the stream ends after half the reply, tidily
    RESET = "reset"  # the connection is torn down after half the reply
    ENDLESS = "endless"  # the reply is repeated until the client goes away
    NOT_JSON = "not_json"  # status 200 and a page of HTML
    NOT_STREAMED = "not_streamed"  # one JSON object instead of a stream
    ERROR_EVENT = "error_event"  # an error object in the middle of the stream
    NO_STREAM_OPTIONS = "no_stream_options"  # refuses the field `stream_options`, else fine
    SILENT = "silent"  # accepts the request and says nothing until it is closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server does with one request.

    Attributes:
        status: Other than 200: an error object with `text` as its message.
        headers: Sent as well, `Retry-After` for example.
        finish_reason: Why the reply ended.
    """

    text: str = ""
    fault: Fault = Fault.NONE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"


class OpenAIServer:
    """A server for the time of a `with` block.

    Args:
        replies: What to do with the first request, the second …; the last one is repeated.

    Attributes:
        requests: The bodies of all requests so far, for tests that count or read them.
        keys: Their `Authorization` headers.
    """

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self._replies: Sequence[Reply] = replies or (Reply(text="Yes."),)
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def base_url(self) -> str:
        """What to set `RAG_LLM_BASE_URL` to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, body: dict[str, Any], key: str | None) -> Reply:
        """Record a request and say what to do with it."""
        with self._lock:
            self.requests.append(body)
            self.keys.append(key)
            reply = self._replies[min(len(self.requests), len(self._replies)) - 1]
        if reply.fault is Fault.NO_STREAM_OPTIONS and "stream_options" in body:
            return Reply(status=400, text="Unknown field: stream_options")
        return reply


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    owner: OpenAIServer


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a test's output is its own."""

    def do_POST(self) -> None:
        """Answer one request."""
        owner = cast("_Server", self.server).owner
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length))
        reply = owner.take(body, self.headers.get("Authorization"))
        self.close_connection = True
        try:
            self._answer(reply, body, owner)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has seen enough

    def _answer(self, reply: Reply, body: dict[str, Any], owner: OpenAIServer) -> None:
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": f"no such address: {self.path}"}}, {})
        elif reply.fault is Fault.SILENT:
            owner.closing.wait(30)
        elif reply.status != 200:
            self._send(reply.status, {"error": {"message": reply.text}}, reply.headers)
        elif reply.fault is Fault.NOT_JSON:
            self._begin(200, "text/html", reply.headers)
            self.wfile.write(b"<html>Please log in</html>")
        elif reply.fault is Fault.NOT_STREAMED:
            message = {"role": "assistant", "content": reply.text}
            choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
            self._send(200, {"choices": [choice], "usage": _usage(reply)}, reply.headers)
        else:
            self._begin(200, "text/event-stream", reply.headers)
            self._stream(reply, "stream_options" in body, owner)

    def _stream(self, reply: Reply, with_usage: bool, owner: OpenAIServer) -> None:
        text = "" if reply.fault is Fault.EMPTY else reply.text
        if reply.fault in (Fault.TRUNCATED_JSON, Fault.TRUNCATED_STREAM, Fault.RESET):
            text = text[: len(text) // 2]
        self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        while True:
            for at in range(0, len(text), _PIECE):
                delta = {"content": text[at : at + _PIECE]}
                self._event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            if reply.fault is not Fault.ENDLESS or owner.closing.is_set():
                break
        if reply.fault is Fault.TRUNCATED_JSON:
            self.wfile.write(b'data: {"choices": [{"index": 0, "del')
        elif reply.fault is Fault.RESET:
            # Closing with a linger time of zero sends a reset instead of an orderly end.
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        elif reply.fault is Fault.ERROR_EVENT:
            self._event({"error": {"message": "out of memory"}})
        elif reply.fault is not Fault.TRUNCATED_STREAM:
            finish = {"index": 0, "delta": {}, "finish_reason": reply.finish_reason}
            self._event({"choices": [finish]})
            if with_usage:
                self._event({"choices": [], "usage": _usage(reply)})
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")
        self.wfile.flush()

    def _send(self, status: int, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        self._begin(status, "application/json", headers)
        self.wfile.write(json.dumps(body, ensure_ascii=False).encode())

    def _begin(self, status: int, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _usage(reply: Reply) -> dict[str, int]:
    return {"prompt_tokens": 11, "completion_tokens": len(reply.text.split())}
