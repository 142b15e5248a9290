"""A local server that speaks the OpenAI protocol, chat and embeddings, and misbehaves on demand.

It answers real HTTP on the loopback interface from a thread of its own, so that adapters, the
command line and other processes can be tested against it.
"""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

CHAT: Final = "/v1/chat/completions"
EMBEDDINGS: Final = "/v1/embeddings"

_PIECE: Final = 5  # characters of a delta: a citation falls into two


class Fault(StrEnum):
    """What goes wrong with a reply. A stream is what chat answers with where `stream` is asked for."""

    NONE = "none"  # nothing
    EMPTY = "empty"  # a well-formed reply without text, or without vectors
    TRUNCATED_JSON = "truncated_json"  # the body, or the last event, breaks off inside its JSON
    TRUNCATED_STREAM = "truncated_stream"  # the stream ends after half the reply, tidily
    RESET = "reset"  # the connection is torn down after half the reply
    ENDLESS = "endless"  # the reply goes on until the client goes away
    NOT_JSON = "not_json"  # status 200 and a page of HTML
    NOT_STREAMED = "not_streamed"  # one JSON object instead of a stream
    ERROR_EVENT = "error_event"  # an error object in the middle of the stream, or as the body
    NO_STREAM_OPTIONS = "no_stream_options"  # refuses the field `stream_options`, else fine
    SILENT = "silent"  # accepts the request and says nothing until it is closed
    WRONG_DIMENSION = "wrong_dimension"  # each vector is one number too long
    WRONG_COUNT = "wrong_count"  # there is one vector too few


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server does with one request.

    Attributes:
        text: What it says to a conversation; embeddings are made of what was sent.
        status: Other than 200: an error object with `text` as its message.
        headers: Sent as well, `Retry-After` for example.
        finish_reason: Why the reply ended.
    """

    text: str = ""
    fault: Fault = Fault.NONE
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    finish_reason: str = "stop"


def letters(text: str) -> list[float]:
    """The default embedding, of 8 dimensions: how often each eighth of the code points occurs."""
    counts = Counter(ord(letter) % 8 for letter in text)
    return [float(counts[one]) for one in range(8)]


class OpenAIServer:
    """A server for the time of a `with` block.

    Args:
        replies: What to do with the first conversation, the second …; the last one is repeated.
        embeddings: The same for requests for embeddings.
        embed: Text to vector.

    Attributes:
        requests: The bodies of all requests so far, for tests that count or read them.
        keys: Their `Authorization` headers.
        calls: How many requests there were, by path.
    """

    def __init__(
        self,
        *replies: Reply,
        embeddings: Sequence[Reply] = (Reply(),),
        embed: Callable[[str], list[float]] = letters,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.calls: Counter[str] = Counter()
        self.embed = embed
        self._distinct: dict[str, set[str]] = {}
        self._replies = {CHAT: replies or (Reply(text="Yes."),), EMBEDDINGS: embeddings}
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

    def distinct(self, path: str) -> int:
        """How many different requests a path was sent: what a cache would have let through."""
        with self._lock:
            return len(self._distinct.get(path, ()))

    def take(self, path: str, body: dict[str, Any], key: str | None) -> Reply:
        """Record a request and say what to do with it."""
        with self._lock:
            self.requests.append(body)
            self.keys.append(key)
            self.calls[path] += 1
            self._distinct.setdefault(path, set()).add(json.dumps(body, sort_keys=True))
            if path not in self._replies:
                return Reply(status=404, text=f"no such address: {path}")
            replies = self._replies[path]
            reply = replies[min(self.calls[path], len(replies)) - 1]
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
        reply = owner.take(self.path, body, self.headers.get("Authorization"))
        self.close_connection = True
        try:
            self._answer(reply, body, owner)
        except (BrokenPipeError, ConnectionResetError):
            return  # the client has seen enough

    def _answer(self, reply: Reply, body: dict[str, Any], owner: OpenAIServer) -> None:
        if reply.fault is Fault.SILENT:
            owner.closing.wait(30)
        elif reply.status != 200:
            error = json.dumps({"error": {"message": reply.text}}).encode()
            self._begin(reply.status, "application/json", reply.headers)
            self.wfile.write(error)
        elif reply.fault is Fault.NOT_JSON:
            self._begin(200, "text/html", reply.headers)
            self.wfile.write(b"<html>Please log in</html>")
        elif self.path == EMBEDDINGS:
            self._whole(_embedded(reply, body, owner.embed), reply, owner)
        elif reply.fault is Fault.NOT_STREAMED or not body.get("stream"):
            self._whole(_said(reply), reply, owner)
        else:
            self._begin(200, "text/event-stream", reply.headers)
            self._stream(reply, "stream_options" in body, owner)

    def _whole(self, answer: dict[str, Any], reply: Reply, owner: OpenAIServer) -> None:
        """One JSON object as the body."""
        if reply.fault is Fault.ERROR_EVENT:
            answer = {"error": {"message": "out of memory"}}
        body = json.dumps(answer, ensure_ascii=False).encode()
        self._begin(200, "application/json", reply.headers)
        if reply.fault in (Fault.TRUNCATED_JSON, Fault.TRUNCATED_STREAM, Fault.RESET):
            body = body[: len(body) // 2]
        self.wfile.write(body)
        while reply.fault is Fault.ENDLESS and not owner.closing.is_set():
            self.wfile.write(b" " * 65536)
        if reply.fault is Fault.RESET:
            self._reset()

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
            self._reset()
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

    def _reset(self) -> None:
        # Closing with a linger time of zero sends a reset instead of an orderly end.
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def _begin(self, status: int, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


def _said(reply: Reply) -> dict[str, Any]:
    text = "" if reply.fault is Fault.EMPTY else reply.text
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish_reason}
    return {"object": "chat.completion", "choices": [choice], "usage": _usage(reply)}


def _embedded(
    reply: Reply, body: dict[str, Any], embed: Callable[[str], list[float]]
) -> dict[str, Any]:
    texts: list[str] = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vectors = [embed(text) for text in texts]
    if reply.fault is Fault.EMPTY:
        vectors = []
    elif reply.fault is Fault.WRONG_COUNT:
        vectors = vectors[:-1]
    elif reply.fault is Fault.WRONG_DIMENSION:
        vectors = [[*vector, 0.0] for vector in vectors]
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(one) if packed else one}
        for index, one in enumerate(vectors)
    ]
    tokens = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(reply: Reply) -> dict[str, int]:
    return {"prompt_tokens": 11, "completion_tokens": len(reply.text.split())}
