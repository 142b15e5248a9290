"""The OpenAI protocol, as far as chats need it: `/v1/models` and `/v1/chat/completions`.

A model's name says how and where is looked: `rag-engine[:mode][@workspace]`. The last message is the
question, the turns before it are its history; what system messages say is not taken up, for here
the instructions are ours. Sources come as annotations, and for clients that do not show these as a
list under the answer. What a chat program wants done about the conversation itself is an errand.

Passages are counted anew in the order in which an answer cites them. Programs that show annotations
take the n-th source for what `[n]` means, whatever the number of its passage was.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from rag_engine.core.models import DEFAULT_WORKSPACE
from rag_engine.engine import Question
from rag_engine.errors import InvalidRequest, NotFound, RagEngineError
from rag_engine.ports.models import Message
from rag_engine.retrieval.answer import Answer, AnswerEvent, TextDelta
from rag_engine.retrieval.plan import MODES
from rag_engine_api import errands
from rag_engine_api.admission import READS, KnownKey
from rag_engine_api.calls import ServingEngine
from rag_engine_api.errands import errand_in
from rag_engine_api.problems import as_openai, problem_of
from rag_engine_api.questions import begun
from rag_engine_api.schemas import LONGEST_QUESTION
from rag_engine_api.timing import FOR_ITS_CLIENT_ALONE

router = APIRouter(prefix="/v1", tags=["openai"])

FAMILY: Final = "rag-engine"
_NAME: Final = re.compile(rf"{FAMILY}(?::(?P<mode>[a-z]+))?(?:@(?P<workspace>.+))?")
_CITATION: Final = re.compile(r"\[(\d+)\]")
_SOURCES: Final = "Sources:"
_FOOTNOTES: Final = re.compile(rf"\n\n{_SOURCES}(?:\n\[\d+\] .*)+\s*\Z")


class TextPart(BaseModel):
    """A part of a message; only text is looked at."""

    model_config = ConfigDict(extra="allow")

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A turn of the conversation."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """What it says."""
        if isinstance(self.content, list):
            return "\n".join(one.text for one in self.content if one.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream is to carry besides the text."""

    model_config = ConfigDict(extra="allow")

    include_usage: StrictBool = False


class ChatBody(BaseModel):
    """A conversation whose next turn is wanted. What is not named here makes no difference."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(examples=[FAMILY, f"{FAMILY}:fusion@contracts"])
    messages: list[ChatMessage] = Field(min_length=1, max_length=1_000)
    stream: StrictBool = False
    stream_options: StreamOptions | None = None


class Model(BaseModel):
    """A way to ask."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = FAMILY


class ModelList(BaseModel):
    """The ways to ask."""

    object: Literal["list"] = "list"
    data: list[Model]


class UsageBody(BaseModel):
    """Tokens that the language model counted; none where none was asked."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(BaseModel):
    """The next turn."""

    index: int = 0
    message: dict[str, Any]
    finish_reason: str = "stop"


class Completion(BaseModel):
    """An answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: UsageBody


def _named(model: str) -> tuple[str, str]:
    """The mode and the workspace that a model's name says."""
    match = _NAME.fullmatch(model)
    if match is None or (match["mode"] or "graph") not in MODES:
        raise NotFound(
            f"There is no model {model!r}. They are called {FAMILY}, {FAMILY}:MODE with one of "
            f"{', '.join(MODES)}, or {FAMILY}@WORKSPACE. GET /v1/models lists them."
        )
    return match["mode"] or "graph", match["workspace"] or DEFAULT_WORKSPACE


async def _chosen(request: Request, body: ChatBody) -> Question:
    """What is asked, and with it the workspace that the key must be for."""
    mode, workspace = _named(body.model)
    request.state.workspace = workspace
    *before, last = body.messages
    if last.role != "user":
        raise InvalidRequest(
            f"The last message is of {last.role!r}, and a question is a user's. Send one."
        )
    if len(last.text) > LONGEST_QUESTION:
        raise InvalidRequest(
            f"The question has {len(last.text):,} characters. Ask in {LONGEST_QUESTION:,} at most, "
            "and add longer texts as documents."
        )
    history = [
        (
            Message(role="user", content=one.text)
            if one.role == "user"
            # What stood under an answer was no part of it: a model would learn to write such lists.
            else Message(role="assistant", content=_FOOTNOTES.sub("", one.text))
        )
        for one in before
        if one.role in ("user", "assistant")
    ]
    return Question(text=last.text, workspace=workspace, mode=mode, history=history)


Asked = Annotated[Question, Depends(_chosen)]


@router.get("/models")
async def models(engine: ServingEngine, key: KnownKey) -> ModelList:
    """The ways to ask, as far as the key is for them."""
    names = []
    if key is None or key.sees(DEFAULT_WORKSPACE):
        names = [FAMILY, *(f"{FAMILY}:{mode}" for mode in MODES if mode != "graph")]
    names += [
        f"{FAMILY}@{one}"
        for one in await engine.control.workspaces()
        if one != DEFAULT_WORKSPACE and (key is None or key.sees(one))
    ]
    return ModelList(data=[Model(id=name) for name in names])


