"""`doctor`: what is configured, and whether it works."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from rag_engine.errors import RagEngineError
from rag_engine_cli.options import shared_options
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import in_words, plural

if TYPE_CHECKING:
    from rag_engine.engine import Engine
    from rag_engine.settings import Settings

_COLORS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
_LITTLE: Final = 1 << 30
_TOO_LITTLE: Final = 64 << 20
_HTML: Final = "<!doctype html><html><body><h1>Doctor</h1><p>All is well.</p></body></html>"
_SEEN: Final = "DOCTOR 4711"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        remedy: What to do, unless all is well.
    """

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    remedy: str | None = None


@click.command()
@click.option(
    "--collect",
    is_flag=True,
    help="Delete originals and texts that no document has used for a day, instead. Ingesting does "
    "that too, once an hour at most.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Check everything in the data folder against what it was made from, instead: databases, "
    "counters, vectors, originals, texts. Exit code 3 if something is damaged.",
)
@click.option(
    "--repair",
    is_flag=True,
    help="The same, and repair what can be repaired. Exit code 3 if something is left.",
)
@click.option(
    "--forget",
    metavar="WORKSPACE",
    help="Give up a workspace whose file is missing or cannot be read, so that it can begin anew.",
)
@click.option("--yes", is_flag=True, help="Do not ask before --repair.")
@shared_options
@pass_session
def doctor(
    session: Session, collect: bool, verify: bool, repair: bool, forget: str | None, yes: bool
) -> None:
    """Check what is configured and whether it works.

    Tries the data folder, the databases, the embedding model, the parsers, text recognition and
    the language model, if one is configured: it is asked for one word. Exit code 3 if something
    does not work.
    """
    if sum((collect, verify or repair, forget is not None)) > 1:
        raise click.UsageError("Do one at a time: --collect, --verify or --repair, or --forget.")
    from rag_engine_cli import upkeep

    if forget is not None:
        upkeep.forget(session, forget)
    elif verify or repair:
        if upkeep.repair(session, yes=yes) if repair else upkeep.verify(session):
            raise click.exceptions.Exit(3)
    elif collect:
        count = session.run(lambda engine: engine.collect())
        session.terminal.record({"collected": count})
        session.terminal.line(f"{plural(count, 'unused blob')} deleted.")
    else:
        _diagnose(session)


def _diagnose(session: Session) -> None:
    states = []

    def show(finding: Finding) -> None:
        states.append(finding.state)
        session.terminal.record(asdict(finding))
        state = click.style(f"{finding.state:<4}", fg=_COLORS[finding.state])
        session.terminal.line(f"{state}  {finding.check:<16}  {finding.found}")
        if finding.remedy:
            session.terminal.line(f"{'':<24}{finding.remedy}")

    _examine(session, show)
    if "fail" in states:
        raise click.exceptions.Exit(3)


def _examine(session: Session, show: Callable[[Finding], None]) -> None:
    """Make every check; each is shown as soon as it is made, since loading models takes seconds."""
    show(_version())
    try:
        settings = session.settings
    except RagEngineError as error:
        show(Finding(check="settings", state="fail", found=str(error)))
        return
    show(_data_folder(settings.data_dir.absolute()))
    show(_sqlite())

    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "doctor.html", Path(folder) / "doctor.png"
        page.write_text(_HTML, encoding="utf-8")
        _draw(picture)

        async def examine(engine: Engine) -> None:
            show(await _workspaces(engine))
            show(await _embedder(engine))
            show(await _parser(engine, page))
            show(await _recognition(engine, picture, settings))
            show(await _language_model(engine, settings))

        try:
            session.run(examine)
        except RagEngineError as error:
            show(Finding(check="engine", state="fail", found=str(error)))


def _version() -> Finding:
    return Finding(
        check="version",
        state="ok",
        found=f"rag-engine {metadata.version('rag-engine-server')}, Python "
        f"{platform.python_version()}, {platform.platform()}",
    )


