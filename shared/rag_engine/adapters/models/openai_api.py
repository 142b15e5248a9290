"""Chat models behind the OpenAI protocol: OpenAI itself, Ollama, vLLM, llama.cpp and their like.

What a server may do wrong is named here once and becomes one of our errors; no reply is ever passed
on as complete that was not, and none that is empty.
"""

from __future__ import annotations

import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any, Final

import httpx

from rag_engine.errors import (
    ConfigurationError,
    ModelMisbehaved,
    ModelOverloaded,
    ModelUnavailable,
    RagEngineError,
)
from rag_engine.ports.models import ChatDelta, Message, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

_LONGEST_LINE: Final = 1 << 20  # bytes; servers send a few hundred
_LONGEST_REPLY: Final = 200_000  # characters: a book chapter; what goes on beyond is in a loop
_LONGEST_STREAM: Final = 64 << 20  # bytes: a server that only keeps the line open ends here
_LONGEST_DETAIL: Final = 300  # characters of a server's own explanation that we repeat


class OpenAIChat:
    """A `ChatModel` reached over HTTP.

    Args:
        base_url: Where the API begins, usually ending in `/v1`.
        model: The model's name on that server.
        api_key: Sent as a bearer token; `None` for servers that want none.
        client: From `http.http_client`; whoever made it closes it.

    Raises:
        ConfigurationError: The address or the key cannot be used.
    """

    def __init__(
        self, base_url: str, model: str, api_key: str | None, client: httpx.AsyncClient
    ) -> None:
        self._endpoint = _endpoint(base_url)
        self._model = model
        self._key = _checked_key(api_key)
        self._client = client
        self._dialect = _Dialect()

    @property
    def name(self) -> str:
        """The model's name on its server."""
        return self._model

    async def complete(
        self, messages: Sequence[Message], *, max_tokens: int | None = None
    ) -> AsyncGenerator[ChatDelta, None]:
        """The reply, piece by piece, never empty. Closing the generator ends the request.

        Raises:
            ConfigurationError: The key is refused, or the server knows no such model.
            ModelUnavailable: The server cannot be reached, timed out or failed.
            ModelOverloaded: The server asked for fewer requests.
            ModelMisbehaved: The reply broke off, was empty, had no end or was no reply.
        """
        length = 0
        try:
            async with (
                self._opened(messages, max_tokens) as response,
                aclosing(self._deltas(response)) as deltas,
            ):
                async for delta in deltas:
                    length += len(delta.text)
                    if length > _LONGEST_REPLY:
                        raise self._misbehaved("did not come to an end")
                    yield delta
        except (httpx.HTTPError, httpx.StreamError) as exc:
            raise self._broken(exc, begun=length > 0) from exc
        if length == 0:
            raise self._misbehaved("gave an empty reply")

    @asynccontextmanager
    async def _opened(
        self, messages: Sequence[Message], max_tokens: int | None
    ) -> AsyncIterator[httpx.Response]:
        """A response with status 200, in the dialect of the server."""
        while True:
            dialect = self._dialect
            request = self._client.build_request(
                "POST",
                self._endpoint,
                json=dialect.payload(self._model, messages, max_tokens),
                headers={"Authorization": f"Bearer {self._key}"} if self._key else None,
            )
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code == 200:
                    yield response
                    return
                detail = _detail(await _limited_body(response))
            finally:
                await response.aclose()
            simpler = dialect.without(detail) if response.status_code in (400, 422) else None
            if simpler is None:
                raise self._refused(response, detail)
            self._dialect = simpler

    async def _deltas(self, response: httpx.Response) -> AsyncGenerator[ChatDelta, None]:
        if "event-stream" not in response.headers.get("content-type", ""):
            yield self._whole(await _limited_body(response))
            return
        finished = False
        async for data in _events(response):
            if data == "[DONE]":
                finished = True
                continue  # what follows is nothing, and the connection can be used again
            event = self._parsed(data)
            choice = _choice(event)
            reason = choice.get("finish_reason")
            finished = finished or reason is not None
            delta = ChatDelta(
                text=_content(choice.get("delta")),
                usage=_usage(event),
                cut_off=reason == "length",
            )
            if delta != ChatDelta():
                yield delta
        if not finished:
            raise self._misbehaved("broke off in the middle of its reply")

    def _parsed(self, data: str | bytes) -> dict[str, Any]:
        try:
            event = json.loads(data)
        except ValueError as exc:
            raise self._misbehaved("sent something that is not JSON") from exc
        if not isinstance(event, dict):
            raise self._misbehaved("sent something that is no reply")
        if event.get("error"):
            raise self._misbehaved(f"failed: {self._redacted(_detail(json.dumps(event).encode()))}")
        return event

    def _whole(self, body: bytes) -> ChatDelta:
        """A reply that was not streamed although we asked for it."""
        event = self._parsed(body)
        choice = _choice(event)
        return ChatDelta(
            text=_content(choice.get("message")),
            usage=_usage(event),
            cut_off=choice.get("finish_reason") == "length",
        )

    def _misbehaved(self, what: str) -> ModelMisbehaved:
        return ModelMisbehaved(
            f"The model {self._model!r} at {_shown(self._endpoint)!r} {what}. Ask again; if it "
            "happens again, look into the server's log or choose another model."
        )

    def _broken(self, exc: httpx.HTTPError | httpx.StreamError, *, begun: bool) -> RagEngineError:
        where = _shown(self._endpoint)
        if begun:
            return self._misbehaved("broke off in the middle of its reply")
        if isinstance(exc, httpx.UnsupportedProtocol):
            return ConfigurationError(
                f"The address {where!r} is no HTTP address. Set RAG_LLM_BASE_URL to something "
                "like 'http://localhost:11434/v1'."
            )
        if isinstance(exc, httpx.TimeoutException):
            return ModelUnavailable(
                f"The model server at {where!r} did not answer in time. Check that it is running "
                "and not overloaded, or choose a faster model."
            )
        reason = self._redacted(str(exc)) or type(exc).__name__
        return ModelUnavailable(
            f"The model server at {where!r} cannot be reached ({reason}). Check that it is running "
            "and that RAG_LLM_BASE_URL is its address."
        )

    def _refused(self, response: httpx.Response, detail: str) -> RagEngineError:
        status, where = response.status_code, _shown(self._endpoint)
        said = f" It said: {self._redacted(detail)!r}." if detail else ""
        if status in (401, 403):
            return ConfigurationError(
                f"The model server at {where!r} refused the key ({status}).{said} Set "
                "RAG_LLM_API_KEY to a key that may use it."
            )
        if status == 404 or 300 <= status < 400:
            return ConfigurationError(
                f"The model server at {where!r} knows no model {self._model!r} or no such address "
                f"({status}).{said} Check RAG_LLM_MODEL and RAG_LLM_BASE_URL."
            )
        wait = _retry_after(response.headers.get("retry-after"))
        if status == 429 or (status == 503 and wait is not None):
            return ModelOverloaded(
                f"The model server at {where!r} asked for fewer requests ({status}).{said} Wait "
                "and try again, or raise its limits.",
                retry_after=wait,
            )
        if status >= 500 or status == 408:
            return ModelUnavailable(
                f"The model server at {where!r} failed ({status}).{said} Look into its log, or try "
                "again later."
            )
        return ModelMisbehaved(
            f"The model server at {where!r} refused the request ({status}).{said} Check that the "
            f"model {self._model!r} can chat and that its context is long enough."
        )

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dialect:
    """Which optional fields a server understands; found out by its refusals."""

    stream_options: bool = True
    old_limit: bool = True

    def payload(
        self, model: str, messages: Sequence[Message], max_tokens: int | None
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "stream": True,
        }
        if self.stream_options:
            body["stream_options"] = {"include_usage": True}
        if max_tokens is not None:
            body["max_tokens" if self.old_limit else "max_completion_tokens"] = max_tokens
        return body

    def without(self, complaint: str) -> _Dialect | None:
        """The dialect without what the complaint names, or `None` when it names nothing of ours."""
        if self.old_limit and "max_completion_tokens" in complaint:
            return _Dialect(stream_options=self.stream_options, old_limit=False)
        if self.stream_options and ("stream_options" in complaint or "include_usage" in complaint):
            return _Dialect(stream_options=False, old_limit=self.old_limit)
        return None


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of server-sent events. Only `\\n` ends a line: JSON may hold any other separator."""
    held = b""
    received = 0
    async for piece in response.aiter_bytes():
        received += len(piece)
        if received > _LONGEST_STREAM:
            return
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", "replace")
        if len(held) > _LONGEST_LINE:
            break
    if held.startswith(b"data:"):
        yield held[5:].strip().decode("utf-8", "replace")


async def _limited_body(response: httpx.Response) -> bytes:
    body = b""
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > _LONGEST_LINE:
            break
    return body


def _detail(body: bytes) -> str:
    """A server's own explanation, whichever of the usual places it stands in."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return ""
    for field in ("error", "detail", "message"):
        if isinstance(found, dict) and found.get(field):
            found = found[field]
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return " ".join(text.split())[:_LONGEST_DETAIL]


def _choice(event: dict[str, Any]) -> dict[str, Any]:
    choices = event.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _content(message: Any) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""


def _usage(event: dict[str, Any]) -> Usage | None:
    usage = event.get("usage")
    if not isinstance(usage, dict):
        return None
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    prompt, completion = (c if isinstance(c, int) else 0 for c in counts)
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def _retry_after(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        if header.strip().isdigit():
            return float(header)
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None


def _endpoint(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
    except httpx.InvalidURL as exc:
        raise ConfigurationError(
            f"The address {base_url!r} cannot be understood: {exc}. Set RAG_LLM_BASE_URL to "
            "something like 'http://localhost:11434/v1'."
        ) from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(
            f"The address {base_url!r} is no HTTP address. Set RAG_LLM_BASE_URL to something like "
            "'http://localhost:11434/v1'."
        )
    return url


def _shown(url: httpx.URL) -> str:
    # The address may carry a user name and a password.
    return str(
        url.copy_with(userinfo=b"", query=None, path=url.path.removesuffix("/chat/completions"))
    )


def _checked_key(key: str | None) -> str:
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ConfigurationError(
            "The key holds characters that cannot be sent. Set RAG_LLM_API_KEY again, without "
            "line ends or quotes."
        )
    return key
