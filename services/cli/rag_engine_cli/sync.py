"""`sync`: a workspace in step with a folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from rag_engine.core.models import Version
from rag_engine.errors import InvalidRequest, RagEngineError
from rag_engine_cli.files import Found, absolute, find_in
from rag_engine_cli.intake import Intake
from rag_engine_cli.options import shared_options
from rag_engine_cli.plan import Change, Plan, Wish, compare, known_versions
from rag_engine_cli.report import Report
from rag_engine_cli.session import Session, pass_session
from rag_engine_cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from rag_engine.engine import Engine

_WORDS: Final = {
    Change.NEW: "add",
    Change.CHANGED: "replace",
    Change.RETRIED: "try again",
    Change.WAITING: "go on with",
}
_DEBOUNCE_MS: Final = 1_600  # programs save in several steps; a round sees the last of them
_MISSING_SECONDS: Final = 5.0


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--watch", is_flag=True, help="Go on whenever a file changes, until Ctrl-C.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option(
    "--delete/--no-delete",
    default=True,
    help="Whether documents whose files are gone are deleted. Default: they are.",
)
@click.option("--retry", is_flag=True, help="Try again what failed before and has not changed.")
@click.option("--yes", is_flag=True, help="Agree to delete every document of the folder.")
@shared_options
@pass_session
def sync(session: Session, /, folder: str, watch: bool, **chosen: bool) -> None:
    """Keep a workspace in step with the folder DIR.

    Adds files that are new, replaces documents whose files changed, and deletes documents whose
    files are gone. Run it as often as you like: unchanged files cost no more than reading them.
    Only documents that came from this folder are touched.

    \b
    Examples:
      rag-engine sync ~/docs --dry-run
      rag-engine sync ~/docs
      rag-engine sync ~/docs --watch
    """
    keeper = _Keeper(
        session=session,
        root=absolute(folder),
        **chosen,
    )
    if chosen["dry_run"]:
        session.run(keeper.preview)
        return
    keeper.begin()
    try:
        session.run(keeper.watch if watch else keeper.once)
    except KeyboardInterrupt:
        if keeper.idle:
            session.terminal.note("Stopped watching.")
        else:
            keeper.report.interrupted()
        raise click.exceptions.Exit(130) from None
    if keeper.report.failed:
        raise click.exceptions.Exit(1)


@dataclass(kw_only=True)
class _Keeper:
    """Brings a workspace in step with one folder, once or again and again."""

    session: Session
    root: str
    dry_run: bool
    delete: bool
    retry: bool
    yes: bool
    told: dict[str, str] = field(default_factory=dict, init=False)
    idle: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Start the report of a round."""
        self.report = Report(self.session.terminal)

    async def preview(self, engine: Engine) -> None:
        """Print what a round would do."""
        plan = await self._plan(engine)
        terminal = self.session.terminal
        _print_plan(terminal, plan)
        terminal.record(_plan_record(plan))

    async def once(self, engine: Engine) -> None:
        """One round."""
        self.idle = False
        with self.report:
            await self._round(engine)
        self.idle = True

    async def watch(self, engine: Engine) -> None:
        """A round now, and one after every change; an error ends a round and not the watch."""
        from watchfiles import DefaultFilter, awatch

        await self.once(engine)
        self.session.terminal.note(f"Watching {self.root}. Press Ctrl-C to stop.")
        first = True
        while True:
            if not await asyncio.to_thread(self._is_there):
                await asyncio.sleep(_MISSING_SECONDS)
                continue
            async for changes in awatch(
                self.root,
                # What a round writes must not begin the next one.
                watch_filter=DefaultFilter(ignore_paths=self._own()),
                debounce=_DEBOUNCE_MS,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                # What changed between the first round and the start of the watch is seen here.
                if changes or first:
                    await self._watched_round(engine)
                first = False
                if not await asyncio.to_thread(self._is_there):
                    break

    def _own(self) -> list[str | Path]:
        """Beginnings of the paths that the store writes to."""
        data = absolute(str(self.session.settings.data_dir))
        places = {data, os.path.realpath(data)}
        names = (f"blobs{os.sep}", f"workspaces{os.sep}", f"workers{os.sep}", "control.sqlite")
        return [f"{place}{os.sep}{name}" for place in places for name in names]

    def _is_there(self) -> bool:
        return Path(self.root).is_dir()

    async def _watched_round(self, engine: Engine) -> None:
        self.begin()
        self.report.quiet = True
        self.retry = False
        try:
            await self.once(engine)
        except RagEngineError as error:
            self.session.terminal.note(click.style("Error: ", fg="red") + str(error))
            self.idle = True

    async def _round(self, engine: Engine) -> None:
        plan = await self._plan(engine)
        # In a watch, a file that cannot be taken in is told once and not at every change.
        told, self.told = self.told, plan.refused
        plan.refused = {path: why for path, why in plan.refused.items() if told.get(path) != why}
        self.report.begin(plan)
        workspace = self.session.workspace
        await Intake(engine, workspace, self.report).run(plan)
        # The work took its time: what exists again by now is not gone.
        plan.delete = await asyncio.to_thread(_still_gone, plan.delete)
        if plan.delete:
            # Only now: a file that was renamed is never missing from the answers.
            await engine.delete(plan.delete, workspace)
            self.report.deleted(plan.delete)
        self.report.end(plan)

    async def _plan(self, engine: Engine) -> Plan:
        known = await known_versions(engine, self.session.workspace)
        ours = {id: one for id, one in known.items() if one.submission.root == self.root}
        found = await asyncio.to_thread(self._find, len(ours))
        plan = await compare(
            found,
            known,
            Wish(root=self.root, retry=self.retry),
            fingerprint=engine.pipeline.fingerprint,
            max_bytes=self.session.settings.parser_max_bytes,
            looked=self.report.looked if not self.dry_run else lambda count: None,
        )
        if self.delete:
            plan.delete = await asyncio.to_thread(_gone, found, ours)
        return plan

    def _find(self, known: int) -> Found:
        """The files of the folder; without any, nothing is deleted unasked."""
        path = Path(self.root)
        if path.exists() and not path.is_dir():
            raise InvalidRequest(
                f"{self.root!r} is no folder. To add one file: rag-engine ingest {self.root}"
            )
        found = find_in(self.root, self.session.settings.data_dir) if path.is_dir() else Found()
        if found.files or found.problems or (path.is_dir() and not known):
            return found
        what = "is empty" if path.is_dir() else "does not exist"
        if not known:
            raise InvalidRequest(f"The folder {self.root!r} {what}. Check the path.")
        if self.delete and not (self.yes or self.dry_run):
            raise InvalidRequest(
                f"The folder {self.root!r} {what}, and {plural(known, 'document')} came from it. "
                "If its disk is not mounted, mount it first; to delete them all, run again with "
                "--yes."
            )
        return found


def _gone(found: Found, ours: Mapping[str, Version]) -> list[str]:
    """Documents whose files are no longer there; what cannot be looked at is not gone."""
    unknown = tuple(f"{folder}{os.sep}" for folder in found.problems)
    return sorted(
        id
        for id in ours
        if id not in found.files
        and id not in found.problems
        and not id.startswith(unknown)
        and not os.path.lexists(id)
    )


def _still_gone(ids: Sequence[str]) -> list[str]:
    return [id for id in ids if not os.path.lexists(id)]


def _print_plan(terminal: Terminal, plan: Plan) -> None:
    for step in plan.steps:
        terminal.line(f"would {_WORDS[step.change]:<10}  {step.source}")
    for id in plan.delete:
        terminal.line(f"would {'delete':<10}  {id}")
    for reason in plan.refused.values():
        terminal.line(f"would fail: {reason}")
    for reason, count in plan.skipped.items():
        terminal.line(f"would skip {plural(count, 'file')}: {reason}")
    changes = len(plan.steps) + len(plan.delete)
    terminal.line(
        f"{plural(changes, 'change')}, {plan.unchanged:,} unchanged. This was a dry run: "
        "nothing was done."
    )


def _plan_record(plan: Plan) -> dict[str, object]:
    return {
        "would": [
            *({"id": step.document_id, "change": str(step.change)} for step in plan.steps),
            *({"id": id, "change": "deleted"} for id in plan.delete),
        ],
        "unchanged": plan.unchanged,
        "failed_before": plan.failed_before,
        "refused": plan.refused,
        "skipped": dict(plan.skipped),
    }