async def _begun(
    engine: ServingEngine, question: Asked
) -> AsyncIterator[AsyncIterator[AnswerEvent]]:
    errand = None if question.history else errand_in(question.text)
    asked = (
        _numbered_anew(engine.stream(question))
        if errand is None
        else errands.run(errand, engine.chat, mode=question.mode)
    )
    async with begun(asked) as events:
        yield events


async def _numbered_anew(
    answer: AsyncGenerator[AnswerEvent, None],
) -> AsyncGenerator[AnswerEvent, None]:
    """An answer whose citations count up from 1. None is ever divided between two pieces."""
    numbers: dict[int, int] = {}

    def counted(text: str) -> str:
        return _CITATION.sub(
            lambda one: f"[{numbers.setdefault(int(one[1]), len(numbers) + 1)}]", text
        )

    async with aclosing(answer):
        async for event in answer:
            if isinstance(event, Answer):
                text = counted(event.text)
                cited = {numbers[one.number]: one for one in event.references}
                references = tuple(replace(cited[n], number=n) for n in sorted(cited))
                yield replace(event, text=text, references=references)
            else:
                yield TextDelta(text=counted(event.text))


@router.post(
    "/chat/completions",
    dependencies=[Depends(_chosen), READS, FOR_ITS_CLIENT_ALONE],
    response_model=Completion,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def complete(
    request: Request,
    body: ChatBody,
    events: Annotated[AsyncIterator[AnswerEvent], Depends(_begun)],
) -> Completion | StreamingResponse:
    """Answer the last message from the documents, with citations; whole, or as a stream."""
    reply = _Reply(body, str(request.base_url))
    if body.stream:
        return StreamingResponse(reply.chunks(events), media_type="text/event-stream")
    last: Answer | None = None
    async for event in events:
        last = event if isinstance(event, Answer) else last
    return reply.whole(last)


class _Reply:
    """One answer in the words of the protocol."""

    def __init__(self, body: ChatBody, base_url: str) -> None:
        self._body = body
        self._base_url = base_url
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def whole(self, answer: Answer | None) -> Completion:
        if answer is None:
            raise InvalidRequest("The question was not answered. Ask again.")
        message = {
            "role": "assistant",
            "content": answer.text + _footnotes(answer),
            "refusal": None,
            "annotations": self._annotations(answer),
        }
        return Completion(
            id=self._id,
            created=self._created,
            model=self._body.model,
            choices=[Choice(message=message)],
            usage=_usage(answer),
        )

    async def chunks(self, events: AsyncIterator[AnswerEvent]) -> AsyncIterator[str]:
        """The answer piece by piece, as server-sent events."""
        yield self._chunk({"role": "assistant", "content": ""})
        try:
            async for event in events:
                if not isinstance(event, Answer):
                    yield self._chunk({"content": event.text})
                    continue
                annotations = self._annotations(event)
                yield self._chunk({"content": _footnotes(event), "annotations": annotations})
                yield self._chunk({}, finish_reason="stop")
                options = self._body.stream_options
                if options is not None and options.include_usage:
                    yield self._event({"choices": [], "usage": _usage(event).model_dump()})
        except RagEngineError as error:
            yield f"data: {json.dumps(as_openai(problem_of(error)))}\n\n"
        yield "data: [DONE]\n\n"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return self._event({"choices": [choice]})

    def _event(self, more: dict[str, Any]) -> str:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._body.model,
            **more,
        }
        return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"

    def _annotations(self, answer: Answer) -> list[dict[str, Any]]:
        known = {one.number: one for one in answer.references}
        _, workspace = _named(self._body.model)
        found = []
        for match in _CITATION.finditer(answer.text):
            reference = known.get(int(match[1]))
            if reference is not None:
                place = f"documents/{quote(reference.document_id, safe='')}/text"
                # Its own address for each passage, by which programs tell sources apart (RFC 5147).
                where = f"{place}#char={reference.start},{reference.end}"
                url = f"{self._base_url}api/v1/workspaces/{workspace}/{where}"
                citation = {
                    "start_index": match.start(),
                    "end_index": match.end(),
                    "title": reference.label,
                    "url": url,
                }
                found.append({"type": "url_citation", "url_citation": citation})
        return found


def _footnotes(answer: Answer) -> str:
    lines = [f"[{one.number}] {one.label}" for one in answer.references]
    return "\n\n" + "\n".join([_SOURCES, *lines]) if lines else ""


def _usage(answer: Answer) -> UsageBody:
    prompt = answer.usage.prompt_tokens if answer.usage else 0
    completion = answer.usage.completion_tokens if answer.usage else 0
    return UsageBody(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )
