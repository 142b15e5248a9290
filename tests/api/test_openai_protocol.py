"""The OpenAI protocol, spoken by OpenAI's own client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import openai
import pytest

from engines import put, small_engine
from rag_engine.access import Access
from rag_engine.adapters.models.fake import ScriptedChat
from rag_engine.adapters.models.http import HttpLimits, http_client
from rag_engine.adapters.models.openai_api import OpenAIChat
from rag_engine.core.keys import Scope
from rag_engine.testing.openai_server import OpenAIServer, Reply
from rag_engine_api.app import Admission
from serving import asking

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from rag_engine.engine import Engine

FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
MILL = "# Mill\n\nAnton Berg bought the mill on the Elder Brook."
ASK: list[Any] = [{"role": "user", "content": "Who built the lighthouse of Farne?"}]


def speaking(client: httpx.AsyncClient, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://localhost/v1", api_key=key, http_client=client, max_retries=0
    )


@pytest.fixture
async def chat(engine: Engine, client: httpx.AsyncClient) -> openai.AsyncOpenAI:
    await put(engine, "light/house", FARNE)
    await put(engine, "mill", MILL, workspace="mills")
    return speaking(client)


async def test_models_are_modes_and_workspaces(chat: openai.AsyncOpenAI) -> None:
    names = [one.id async for one in chat.models.list()]
    assert names[0] == "rag-engine"
    assert {"rag-engine:naive", "rag-engine:fusion", "rag-engine@mills"} <= {*names}


async def test_a_chat_is_answered_with_sources_that_open(
    chat: openai.AsyncOpenAI, client: httpx.AsyncClient
) -> None:
    reply = await chat.chat.completions.create(model="rag-engine", messages=ASK)
    message = reply.choices[0].message
    assert message.content is not None
    assert "Ada Brand" in message.content
    assert message.content.endswith("Sources:\n[1] Farne")
    assert message.annotations
    citation = message.annotations[0].url_citation
    assert message.content[citation.start_index : citation.end_index] == "[1]"
    assert (await client.get(citation.url)).text == FARNE
    assert reply.usage is not None


async def test_a_stream_makes_up_the_same_answer(chat: openai.AsyncOpenAI) -> None:
    whole = await chat.chat.completions.create(model="rag-engine:naive", messages=ASK)
    stream = await chat.chat.completions.create(
        model="rag-engine:naive",
        messages=ASK,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [one async for one in stream]
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert len({one.id for one in chunks}) == 1


async def test_a_models_name_says_where(chat: openai.AsyncOpenAI) -> None:
    question: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "Who bought the mill?"}]}
    ]
    reply = await chat.chat.completions.create(model="rag-engine:naive@mills", messages=question)
    assert "Anton Berg" in (reply.choices[0].message.content or "")


@pytest.mark.parametrize(
    ("model", "role", "status", "code"),
    [
        ("gpt-5", "user", 404, "not_found"),
        ("rag-engine:magic", "user", 404, "not_found"),
        ("rag-engine@nowhere", "user", 404, "not_found"),
        ("rag-engine", "assistant", 400, "invalid_request"),
    ],
)
async def test_a_mistake_is_told_as_the_client_understands_it(
    chat: openai.AsyncOpenAI, model: str, role: str, status: int, code: str
) -> None:
    messages: Any = [{"role": role, "content": "What?"}]
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            await chat.chat.completions.create(model=model, messages=messages, stream=stream)
        assert caught.value.status_code == status
        assert caught.value.code == code


async def test_a_model_gets_the_history_and_its_usage_is_counted(tmp_path: Path) -> None:
    talk: Any = [
        {"role": "system", "content": "Talk like a pirate."},
        {"role": "user", "content": "Is there a lighthouse?"},
        {"role": "assistant", "content": "On Farne."},
        *ASK,
    ]
    with OpenAIServer(Reply(text="Ada Brand built it [1].")) as server:
        outside = http_client(HttpLimits())
        model = OpenAIChat(server.base_url, "some", None, outside)
        engine = await small_engine(tmp_path / "other", chat=model)
        await put(engine, "farne", FARNE)
        async with asking(engine) as client:
            chat = speaking(client)
            reply = await chat.chat.completions.create(model="rag-engine", messages=talk)
        sent = str(server.requests[0]["messages"])
        await engine.aclose()
        await outside.aclose()
    assert "On Farne." in sent
    assert "pirate" not in sent
    assert (reply.choices[0].message.content or "").startswith("Ada Brand built it [1].")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_source_is_the_one_that_is_cited_first(
    tmp_path: Path, stream: bool
) -> None:
    model = ScriptedChat(["So it is [3]. And so [1][3], as all know [2]."])
    engine = await small_engine(tmp_path / "other", chat=model)
    for name in "abc":
        await put(engine, name, f"# Same\n\nThe lighthouse of Farne, as {name} tells it.")
    async with asking(engine) as client:
        found = (await client.post("/api/v1/search", json={"question": "lighthouse"})).json()
        passages = [one["document_id"] for one in found["passages"]]
        chat = speaking(client)
        if stream:
            parts: Any = await chat.chat.completions.create(
                model="rag-engine",
                messages=[{"role": "user", "content": "lighthouse"}],
                stream=True,
            )
            deltas = [one.choices[0].delta.model_dump() async for one in parts]
            text = "".join(one["content"] or "" for one in deltas)
            [notes] = [one["annotations"] for one in deltas if one.get("annotations")]
        else:
            whole = await chat.chat.completions.create(
                model="rag-engine", messages=[{"role": "user", "content": "lighthouse"}]
            )
            message = whole.choices[0].message.model_dump()
            text, notes = message["content"], message["annotations"]
    await engine.aclose()
    assert text.startswith("So it is [1]. And so [2][1], as all know [3].")
    assert text.endswith("Sources:\n[1] Same\n[2] Same\n[3] Same")
    citations = [one["url_citation"] for one in notes]
    assert [text[one["start_index"] : one["end_index"]] for one in citations] == [
        *("[1]", "[2]", "[1]", "[3]")
    ]
    sources = list(dict.fromkeys(one["url"] for one in citations))
    third, first, second = (sources[n].split("/")[-2] for n in range(3))
    assert [first, second, third] == passages
    assert all(re.search(r"/text#char=0,\d+$", one) for one in sources)


async def test_a_key_of_one_workspace_chats_with_no_other(engine: Engine) -> None:
    await put(engine, "mill", MILL, workspace="mills")
    await put(engine, "farne", FARNE)
    await put(engine, "farne", FARNE, workspace="islands")
    keyring = Access(engine.control)
    _, token = await keyring.make("Mills", {Scope.READ}, {"mills"})
    async with asking(engine, Admission.KEYS, keyring=keyring) as client:
        chat = speaking(client, token)
        assert [one.id async for one in chat.models.list()] == ["rag-engine@mills"]
        reply = await chat.chat.completions.create(model="rag-engine@mills", messages=ASK)
        assert reply.choices
        with pytest.raises(openai.PermissionDeniedError):
            await chat.chat.completions.create(model="rag-engine", messages=ASK)
        with pytest.raises(openai.AuthenticationError) as caught:
            await speaking(client, "wrong").models.list()
        assert caught.value.code == "unauthorized"