def _data_folder(folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(
            check="data folder",
            state="fail",
            found=f"{folder} cannot be written ({error.strerror})",
            remedy="Make it yours and writable, or choose another with --data-dir or RAG_DATA_DIR.",
        )
    state: Literal["ok", "warn", "fail"] = (
        "fail" if free < _TOO_LITTLE else "warn" if free < _LITTLE else "ok"
    )
    return Finding(
        check="data folder",
        state=state,
        found=f"{folder}, {in_words(free)} free",
        remedy=None if state == "ok" else "Free some space on that disk, or choose another folder.",
    )


def _sqlite() -> Finding:
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.OperationalError:
        return Finding(
            check="sqlite",
            state="fail",
            found=f"{sqlite3.sqlite_version}, without the full-text index FTS5",
            remedy="Use a Python whose SQLite has FTS5: those from python.org and Debian do.",
        )
    finally:
        connection.close()
    return Finding(check="sqlite", state="ok", found=f"{sqlite3.sqlite_version} with FTS5")


async def _workspaces(engine: Engine) -> Finding:
    try:
        names = await engine.control.workspaces()
        counts = [f"{name} ({(await engine.stats(name)).documents:,})" for name in names]
    except RagEngineError as error:
        return Finding(check="workspaces", state="fail", found=str(error))
    if not counts:
        remedy = "Begin with: rag-engine ingest FILE-OR-FOLDER"
        return Finding(check="workspaces", state="ok", found="none yet", remedy=remedy)
    return Finding(check="workspaces", state="ok", found=", ".join(counts))


async def _embedder(engine: Engine) -> Finding:
    embedder = engine.pipeline.embedder
    began = time.perf_counter()
    try:
        await embedder.embed(["Does it work?"], "query")
    except RagEngineError as error:
        return Finding(check="embedding model", state="fail", found=str(error))
    scripts = "text in any script"
    if embedder.scripts:
        scripts = f"text in {', '.join(sorted(embedder.scripts))} script"
    return Finding(
        check="embedding model",
        state="ok",
        found=f"{embedder.name}, {embedder.dimensions} dimensions, {scripts}, "
        f"loaded in {time.perf_counter() - began:.1f} s",
    )


async def _parser(engine: Engine, page: Path) -> Finding:
    try:
        parsed = await engine.pipeline.parser.parse(page, page.name)
    except RagEngineError as error:
        return Finding(check="parsers", state="fail", found=str(error))
    if "All is well." not in parsed.text:
        return Finding(
            check="parsers",
            state="fail",
            found="the text of a small page was not found",
            remedy="Install the package again: pip install --force-reinstall rag-engine-server",
        )
    return Finding(check="parsers", state="ok", found="in a process of their own, without network")


async def _recognition(engine: Engine, picture: Path, settings: Settings) -> Finding:
    check = "text recognition"
    if not settings.parser_ocr:
        return Finding(
            check=check, state="ok", found="off", remedy="RAG_PARSER_OCR=true turns it on."
        )
    began = time.perf_counter()
    try:
        parsed = await engine.pipeline.parser.parse(picture, picture.name)
    except RagEngineError as error:
        return Finding(check=check, state="fail", found=str(error))
    if "4711" not in parsed.text:
        return Finding(check=check, state="warn", found=f"read {parsed.text!r} for {_SEEN!r}")
    return Finding(
        check=check, state="ok", found=f"read a page in {time.perf_counter() - began:.1f} s"
    )


def _draw(path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", (640, 160), "white")
    ImageDraw.Draw(page).text((60, 40), _SEEN, fill="black", font=ImageFont.load_default(64))
    page.save(path)


async def _language_model(engine: Engine, settings: Settings) -> Finding:
    from rag_engine.ports.models import Message

    check = "language model"
    if engine.chat is None:
        found = "none configured: answers quote the documents"
        return Finding(check=check, state="ok", found=found, remedy="See RAG_LLM_BASE_URL.")
    question = [Message(role="user", content="Answer with the word yes.")]
    began = time.perf_counter()
    try:
        async with aclosing(engine.chat.complete(question, max_tokens=16)) as replies:
            async for _ in replies:
                pass
    except RagEngineError as error:
        return Finding(check=check, state="fail", found=str(error))
    return Finding(
        check=check,
        state="ok",
        found=f"{settings.llm_model} at {settings.llm_base_url} answered in "
        f"{time.perf_counter() - began:.1f} s",
    )
