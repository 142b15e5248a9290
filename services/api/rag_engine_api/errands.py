"""What chat programs ask a model beside the conversation: a title for it, tags, how it may go on.

Open WebUI sends these to the model of the chat, as one message that says what the task is, which JSON
it wants and what was said so far. They are no questions to the documents: passages would only mislead,
and cost. So the language model does them by itself, and without one the least is answered that the
program can read. What is worded in another way is taken for a question.

Source: https://github.com/open-webui/open-webui/blob/main/backend/open_webui/config.py
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from rag_engine.ports.models import ChatModel, Message, Usage
from rag_engine.retrieval.answer import Answer, AnswerEvent, TextDelta

_TASK: Final = re.compile(r"\s*#+ Task:")
_WANTED: Final = re.compile(r'\{\s*"(title|tags|follow_ups|queries|prompt|text)"\s*:')
_SAID: Final = re.compile(r"<chat_history>(.*)</chat_history>", re.DOTALL)
_FIRST_TURN: Final = re.compile(r"\s*USER:\s*(.+)")
_LISTS: Final = frozenset({"tags", "follow_ups", "queries"})
_LONGEST_TITLE: Final = 60
_MAX_TOKENS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Something to be done about a conversation.

    Attributes:
        prompt: What the program says.
        wanted: The key of the JSON object that it wants.
        said: The conversation so far.
    """

    prompt: str
    wanted: str
    said: str


def errand_in(text: str) -> Errand | None:
    """What a message asks to be done about the conversation; `None` for a question."""
    said = _SAID.search(text)
    if said is None or not _TASK.match(text):
        return None
    wanted = _WANTED.search(text, 0, said.start())
    return Errand(prompt=text, wanted=wanted[1], said=said[1]) if wanted else None


async def run(
    errand: Errand, chat: ChatModel | None, *, mode: str
) -> AsyncGenerator[AnswerEvent, None]:
    """The reply, as an answer that rests on no passage.

    Args:
        errand: What is to be done.
        chat: The model, or `None`.
        mode: What the model's name says, for the record.

    Raises:
        ModelUnavailable: The model cannot be reached.
        ModelMisbehaved: Its reply broke off.
    """
    if chat is None:
        text = json.dumps({errand.wanted: _least(errand)}, ensure_ascii=False)
        yield TextDelta(text=text)
        yield Answer(text=text, references=(), context=(), mode=mode, extractive=True)
        return
    parts: list[str] = []
    usage: Usage | None = None
    messages = [Message(role="user", content=errand.prompt)]
    async with aclosing(chat.complete(messages, max_tokens=_MAX_TOKENS)) as replies:
        async for delta in replies:
            usage = delta.usage or usage
            if delta.text:
                parts.append(delta.text)
                yield TextDelta(text=delta.text)
    yield Answer(
        text="".join(parts),
        references=(),
        context=(),
        mode=mode,
        extractive=False,
        model=chat.name,
        usage=usage,
    )


def _least(errand: Errand) -> str | list[str]:
    """What can be said without a model: the first question is a title, and nothing else is known."""
    if errand.wanted in _LISTS:
        return []
    first = _FIRST_TURN.match(errand.said)
    if errand.wanted != "title" or first is None:
        return ""
    title = first[1].strip()
    if len(title) <= _LONGEST_TITLE:
        return title
    cut = title[:_LONGEST_TITLE]
    return f"{cut.rpartition(' ')[0] or cut}…"
