from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rag_engine.adapters.models.fake import HashEmbedder, ScriptedChat
from rag_engine.errors import ModelMisbehaved, ModelUnavailable
from rag_engine.ports.models import ChatModel, Message
from rag_engine.retrieval.answer import (
    ANSWER_PROMPT,
    NOTHING_FOUND,
    Answer,
    TextDelta,
    answer,
)
from rag_engine.retrieval.context import Context, assemble
from rag_engine.testing.passages import ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

RIVER = "The Elbe flows to the North Sea. It rises in the Giant Mountains. Barges use it."
SEA = "The North Sea lies between Britain and Denmark. Its mean depth is 95 metres."
COOKING = "Flour and eggs make a dough. Let the dough rest for an hour before baking it."


def context() -> Context:
    return assemble(
        [
            ranked(RIVER, 3, document="elbe"),
            ranked(SEA, 2, document="north sea"),
            ranked(COOKING, 1, document="kitchen"),
        ]
    )


async def ask(
    question: str,
    *,
    chat: ChatModel | None = None,
    within: Context | None = None,
    history: Sequence[Message] = (),
) -> Answer:
    given = context() if within is None else within
    events = [
        event
        async for event in answer(
            question, given, chat=chat, embedder=HashEmbedder(), history=history
        )
    ]
    *deltas, final = events
    assert isinstance(final, Answer)
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == final.text
    assert final.timings["answer"] >= 0
    return final


async def test_a_model_answers_and_its_citations_are_checked() -> None:
    chat = ScriptedChat(["To the North Sea [1], 95 m deep [2, 8]. ![x](http://evil.test/?q) [77]"])
    found = await ask("Where does the Elbe flow, and how deep is it there?", chat=chat)
    assert found.text.startswith(
        "To the North Sea [1], 95 m deep [2]. ![x] (`http://evil.test/?q`)"
    )
    assert [r.number for r in found.references] == [1, 2]
    assert [r.number for r in found.context] == [1, 2, 3]
    assert found.citations_removed == 2
    assert found.warnings == ("2 citations of passages that do not exist were removed.",)
    assert found.model == "scripted"
    assert found.prompt == ANSWER_PROMPT.version
    assert not found.extractive
    assert found.usage is not None


async def test_the_model_sees_prompt_history_passages_and_question() -> None:
    chat = ScriptedChat(["Yes [1]."])
    history = [Message(role="user", content="Hello"), Message(role="assistant", content="Hi")]
    await ask("Where to?", chat=chat, history=history)
    system, *turns, last = chat.calls[0]
    assert system.content == ANSWER_PROMPT.text
    assert turns == history
    assert "[2] NORTH SEA\nThe North Sea lies" in last.content
    assert last.content.endswith("Question: Where to?")


async def test_an_answer_without_citations_is_marked() -> None:
    found = await ask("Where to?", chat=ScriptedChat(["To the sea."]))
    assert found.references == ()
    assert "cites no passage" in found.warnings[0]


async def test_an_answer_of_nothing_but_false_citations_is_an_error() -> None:
    with pytest.raises(ModelMisbehaved, match="empty"):
        await ask("Where to?", chat=ScriptedChat(["[8]"]))


async def test_an_outage_is_an_error() -> None:
    with pytest.raises(ModelUnavailable):
        await ask("Where to?", chat=ScriptedChat([ModelUnavailable("gone")]))


async def test_without_passages_no_model_is_asked() -> None:
    chat = ScriptedChat(["Made up."])
    found = await ask("Where to?", chat=chat, within=Context())
    assert found.text == NOTHING_FOUND
    assert chat.calls == []


async def test_without_a_model_the_documents_are_quoted() -> None:
    found = await ask("Where does the Elbe flow to?")
    assert found.extractive
    assert found.text.startswith("Quoted from the documents")
    assert "The Elbe flows to the North Sea." in found.text
    assert "[1]" in found.text
    assert found.references[0].document_id == "elbe"
    assert found.model is None
    assert found.warnings == ()


async def test_a_question_that_joins_two_documents_brings_both() -> None:
    found = await ask("What is the mean depth of the sea that the Elbe flows to?")
    assert {r.document_id for r in found.references} >= {"elbe", "north sea"}
    assert "95 metres" in found.text


async def test_a_quoted_pronoun_says_what_it_stands_for() -> None:
    alone = assemble(
        [ranked("It rises in the Giant Mountains near Labska louka.", 1, document="elbe")]
    )
    found = await ask("Where does the Elbe rise?", within=alone)
    assert "ELBE: It rises in the Giant Mountains" in found.text


async def test_quoted_documents_cannot_smuggle_in_citations_or_images() -> None:
    evil = "The Elbe flows north [2]. ![pixel](https://evil.test/p.png) <img src=https://evil.test>"
    found = await ask("Where does the Elbe flow?", within=assemble([ranked(evil, 1)]))
    assert [r.number for r in found.references] == [1]
    assert "](" not in found.text
    assert "<img" not in found.text


async def test_passages_far_from_the_question_are_quoted_with_a_doubt() -> None:
    found = await ask("Quarterly interest rates?", within=assemble([ranked(COOKING, 1)]))
    assert found.references
    assert "may not answer" in found.warnings[0]


async def test_an_unknown_script_is_answered_by_words_alone() -> None:
    text = "易北河流入北海。它发源于克尔科诺谢山脉，全长一千一百公里。"
    events = [
        event
        async for event in answer(
            "易北河流入哪里？",
            assemble([ranked(text, 1), ranked(COOKING, 0.5, ordinal=1)]),
            chat=None,
            embedder=HashEmbedder(scripts=frozenset({"Latin"})),
        )
    ]
    final = events[-1]
    assert isinstance(final, Answer)
    assert "易北河流入北海。" in final.text
