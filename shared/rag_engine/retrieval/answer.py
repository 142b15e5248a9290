"""A question and its context into an answer, streamed: by a model, or by quoting the documents."""

from __future__ import annotations

import hashlib
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Final

from rag_engine.errors import ModelMisbehaved
from rag_engine.ports.models import ChatModel, Embedder, Message, Usage
from rag_engine.retrieval.citations import AnswerFilter
from rag_engine.retrieval.extractive import best_sentences

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from rag_engine.retrieval.context import Context, Reference

NOTHING_FOUND: Final = "No relevant passage was found."
"""The answer when retrieval found nothing at all."""

_QUOTED: Final = "Quoted from the documents (no language model is configured):"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextDelta:
    """The next piece of an answer's text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A finished answer and what produced it.

    Attributes:
        text: The whole text; `[n]` cites `references`.
        references: The passages it cites, by number.
        context: All passages it could have cited, by number.
        mode: The retrieval mode, as the caller named it.
        extractive: Whether it consists of sentences of the documents instead of a model's.
        model: Name of the model that wrote it, or `None`.
        prompt: Version of the prompt, or `None`.
        usage: Tokens the model counted, or `None` where it did not say.
        citations_removed: Citations of passages that do not exist.
        warnings: What a reader should know, in sentences.
        timings: Seconds by step.
    """

    text: str
    references: tuple[Reference, ...]
    context: tuple[Reference, ...]
    mode: str
    extractive: bool
    model: str | None = None
    prompt: str | None = None
    usage: Usage | None = None
    citations_removed: int = 0
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)


AnswerEvent = TextDelta | Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """An instruction to a model; `version` changes with its text."""

    text: str
    version: str


def _load_prompt(name: str) -> Prompt:
    file = resources.files("rag_engine.retrieval") / "prompts" / f"{name}.md"
    text = file.read_text(encoding="utf-8").strip()
    return Prompt(text=text, version=hashlib.sha256(text.encode()).hexdigest()[:12])


ANSWER_PROMPT: Final = _load_prompt("answer")
"""What a model is told before passages and question."""


async def answer(
    question: str,
    context: Context,
    *,
    chat: ChatModel | None,
    embedder: Embedder,
    mode: str = "graph",
    history: Sequence[Message] = (),
    max_tokens: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> AsyncGenerator[AnswerEvent, None]:
    """Answer from the context: text deltas, then one `Answer` whose text they make up.

    With a model it writes the answer; without one the best sentences of the passages are quoted.
    An empty context is answered with `NOTHING_FOUND`, and no model is asked.

    Args:
        question: What was asked.
        context: What the answer may rest on.
        chat: The model, or `None`.
        embedder: Compares sentences with the question when there is no model.
        mode: The retrieval mode, for the record.
        history: Turns of the conversation before the question.
        max_tokens: Longest reply of the model.
        clock: Seconds that only grow.

    Raises:
        ModelUnavailable: The model cannot be reached; there is no answer then.
        ModelMisbehaved: The model's reply was empty or broke off.
    """
    began = clock()
    if not context.passages:
        events = _nothing(mode)
    elif chat is None:
        events = _quoted(question, context, embedder, mode)
    else:
        events = _written(question, context, chat, mode, history, max_tokens)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Answer):
                event.timings["answer"] = clock() - began
            yield event


async def _nothing(mode: str) -> AsyncGenerator[AnswerEvent, None]:
    yield TextDelta(text=NOTHING_FOUND)
    yield Answer(text=NOTHING_FOUND, references=(), context=(), mode=mode, extractive=True)


async def _quoted(
    question: str, context: Context, embedder: Embedder, mode: str
) -> AsyncGenerator[AnswerEvent, None]:
    quotation = await best_sentences(question, context, embedder)
    shown = AnswerFilter(r.number for r in context.references)
    parts: list[str] = []
    for piece in (f"{_QUOTED}\n\n", *quotation.paragraphs):
        text = shown.feed(piece)
        parts.append(text)
        yield TextDelta(text=text)
    rest = shown.flush()
    if rest:
        parts.append(rest)
        yield TextDelta(text=rest)
    yield Answer(
        text="".join(parts),
        references=tuple(r for r in context.references if r.number in shown.cited),
        context=context.references,
        mode=mode,
        extractive=True,
        warnings=quotation.warnings,
    )


async def _written(
    question: str,
    context: Context,
    chat: ChatModel,
    mode: str,
    history: Sequence[Message],
    max_tokens: int | None,
) -> AsyncGenerator[AnswerEvent, None]:
    shown = AnswerFilter(r.number for r in context.references)
    parts: list[str] = []
    usage: Usage | None = None
    cut_off = False
    messages = _messages(question, context, history)
    async with aclosing(chat.complete(messages, max_tokens=max_tokens)) as replies:
        async for delta in replies:
            usage = delta.usage or usage
            cut_off = cut_off or delta.cut_off
            text = shown.feed(delta.text)
            if text:
                parts.append(text)
                yield TextDelta(text=text)
    rest = shown.flush()
    if rest:
        parts.append(rest)
        yield TextDelta(text=rest)
    whole = "".join(parts)
    if not whole.strip():
        raise ModelMisbehaved(
            f"The model {chat.name!r} gave an empty answer. Ask again, or choose another model."
        )
    yield Answer(
        text=whole,
        references=tuple(r for r in context.references if r.number in shown.cited),
        context=context.references,
        mode=mode,
        extractive=False,
        model=chat.name,
        prompt=ANSWER_PROMPT.version,
        usage=usage,
        citations_removed=shown.removed,
        warnings=_warnings(shown, cut_off),
    )


def _messages(question: str, context: Context, history: Sequence[Message]) -> list[Message]:
    request = f"Passages:\n\n{context.render()}\n\nQuestion: {question}"
    return [
        Message(role="system", content=ANSWER_PROMPT.text),
        *history,
        Message(role="user", content=request),
    ]


def _warnings(shown: AnswerFilter, cut_off: bool) -> tuple[str, ...]:
    warnings: list[str] = []
    if cut_off:
        warnings.append("The answer was cut off: it reached the longest length allowed.")
    if shown.removed:
        warnings.append(
            f"{shown.removed} citation{'s' * (shown.removed > 1)} of passages that do not exist "
            "were removed."
        )
    if not shown.cited:
        warnings.append("The answer cites no passage: check it against the sources.")
    return tuple(warnings)
