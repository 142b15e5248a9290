"""What a person, or a program, sees while documents are taken in."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Final

import click

from rag_engine.core.models import Stage, Version, VersionStatus
from rag_engine_cli.records import version_record
from rag_engine_cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from rag_engine_cli.plan import Plan

_COLORS: Final = {"indexed": "green", "failed": "red", "waits": "yellow", "deleted": "yellow"}
_VERBS: Final = {
    Stage.PARSE: "reading",
    Stage.CHUNK: "cutting",
    Stage.EXTRACT: "finding names in",
    Stage.EMBED: "embedding",
    Stage.WRITE: "writing",
}


class Report:
    """Prints a line for every outcome, below them a progress bar, and a summary at the end.

    Args:
        terminal: Where it is printed; without a person watching there is no bar.

    Attributes:
        quiet: Whether an end is passed over in silence when nothing was done.
    """

    def __init__(self, terminal: Terminal) -> None:
        self.quiet = False
        self._terminal = terminal
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._stages: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._total = 0
        self._ended = 0
        self._noted_elsewhere = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    @property
    def failed(self) -> int:
        """How many documents failed or were refused."""
        return self._counts["failed"]

    def __enter__(self) -> Report:
        if self._terminal.live:
            self._bar = progress_bar()
            self._bar.start()
            self._task = self._bar.add_task("", total=None, doing="looking at the files")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def looked(self, count: int) -> None:
        """So many files were looked at."""
        self._show(f"looking at the files: {count:,}")

    def begin(self, plan: Plan) -> None:
        """All files were looked at, and this is what follows."""
        self._accepted.update(plan.waiting)
        steps = {step.document_id for step in plan.steps}
        self._total = len(steps | self._accepted) + len(plan.refused)
        for path, reason in plan.refused.items():
            self.refused(path, reason)

    def refused(self, path: str, reason: str) -> None:
        """A file could not be accepted."""
        self._ended += 1
        self._outcome("failed", path, reason)
        self._terminal.record({"id": path, "status": "refused", "error": reason})

    def accepted(self, version: Version) -> None:
        """A document is in the queue, or needed no work after all."""
        self._accepted.add(version.document_id)
        if version.status is VersionStatus.INDEXED:
            self.ended(version)

    def stage(self, version: Version, stage: Stage) -> None:
        """A stage of a document begins."""
        name = version.submission.source
        self._stages[version.document_id] = f"{_VERBS[stage]} {name.rsplit('/', 1)[-1]}"
        self._show(next(reversed(self._stages.values())))

    def ended(self, version: Version) -> None:
        """A document came to its end, or is put off."""
        self._stages.pop(version.document_id, None)
        self._accepted.discard(version.document_id)
        self._ended += version.status is not VersionStatus.PENDING
        if version.status is VersionStatus.PENDING:
            self._accepted.add(version.document_id)
        word, remark = _told(version)
        self._outcome(word, version.submission.source, remark)
        if version.status is VersionStatus.INDEXED:
            for warning in version.warnings:
                self._print(click.style(f"           {warning}", dim=True))
        self._terminal.record(version_record(version))

    def elsewhere(self, count: int) -> None:
        """Another process works on some of the documents."""
        if count and not self._noted_elsewhere:
            self._noted_elsewhere = True
            self._print(
                f"Waiting for {plural(count, 'document')} that another process works on. If that "
                "is killed, they go on here."
            )

    def deleted(self, ids: list[str]) -> None:
        """Documents were deleted since their files are gone."""
        for id in ids:
            self._outcome("deleted", id, "")
            self._terminal.record({"id": id, "status": "deleted"})

    def end(self, plan: Plan) -> None:
        """All is done."""
        self._stop()
        if self.quiet and not self._counts:
            return
        seconds = time.monotonic() - self._began
        self._terminal.record(
            {
                "summary": {
                    **{name: self._counts[name] for name in ("indexed", "failed", "deleted")},
                    "unchanged": plan.unchanged,
                    "failed_before": plan.failed_before,
                    "skipped": dict(plan.skipped),
                    "seconds": round(seconds, 3),
                }
            }
        )
        self._terminal.line(f"{self._summary(plan)} {seconds:.1f} s.")

    def interrupted(self) -> None:
        """Ctrl-C: say what is done and what goes on."""
        self._stop()
        done, waiting = self._counts["indexed"], len(self._accepted)
        left = max(0, self._total - self._ended - waiting)
        parts = [f"{plural(done, 'document')} indexed"]
        if waiting:
            parts.append(f"{waiting:,} safe in the queue")
        if left:
            parts.append(f"{left:,} not begun")
        self._terminal.note(
            f"Interrupted: {', '.join(parts)}. Nothing is lost: run the same command again to go on."
        )

    def _summary(self, plan: Plan) -> str:
        counts = {name: self._counts[name] for name in ("indexed", "deleted", "failed")}
        counts["unchanged"] = plan.unchanged
        parts = [f"{count:,} {name}" for name, count in counts.items() if count]
        if plan.failed_before:
            parts.append(f"{plan.failed_before:,} failed before and unchanged")
        if skipped := plan.skipped.total():
            reasons = ", ".join(f"{count:,} {why}" for why, count in plan.skipped.items())
            parts.append(f"{skipped:,} skipped ({reasons})")
        return f"{', '.join(parts) or 'Nothing to do'}."

    def _outcome(self, word: str, name: str, remark: str) -> None:
        self._counts[word] += 1
        self._print(_line(word, name, remark))
        self._show("")

    def _print(self, text: str) -> None:
        if self._bar is None:
            self._terminal.line(text)
            return
        from rich.text import Text

        self._bar.console.print(Text.from_ansi(text), soft_wrap=True)

    def _show(self, doing: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, total=self._total or None, completed=self._ended, doing=doing
            )

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def outcome_line(version: Version) -> str:
    """What became of a version, on a line that needs nothing around it."""
    word, remark = _told(version)
    return _line(word, version.submission.source, remark)


def _told(version: Version) -> tuple[str, str]:
    """A word for what became of a version, and a remark."""
    match version.status:
        case VersionStatus.INDEXED:
            return "indexed", plural(version.chunks, "passage")
        case VersionStatus.FAILED:
            return "failed", version.error or ""
        case VersionStatus.PENDING:
            return "waits", f"{version.error} It is tried again."
        case status:
            return str(status), ""


def _line(word: str, name: str, remark: str) -> str:
    colored = click.style(f"{word:<9}", fg=_COLORS.get(word))
    # A reason that begins with the name in quotes need not be told twice whose it is.
    told = remark.startswith(repr(name))
    return f"{colored}  " + (remark if told else f"{name}: {remark}" if remark else name)


def progress_bar() -> Progress:
    """A bar that vanishes when it is done; `doing` says what goes on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    context = click.get_current_context(silent=True)
    plain = context is not None and context.color is False
    return Progress(
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}", markup=False),
        console=Console(no_color=plain, highlight=False),
        transient=True,
    )
