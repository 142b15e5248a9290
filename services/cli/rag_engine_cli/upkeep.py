"""`doctor --verify` and `doctor --repair`: the data folder from end to end."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Final

import click

from rag_engine_cli.asking import agreed, check_askable
from rag_engine_cli.session import Session
from rag_engine_cli.terminal import Terminal, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rag_engine.engine import Engine
    from rag_engine.ports.inspection import Damage
    from rag_engine.upkeep import Repaired

_REMEDIES: Final = {
    "rebuild": "can be counted again",
    "embed": "can be made again from the text",
    "parse": "can be read again from the original",
    "ingest": "its document can be ingested again from the original",
    "store": "can be stored again from the file it came from",
    "salvage": "its documents can be looked for in the file and ingested again",
    "none": "cannot be repaired here",
}
_NAMED: Final = 1000


def verify(session: Session) -> int:
    """Check everything, print what is wrong, and return how many damages there are."""
    found = session.run(lambda engine: _verify(engine, session))
    _conclude(session.terminal, found)
    return found.total()


async def _verify(engine: Engine, session: Session) -> Counter[str]:
    from rag_engine import upkeep
    from rag_engine.ports.inspection import Checking
    from rag_engine.wiring import inspector_of

    counts = Counter[str]()
    inspector = inspector_of(session.settings)
    with _progress(session.terminal) as doing:
        async with aclosing(upkeep.verify(engine, inspector)) as found:
            async for one in found:
                if isinstance(one, Checking):
                    doing(one.check)
                    if one.skipped:
                        session.terminal.note(f"Not checked: {one.check} ({one.skipped}).")
                    continue
                counts[str(one.remedy)] += 1
                if counts.total() <= _NAMED or session.json:
                    _print(session.terminal, one)
    return counts


def _print(terminal: Terminal, damage: Damage) -> None:
    terminal.record(
        {
            "check": damage.check,
            "workspace": damage.workspace or None,
            "document": damage.document_id,
            "found": damage.message,
            "repair": str(damage.remedy),
        }
    )
    where = f"{damage.workspace}: " if damage.workspace else ""
    remedy = _REMEDIES[str(damage.remedy)]
    terminal.line(f"{click.style('damaged', fg='red')}  {where}{damage.message}\n{'':<9}({remedy})")


def _conclude(terminal: Terminal, found: Counter[str]) -> None:
    total, hopeless = found.total(), found["none"]
    terminal.record({"damages": total, "repairable": total - hopeless})
    if not total:
        terminal.line("Everything is as it was written.")
        return
    if total > _NAMED:
        terminal.line(f"… and {total - _NAMED:,} more.")
    terminal.line(f"{plural(total, 'damage')} found, {total - hopeless:,} of them repairable.")
    if total > hopeless:
        terminal.line("Repair with: rag-engine doctor --repair")


def repair(session: Session, *, yes: bool) -> int:
    """Repair what can be repaired, and return how many damages are left."""
    check_askable("repair", yes=yes)
    question = (
        "Repair the data folder? Stop workers, `sync --watch` and servers first: a file that one has "
        "open cannot be replaced."
    )
    if not agreed(session.terminal, question, otherwise="Nothing was repaired.", yes=yes):
        return 0
    repaired = session.run(lambda engine: _repair(engine, session))
    terminal = session.terminal
    for damage in repaired.left:
        _print(terminal, damage)
    terminal.record({"found": repaired.found, "left": len(repaired.left)})
    if not repaired.found:
        terminal.line("Everything is as it was written: nothing to repair.")
    elif repaired.left:
        terminal.line(f"{len(repaired.left):,} of {plural(repaired.found, 'damage')} left.")
    else:
        terminal.line(f"{plural(repaired.found, 'damage')} repaired; everything was checked again.")
    return len(repaired.left)


async def _repair(engine: Engine, session: Session) -> Repaired:
    from rag_engine import upkeep
    from rag_engine.wiring import inspector_of

    return await upkeep.repair(engine, inspector_of(session.settings))


def forget(session: Session, workspace: str) -> None:
    """Give up a workspace that is lost."""
    session.run(lambda engine: _forget(engine, session, workspace))
    session.terminal.record({"forgotten": workspace})
    session.terminal.line(
        f"Workspace {workspace!r} is forgotten. Begin it anew by ingesting into it."
    )


async def _forget(engine: Engine, session: Session, workspace: str) -> None:
    from rag_engine import upkeep
    from rag_engine.wiring import inspector_of

    await upkeep.forget(engine, inspector_of(session.settings), workspace)


@contextmanager
def _progress(terminal: Terminal) -> Iterator[Callable[[str], None]]:
    if not terminal.live:
        yield lambda check: None
        return
    from rag_engine_cli.report import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("", total=None, doing="checking")
        yield lambda check: bar.update(task, doing=check)
