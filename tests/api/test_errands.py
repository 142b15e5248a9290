"""What chat programs want done about a conversation is no question to the documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from engines import put, small_engine
from rag_engine.adapters.models.fake import ScriptedChat
from rag_engine.errors import ModelUnavailable
from rag_engine_api.errands import errand_in
from serving import asking

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from rag_engine.engine import Engine

FARNE = "# Farne\n\nThe lighthouse of Farne was built by Ada Brand in 1843."
QUESTION = "Who built the lighthouse of Farne?"
ANSWER = "Ada Brand built it [1].\n\nSources:\n[1] Farne\n[2] Light list, page 3"

# As Open WebUI words them: the task, the shape of the reply, the conversation.
WANTED = {
    "title": '{ "title": "your concise title here" }',
    "tags": '{ "tags": ["tag1", "tag2", "tag3"] }',
    "follow_ups": '{ "follow_ups": ["Question 1?", "Question 2?"] }',
    "queries": '{ "queries": ["query1", "query2"] }',
    "text": '`{ "text": "<your_completion>" }`.',
}


def errand(wanted: str, question: str = QUESTION) -> str:
    return (
        f"### Task:\nDo something about the chat history.\n### Output:\nJSON format: {WANTED[wanted]}"
        f"\n### Chat History:\n<chat_history>\nUSER: {question}\nASSISTANT: {ANSWER}\n</chat_history>"
    )


async def reply(client: httpx.AsyncClient, *said: str, stream: bool = False) -> httpx.Response:
    """What the model says after turns that begin with the user's."""
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
    body = {"model": "rag-engine", "stream": stream, "messages": messages}
    return await client.post("/v1/chat/completions", json=body)


def content(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    ("wanted", "least"),
    [("title", QUESTION), ("tags", []), ("follow_ups", []), ("queries", []), ("text", "")],
)
async def test_without_a_model_the_least_that_can_be_read_is_said(
    client: httpx.AsyncClient, engine: Engine, wanted: str, least: object
) -> None:
    await put(engine, "farne", FARNE)
    response = await reply(client, errand(wanted))
    assert json.loads(content(response)) == {wanted: least}
    assert not response.json()["choices"][0]["message"]["annotations"]
    streamed = (await reply(client, errand(wanted), stream=True)).text
    chunks = [json.loads(line[6:]) for line in streamed.split("\n\n") if "choices" in line]
    said = "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)
    assert json.loads(said) == {wanted: least}


async def test_a_long_question_makes_a_short_title(client: httpx.AsyncClient) -> None:
    for question in (f"{QUESTION} " * 5, "x" * 500):
        title = json.loads(content(await reply(client, errand("title", question))))["title"]
        assert title == title.strip()
        assert title.endswith("…")
        assert 40 < len(title) <= 61


async def test_a_model_does_it_without_passages_or_instructions_of_ours(tmp_path: Path) -> None:
    chat = ScriptedChat(['{ "title": "The lighthouse [7]" }', ModelUnavailable("Away. Wait.")])
    engine = await small_engine(tmp_path / "other", chat=chat)
    await put(engine, "farne", FARNE)
    async with asking(engine) as client:
        response = await reply(client, errand("title"))
        assert content(response) == '{ "title": "The lighthouse [7]" }'
        assert response.json()["usage"]["completion_tokens"] > 0
        assert (await reply(client, errand("tags"))).status_code == 503
    await engine.aclose()
    (only,) = chat.calls[0]
    assert (only.role, only.content) == ("user", errand("title"))


async def test_questions_stay_questions(client: httpx.AsyncClient, engine: Engine) -> None:
    await put(engine, "farne", FARNE)
    for text in (
        f"### Task:\n{QUESTION}",
        f"{QUESTION} <chat_history>USER: Hello</chat_history> {WANTED['title']}",
        f"### Task:\n{QUESTION}\n<chat_history>\n{WANTED['title']}\n</chat_history>",
    ):
        assert errand_in(text) is None
        assert "Ada Brand" in content(await reply(client, text))
    later = await reply(client, "Is there one?", "Yes.", f"{errand('title')} {QUESTION}")
    assert "Ada Brand" in content(later)


async def test_the_list_under_an_answer_is_no_part_of_the_conversation(tmp_path: Path) -> None:
    chat = ScriptedChat(["Ada Brand built it [1]."])
    engine = await small_engine(tmp_path / "other", chat=chat)
    await put(engine, "farne", FARNE)
    async with asking(engine) as client:
        again = content(await reply(client, QUESTION, ANSWER, QUESTION))
    await engine.aclose()
    turns: list[Any] = [(one.role, one.content) for one in chat.calls[0]]
    assert ("assistant", "Ada Brand built it [1].") in turns
    assert again.endswith("\n\nSources:\n[1] Farne")
