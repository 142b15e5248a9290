"""`query` and `search`: questions to a workspace."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag_engine.core.models import DEFAULT_WORKSPACE
from rag_engine.errors import NotFound
from rag_engine_cli.options import shared_options
from rag_engine_cli.plan import unfinished
from rag_engine_cli.records import reference_record
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import Terminal, plural
from rag_engine_cli.values import filter_of
from rag_engine_cli.wrapping import Wrapper

if TYPE_CHECKING:
    from rag_engine.engine import Engine, Found, Question
    from rag_engine.retrieval.answer import Answer
    from rag_engine.retrieval.context import Passage, Reference

Command = TypeVar("Command", bound=Callable[..., Any])

_QUESTION_OPTIONS = (
    click.option("--mode", default="graph", help="How passages are found. Default: graph."),
    click.option(
        "--filter",
        "-f",
        "filters",
        metavar="CONDITION",
        multiple=True,
        help="Only documents that match: year>=2020, 'author=Ada Lovelace', tags=[a, b], or JSON. "
        "Repeated conditions must all hold.",
    ),
    click.option("--top-k", type=click.IntRange(min=1), help="How many passages at most."),
    click.option("--tokens", type=click.IntRange(min=1), help="How much text at most, in tokens."),
)


def _question_options(command: Command) -> Command:
    for option in reversed(_QUESTION_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("question", nargs=-1, required=True)
@_question_options
@shared_options
@pass_session
def query(session: Session, /, question: tuple[str, ...], **chosen: Any) -> None:
    """Answer a QUESTION from the documents, with citations.

    With RAG_LLM_BASE_URL and RAG_LLM_MODEL a language model writes the answer; without them the
    sentences that answer best are quoted. Each [number] stands for a source listed below.

    \b
    Examples:
      rag-engine query "Who signed the contract?"
      rag-engine query "What changed?" --filter 'year>=2023'
      rag-engine query "What changed?" --json | jq -r .answer
    """
    session.run(lambda engine: _query(engine, session, " ".join(question), chosen))


@click.command()
@click.argument("question", nargs=-1, required=True)
@_question_options
@shared_options
@pass_session
def search(session: Session, /, question: tuple[str, ...], **chosen: Any) -> None:
    """Print the passages that a QUESTION finds, without an answer.

    No language model is asked.

    \b
    Examples:
      rag-engine search "delivery dates"
      rag-engine search "delivery dates" --top-k 3 --mode naive
    """
    session.run(lambda engine: _search(engine, session, " ".join(question), chosen))


def _question(engine: Engine, session: Session, text: str, chosen: dict[str, Any]) -> Question:
    from dataclasses import replace

    from rag_engine.engine import Question

    budget = engine.budget
    if chosen["top_k"]:
        budget = replace(budget, passages=chosen["top_k"], per_document=chosen["top_k"])
    if chosen["tokens"]:
        budget = replace(budget, tokens=chosen["tokens"])
    return Question(
        text=text,
        workspace=session.workspace,
        mode=chosen["mode"],
        filter=filter_of(chosen["filters"]),
        budget=budget,
    )


async def _query(engine: Engine, session: Session, text: str, chosen: dict[str, Any]) -> None:
    from rag_engine.retrieval.answer import Answer

    question = _question(engine, session, text, chosen)
    warnings = await check_workspace(engine, session)
    terminal = session.terminal
    wrapper = Wrapper(terminal.width)
    async for event in engine.stream(question):
        if isinstance(event, Answer):
            terminal.line(wrapper.flush())
            _print_sources(terminal, event)
            terminal.record(_answer_record(event, warnings))
        else:
            terminal.piece(wrapper.feed(event.text))


async def _search(engine: Engine, session: Session, text: str, chosen: dict[str, Any]) -> None:
    question = _question(engine, session, text, chosen)
    warnings = await check_workspace(engine, session)
    found = await engine.search(question)
    terminal = session.terminal
    for passage in found.context.passages:
        _print_passage(terminal, passage)
    if not found.context.passages:
        terminal.line("No relevant passage was found.")
    terminal.warn(found.warnings)
    terminal.record(_found_record(found, warnings))


async def check_workspace(engine: Engine, session: Session) -> list[str]:
    """A question to a workspace without documents is a mistake; what waits is not in its answer.

    Returns:
        Warnings for the record; where it is printed in words, they have been told.
    """
    name = session.workspace
    option = "" if name == DEFAULT_WORKSPACE else f" --workspace {name}"
    add = f"Add some with: rag-engine ingest{option} FILE-OR-FOLDER"
    go_on = f"Go on with: rag-engine ingest{option}"
    if name not in await engine.control.workspaces():
        folder = str(session.settings.data_dir)
        raise NotFound(f"There is no workspace {name!r} in {folder!r} yet. {add}")
    queue = (await engine.workspace(name)).queue
    waiting = await unfinished(queue)
    if (await engine.stats(name)).documents == 0:
        what = f"only {waiting:,} that wait in the queue" if waiting else "none yet"
        raise NotFound(
            f"Workspace {name!r} holds no documents: {what}. {go_on if waiting else add}"
        )
    warnings = []
    if waiting:
        warnings.append(f"{plural(waiting, 'document')} in the queue cannot be found yet. {go_on}")
    session.terminal.warn(warnings)
    return warnings


def _print_sources(terminal: Terminal, answer: Answer) -> None:
    if answer.references:
        terminal.line()
        terminal.line(click.style("Sources", bold=True))
        for reference in answer.references:
            terminal.line(f"  [{reference.number}] {_label(reference)}")
    terminal.warn(answer.warnings)


def _label(reference: Reference) -> str:
    """A reference with its file, where its name does not tell it."""
    names = {reference.document_name, PurePath(reference.source).stem}
    if reference.source in names:
        return reference.label
    return f"{reference.label} ({reference.source})"


def _print_passage(terminal: Terminal, passage: Passage) -> None:
    score = click.style(f"  {passage.reference.score:.3f}", dim=True)
    heading = click.style(f"[{passage.reference.number}] {_label(passage.reference)}", bold=True)
    terminal.line(heading + score)
    for text in passage.text.strip().splitlines():
        lines = textwrap.wrap(text, max(40, terminal.width - 4)) if terminal.width else [text]
        terminal.line(textwrap.indent("\n".join(lines), "    "))
    terminal.line()


def _answer_record(answer: Answer, warnings: Sequence[str]) -> dict[str, Any]:
    usage = answer.usage
    return {
        "answer": answer.text,
        "sources": [reference_record(reference) for reference in answer.references],
        "context": [reference_record(reference) for reference in answer.context],
        "mode": answer.mode,
        "extractive": answer.extractive,
        "model": answer.model,
        "usage": {name: getattr(usage, name) for name in usage.__slots__} if usage else None,
        "citations_removed": answer.citations_removed,
        "warnings": [*warnings, *answer.warnings],
        "timings": answer.timings,
    }


def _found_record(found: Found, warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "passages": [
            reference_record(passage.reference) | {"text": passage.text, "tokens": passage.tokens}
            for passage in found.context.passages
        ],
        "left_out": found.context.left_out,
        "warnings": [*warnings, *found.warnings],
        "timings": found.timings,
    }
