from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from rag_engine.adapters.models.http import HttpLimits, http_client
from rag_engine.adapters.models.openai_api import OpenAIChat
from rag_engine.errors import (
    ConfigurationError,
    ModelMisbehaved,
    ModelOverloaded,
    ModelUnavailable,
    RagEngineError,
)
from rag_engine.ports.models import ChatDelta, Message, Usage
from rag_engine.testing.openai_server import Fault, OpenAIServer, Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "sk-very-secret-0123456789"
TEXT = "The river flows to the sea [1], as everybody knows."
FAST = HttpLimits(connect_seconds=1, silence_seconds=0.5)


async def ask(
    url: str, *, key: str | None = KEY, max_tokens: int | None = None
) -> Sequence[ChatDelta]:
    async with http_client(FAST) as client:
        chat = OpenAIChat(url, "small", key, client)
        question = [Message(role="user", content="Where to?")]
        return [delta async for delta in chat.complete(question, max_tokens=max_tokens)]


async def refused(reply: Reply) -> RagEngineError:
    with OpenAIServer(reply) as server:
        with pytest.raises(RagEngineError) as caught:
            await ask(server.base_url)
        assert len(server.requests) == 1
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value.__cause__)
    return caught.value


async def test_what_is_sent() -> None:
    with OpenAIServer(Reply(text=TEXT)) as server:
        await ask(server.base_url, max_tokens=9)
    assert server.keys == [f"Bearer {KEY}"]
    assert server.requests == [
        {
            "model": "small",
            "messages": [{"role": "user", "content": "Where to?"}],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 9,
        }
    ]


async def test_without_a_key_no_header_is_sent() -> None:
    with OpenAIServer(Reply(text=TEXT)) as server:
        await ask(server.base_url, key=None)
    assert server.keys == [None]


async def test_a_model_on_this_machine_is_not_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with OpenAIServer(Reply(text=TEXT)) as server:
        assert "".join(d.text for d in await ask(server.base_url)) == TEXT


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_the_setting(status: int) -> None:
    error = await refused(Reply(status=status, text=f"bad key {KEY}"))
    assert isinstance(error, ConfigurationError)
    assert "RAG_LLM_API_KEY" in str(error)


async def test_an_unknown_model_names_it() -> None:
    error = await refused(Reply(status=404, text="model not found"))
    assert isinstance(error, ConfigurationError)
    assert "'small'" in str(error)
    assert "RAG_LLM_MODEL" in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
    ],
)
async def test_too_many_requests_say_how_long_to_wait(
    header: dict[str, str], seconds: float | None
) -> None:
    error = await refused(Reply(status=429, text="slow down", headers=header))
    assert isinstance(error, ModelOverloaded)
    assert error.retry_after == seconds
    assert error.retryable


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_a_failing_server_may_recover(status: int) -> None:
    error = await refused(Reply(status=status, text="out of order"))
    assert type(error) is ModelUnavailable
    assert "out of order" in str(error)


async def test_a_request_that_is_too_long_is_not_tried_again() -> None:
    error = await refused(Reply(status=400, text="context length exceeded"))
    assert isinstance(error, ModelMisbehaved)
    assert "context length exceeded" in str(error)


async def test_a_redirect_is_not_followed() -> None:
    error = await refused(Reply(status=307, headers={"Location": "http://127.0.0.1:9/steal"}))
    assert isinstance(error, ConfigurationError)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault.EMPTY, "empty"),
        (Fault.TRUNCATED_JSON, "not JSON"),
        (Fault.TRUNCATED_STREAM, "broke off"),
        (Fault.RESET, "broke off"),
        (Fault.NOT_JSON, "not JSON"),
        (Fault.ERROR_EVENT, "out of memory"),
    ],
)
async def test_a_reply_that_is_none_is_an_error(fault: Fault, said: str) -> None:
    error = await refused(Reply(text=TEXT, fault=fault))
    assert isinstance(error, ModelMisbehaved)
    assert said in str(error)


async def test_an_endless_reply_is_ended() -> None:
    error = await refused(Reply(text=TEXT * 40, fault=Fault.ENDLESS))
    assert isinstance(error, ModelMisbehaved)
    assert "did not come to an end" in str(error)


async def test_a_silent_server_is_given_up() -> None:
    error = await refused(Reply(fault=Fault.SILENT))
    assert isinstance(error, ModelUnavailable)
    assert "in time" in str(error)


async def test_a_reply_that_is_not_streamed_is_taken() -> None:
    with OpenAIServer(Reply(text=TEXT, fault=Fault.NOT_STREAMED)) as server:
        deltas = await ask(server.base_url)
    assert deltas == [
        ChatDelta(text=TEXT, usage=Usage(prompt_tokens=11, completion_tokens=len(TEXT.split())))
    ]


async def test_a_reply_at_its_limit_says_so() -> None:
    with OpenAIServer(Reply(text=TEXT, finish_reason="length")) as server:
        deltas = await ask(server.base_url)
    assert [d.cut_off for d in deltas if d.cut_off] == [True]


async def test_a_server_without_usage_is_asked_once_more_and_remembered() -> None:
    question = [Message(role="user", content="Where to?")]
    server = OpenAIServer(Reply(text=TEXT, fault=Fault.NO_STREAM_OPTIONS))
    async with http_client(FAST) as client:
        with server:
            chat = OpenAIChat(server.base_url, "small", None, client)
            for _ in range(2):
                deltas = [d async for d in chat.complete(question)]
                assert "".join(d.text for d in deltas) == TEXT
                assert all(d.usage is None for d in deltas)
    assert ["stream_options" in r for r in server.requests] == [True, False, False]


async def test_the_newer_name_of_the_limit_is_found() -> None:
    seen: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        if b'"max_tokens"' in request.content:
            return httpx.Response(
                400, json={"error": {"message": "Use 'max_completion_tokens' instead."}}
            )
        return httpx.Response(200, json={"choices": [{"message": {"content": "Yes."}}]})

    async with http_client(transport=httpx.MockTransport(handle)) as client:
        chat = OpenAIChat("http://models.test/v1/", "small", None, client)
        question = [Message(role="user", content="?")]
        assert [d.text async for d in chat.complete(question, max_tokens=5)] == ["Yes."]
    assert len(seen) == 2


async def test_nobody_listening_names_the_address() -> None:
    with OpenAIServer() as server:
        url = server.base_url
    with pytest.raises(ModelUnavailable, match="cannot be reached") as caught:
        await ask(url.replace("http://", "http://user:secret@"))
    assert url in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "RAG_LLM_BASE_URL" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:11434", "ftp://x/v1", "", "http://", "http://x:port/v1"]
)
async def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError, match="RAG_LLM_BASE_URL"):
        await ask(url)


async def test_a_key_with_a_line_end_inside_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="RAG_LLM_API_KEY") as caught:
        await ask("http://127.0.0.1:9/v1", key="sk-a\nb")
    assert "sk-a" not in str(caught.value)
