"""Questions: the passages they find, and answers, whole or piece by piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.sse import EventSourceResponse, ServerSentEvent

from rag_engine.engine import Question
from rag_engine.errors import RagEngineError
from rag_engine.ports.models import Message
from rag_engine.retrieval.answer import Answer, AnswerEvent
from rag_engine_api.admission import READS
from rag_engine_api.calls import Call, Calling, filter_of
from rag_engine_api.problems import problem_of
from rag_engine_api.schemas import AnswerBody, FoundBody, PassageBody, QuestionBody
from rag_engine_api.timing import FOR_ITS_CLIENT_ALONE

router = APIRouter(tags=["questions"])


def question_of(call: Call, body: QuestionBody) -> Question:
    """A question as the engine has it."""
    budget = call.engine.budget
    if body.top_k is not None:
        budget = replace(budget, passages=body.top_k, per_document=body.top_k)
    if body.tokens is not None:
        budget = replace(budget, tokens=body.tokens)
    return Question(
        text=body.question,
        workspace=call.workspace,
        mode=body.mode,
        filter=filter_of(body.filter),
        history=[Message(role=one.role, content=one.content) for one in body.history],
        budget=budget,
    )


@router.post("/search", dependencies=[READS, FOR_ITS_CLIENT_ALONE])
async def search(call: Calling, body: QuestionBody) -> FoundBody:
    """Find the passages that an answer would rest on; no language model is asked."""
    found = await call.engine.search(question_of(call, body))
    return FoundBody(
        passages=[PassageBody.of_passage(one) for one in found.context.passages],
        left_out=found.context.left_out,
        warnings=list(found.warnings),
        timings=found.timings,
    )


@router.post("/query", dependencies=[READS, FOR_ITS_CLIENT_ALONE])
async def query(call: Calling, body: QuestionBody) -> AnswerBody:
    """Answer a question from the documents, with citations."""
    return AnswerBody.of(await call.engine.query(question_of(call, body)))


@asynccontextmanager
async def begun(
    answer: AsyncGenerator[AnswerEvent, None],
) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
    """An answer of which the first piece is there: what goes wrong before it has a status."""
    async with aclosing(answer) as events:
        first = await anext(events)

        async def whole() -> AsyncIterator[AnswerEvent]:
            yield first
            async for event in events:
                yield event

        yield whole()


async def _begun(call: Calling, body: QuestionBody) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
    async with begun(call.engine.stream(question_of(call, body))) as events:
        yield events


@router.post("/query/stream", dependencies=[READS], response_class=EventSourceResponse)
async def stream(
    events: Annotated[AsyncIterator[AnswerEvent], Depends(_begun)],
) -> AsyncIterator[ServerSentEvent]:
    """Answer a question piece by piece.

    `text` events carry the next piece each, and `answer` at the end the whole. What goes wrong on
    the way is a `problem` event, the last one.
    """
    try:
        async for event in events:
            if isinstance(event, Answer):
                yield ServerSentEvent(event="answer", data=AnswerBody.of(event))
            else:
                yield ServerSentEvent(event="text", data={"text": event.text})
    except RagEngineError as error:
        yield ServerSentEvent(event="problem", data=problem_of(error))
