"""The server that misbehaves does so as it is told, seen by a plain HTTP client."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rag_engine.testing.openai_server import CHAT, EMBEDDINGS, Fault, OpenAIServer, Reply, letters

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTS = ["the river", "the sea"]
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def embed(server: OpenAIServer, **more: object) -> httpx.Response:
    body = {"model": "m", "input": TEXTS, **more}
    return httpx.post(server.base_url + "/embeddings", json=body, timeout=5, trust_env=False)


def chat(server: OpenAIServer, **more: object) -> httpx.Response:
    url = server.base_url + "/chat/completions"
    return httpx.post(url, json=HELLO | more, timeout=5, trust_env=False)


def vectors(response: httpx.Response) -> list[list[float]]:
    return [one["embedding"] for one in response.json()["data"]]


@pytest.fixture(params=[CHAT, EMBEDDINGS])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def served(reply: Reply) -> OpenAIServer:
    return OpenAIServer(reply, embeddings=[reply])


def ask(server: OpenAIServer, path: str) -> httpx.Response:
    return embed(server) if path == EMBEDDINGS else chat(server)


def test_a_vector_for_each_text() -> None:
    with OpenAIServer() as server:
        assert vectors(embed(server)) == [letters(text) for text in TEXTS]
        assert embed(server, input="alone").json()["data"][0]["embedding"] == letters("alone")
        packed = embed(server, encoding_format="base64").json()["data"][0]["embedding"]
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == letters(TEXTS[0])


def test_vectors_of_another_making() -> None:
    with OpenAIServer(embed=lambda text: [float(len(text))]) as server:
        assert vectors(embed(server)) == [[9.0], [7.0]]


def test_a_conversation_that_is_not_streamed() -> None:
    with OpenAIServer(Reply(text="Good day.")) as server:
        answer = chat(server).json()
        assert answer["choices"][0]["message"]["content"] == "Good day."
        assert answer["usage"]["completion_tokens"] == 2
        assert chat(server, stream=True).headers["Content-Type"] == "text/event-stream"


def test_calls_are_counted_by_path_and_so_are_those_that_differ() -> None:
    with OpenAIServer() as server:
        for _ in range(3):
            embed(server)
        embed(server, input=["another"])
        chat(server)
        assert server.calls == {EMBEDDINGS: 4, CHAT: 1}
        assert (server.distinct(EMBEDDINGS), server.distinct(CHAT)) == (2, 1)
        assert server.distinct("/v1/never") == 0
        assert len(server.requests) == len(server.keys) == 5


def test_each_path_has_a_script_of_its_own() -> None:
    slow = Reply(status=429, text="slow down", headers={"Retry-After": "7"})
    with OpenAIServer(Reply(text="1"), slow, embeddings=[slow, Reply()]) as server:
        refused = embed(server)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")
        assert [chat(server).status_code for _ in range(3)] == [200, 429, 429]
        assert [embed(server).status_code for _ in range(2)] == [200, 200]


def test_too_many_requests_need_not_say_how_long_to_wait(path: str) -> None:
    with served(Reply(status=429, text="slow down")) as server:
        refused = ask(server, path)
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers
    assert refused.json()["error"]["message"] == "slow down"


def test_another_address_is_not_there() -> None:
    with OpenAIServer() as server:
        url = server.base_url + "/rerank"
        assert httpx.post(url, json={}, trust_env=False).status_code == 404


@pytest.mark.parametrize(
    ("fault", "shape"),
    [
        (Fault.NONE, (2, 8)),
        (Fault.EMPTY, (0, 0)),
        (Fault.WRONG_COUNT, (1, 8)),
        (Fault.WRONG_DIMENSION, (2, 9)),
    ],
)
def test_vectors_of_a_wrong_shape(fault: Fault, shape: tuple[int, int]) -> None:
    with OpenAIServer(embeddings=[Reply(fault=fault)]) as server:
        found = vectors(embed(server))
    assert (len(found), len(found[0]) if found else 0) == shape


@pytest.mark.parametrize("fault", [Fault.TRUNCATED_JSON, Fault.NOT_JSON])
def test_a_body_that_is_no_json(path: str, fault: Fault) -> None:
    with served(Reply(text="Good day.", fault=fault)) as server:
        answer = ask(server, path)
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()


def test_an_error_in_the_place_of_an_answer(path: str) -> None:
    with served(Reply(fault=Fault.ERROR_EVENT)) as server:
        assert list(ask(server, path).json()) == ["error"]


def test_a_connection_that_is_torn_down_in_the_middle(path: str) -> None:
    reply = Reply(text="Good day.", fault=Fault.RESET)
    with served(reply) as server, pytest.raises(httpx.ReadError):
        ask(server, path)


def test_a_server_that_says_nothing(path: str) -> None:
    url = {CHAT: "/chat/completions", EMBEDDINGS: "/embeddings"}[path]
    with served(Reply(fault=Fault.SILENT)) as server, pytest.raises(httpx.ReadTimeout):
        httpx.post(server.base_url + url, json=HELLO | {"input": "a"}, timeout=0.2, trust_env=False)


def test_a_body_without_an_end(path: str) -> None:
    url = {CHAT: "/chat/completions", EMBEDDINGS: "/embeddings"}[path]
    with (
        served(Reply(text="Good day.", fault=Fault.ENDLESS)) as server,
        httpx.stream(
            "POST", server.base_url + url, json=HELLO | {"input": "a"}, trust_env=False
        ) as answer,
    ):
        assert more_than(1_000_000, answer.iter_bytes())


def more_than(size: int, blocks: Iterator[bytes]) -> bool:
    seen = 0
    return any((seen := seen + len(block)) > size for block in blocks)
