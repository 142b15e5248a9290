"""What must hold after every step, and what at the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn

from queue_model import EDITS, WRITES, Call, expected, is_held
from texts import DEFECT, EMBEDDER, SIZES, chunks_of, found_in

from rag_engine.core.edits import Edits
from rag_engine.core.evidence import Tally
from rag_engine.core.models import VersionStatus
from rag_engine.errors import LeaseLost
from rag_engine.testing.observation import list_all

if TYPE_CHECKING:
    from contextvars import Context, ContextVar

    from eyes import MemoryEyes, Row, Rows, SqliteEyes

    from rag_engine.core.edits import Edit
    from rag_engine.core.models import Chunk, Document
    from rag_engine.ingest.chunk import ChunkSize
    from rag_engine.ports.storage import Reader, Stats, Workspace
    from rag_engine.testing.simulation import SimulatedLoop

FINAL = (
    VersionStatus.INDEXED,
    VersionStatus.FAILED,
    VersionStatus.CANCELLED,
    VersionStatus.SUPERSEDED,
)


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What was visible from an instant on: documents with version number and content."""

    at: float
    visible: frozenset[tuple[str, int, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a view shows.

    Attributes:
        chunks: By document.
        found: Ids of the chunks that a search for anything finds, sorted.
    """

    documents: list[Document]
    chunks: dict[str, list[Chunk]]
    found: list[int]
    edits: list[Edit]
    stats: Stats


class Oracle:
    """Watches a workspace from outside of every process.

    Attributes:
        rows: The versions as of the last step.
        texts: What was ever submitted, by the hash of its bytes.
        seen: How often what happened, for tests that want to know whether anything did.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        current: ContextVar[Call | None],
        eyes: MemoryEyes | SqliteEyes,
        workspace: Workspace,
    ) -> None:
        self.rows: Rows = eyes.look()
        self.texts: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.moments = [Moment(at=0.0, visible=frozenset())]
        self.eyes = eyes
        self._loop = loop
        self._current = current
        self._workspace = workspace
        self._broken: Broken | None = None
        self._epoch = 0
        self._known: set[tuple[str, int, str]] = set()
        self._leases: set[tuple[str, int, int]] = set()
        self._holders: dict[int, str] = {}
        self._ended: set[str] = set()

    def fail(self, what: str) -> NoReturn:
        """End the run. Raising alone would not do: a worker survives what its pipeline raises."""
        self._broken = Broken(what)
        raise self._broken

    def note_end(self, process: str) -> None:
        """A process has ended: nobody else may work under its name, and its leases are free."""
        self._ended.add(process)

    # ------------------------------------------------------------------ after every step

    def watch(self, context: Context) -> None:
        """Look whether the step that was made changed anything, and whether it might."""
        if self._broken is not None:
            raise self._broken
        call = context.get(self._current)
        if call is None or call.method not in WRITES or not self.eyes.changed():
            return
        if call.method in EDITS:
            self._check_visible(self._loop.at_once(self._read()))
        call.gone = {epoch for epoch, name in self._holders.items() if name in self._ended}
        before, after, now = self.rows, self.eyes.look(), self._loop.clock()
        if call.lease is not None and not is_held(before, call.lease, now) and before != after:
            self.fail(f"{call} wrote without a lease. {_changes(before, after)}")
        wanted = expected(call, before, after, now)
        if wanted != after:
            self.fail(
                f"{call} should have changed [{_changes(before, wanted)}], "
                f"it changed [{_changes(before, after)}]."
            )
        if before == after:
            return
        call.effects += 1
        self.rows = after
        self._loop.note(f"{call}: {_changes(before, after)}")
        self._remember(call, before, after)

    def _remember(self, call: Call, before: Rows, after: Rows) -> None:
        for row in (row for key, row in after.items() if row != before.get(key)):
            self._known.add((row.id, row.number, row.content))
            self.seen[str(row.status)] += row.status in FINAL
            if row.status is VersionStatus.FAILED:
                self._check_failure(row)
            if call.method == "claim":
                self._check_epoch(row)
                self._holders[row.epoch] = call.process
                old = before[row.id, row.number]
                self.seen["expired"] += old.status is VersionStatus.RUNNING
                self.seen["staged dropped"] += old.staged > 0
        if call.method == "release_stalled":
            self.seen["missed"] += bool(call.gone & {row.epoch for row in before.values()})
        self.seen["deleted"] += call.method == "delete"
        visible = _visible(after)
        if visible != self.moments[-1].visible:
            self.moments.append(Moment(at=self._loop.time(), visible=visible))
            self._check_visible(self._loop.at_once(self._read()))

    def _check_failure(self, row: Row) -> None:
        text, error = self.texts[row.content], row.error or ""
        if not error:
            self.fail(f"It failed, and nobody says why: {row}.")
        if "blob" in error and "fault" not in error:
            self.fail(f"It was acknowledged, and its bytes are gone: {row}.")
        if "internal error" in error and not text.startswith(DEFECT):
            self.fail(f"There is a defect: {row}.")

    def _check_epoch(self, row: Row) -> None:
        if row.epoch <= self._epoch:
            self.fail(f"Epoch {row.epoch} came again: {self._epoch} was given before. {row}")
        self._epoch = row.epoch
        self._leases.add((row.id, row.number, row.epoch))

    def _check_visible(self, reading: Reading) -> None:
        """Readers see what the rows say is visible, and it adds up."""
        self.check_reading(reading)
        documents = reading.documents
        if {(one.id, one.version, one.content_hash) for one in documents} != _visible(self.rows):
            self.fail(f"Readers see {documents!r}, the rows say {_visible(self.rows)!r}.")

    async def _read(self) -> Reading:
        async with self._workspace.store.snapshot() as reader:
            return await read(reader)

    def check_reading(self, reading: Reading) -> None:
        """Documents are whole, searches find their chunks, counters are what evidence adds up to."""
        documents, stats = reading.documents, reading.stats
        tally, edits = Tally(), Edits.of(reading.edits)
        for document in documents:
            self.size_of(document, reading.chunks[document.id])
            for one in reading.chunks[document.id]:
                tally.add(edits.applied(found_in(one.text)), "")
        ids = sorted(one.id for chunks in reading.chunks.values() for one in chunks)
        if reading.found != ids:
            self.fail(f"There are the chunks {ids}, a search finds {reading.found}.")
        counted = replace(
            stats,
            documents=len(documents),
            chunks=tally.chunks,
            entities=len(tally.entities),
            relations=len(tally.relations),
            mentions=tally.mentions,
            assertions=tally.assertions,
            fields=dict(Counter(name for one in documents for name in one.metadata)),
        )
        if counted != stats:
            self.fail(f"The evidence adds up to {counted}, the counters say {stats}.")

    def size_of(self, document: Document, chunks: list[Chunk]) -> ChunkSize:
        """The release that made a visible document whole."""
        text = self.texts[document.content_hash]
        wanted = {size: chunks_of(text, document.id, document.version, size) for size in SIZES}
        if tuple(chunks) not in wanted.values():
            self.fail(
                f"Version {document.version} of {document.id!r} is not whole, or not of one "
                f"attempt: {[one.text for one in chunks]} of {text!r}."
            )
        return next(size for size in SIZES if wanted[size] == tuple(chunks))

    # ------------------------------------------------------------------ what a call returned

    def check_returned(self, call: Call, result: object) -> None:
        """What a call says it has done was done."""
        match call.method:
            case "accept":
                submission = call.args[0]
                done = (result.document_id, result.number, submission.content_hash) in self._known
            case "claim":
                lease = result.lease if result else None
                done = not lease or (lease.document_id, lease.version, lease.epoch) in self._leases
            case "finish" | "fail" | "release":
                done = call.effects == 1
            case "cancel" | "delete" | "release_stalled":
                done = not result or call.effects == 1
            case _:
                done = True
        if not done:
            self.fail(f"{call} says it has done what nobody saw: {result!r}.")

    def check_raised(self, call: Call, error: Exception) -> None:
        """What raised an error of its own did nothing."""
        self.seen["fenced"] += isinstance(error, LeaseLost)
        if call.effects:
            self.fail(f"{call} changed something and raised {error!r}.")

    # ------------------------------------------------------------------ what readers saw

    def check_seen(self, versions: set[tuple[str, int]], since: float) -> None:
        """Versions that a question saw together were visible together, at one moment at least."""
        later = [one for one in self.moments if one.at > since]
        at_first = [one for one in self.moments if one.at <= since][-1:]
        for moment in at_first + later:
            if versions <= {(id, number) for id, number, _ in moment.visible}:
                return
        self.fail(f"A question mixed {sorted(versions)!r}, which were never visible together.")

    # ------------------------------------------------------------------ at the end

    @property
    def is_quiet(self) -> bool:
        """Whether every version has come to its end."""
        return all(row.status in FINAL for row in self.rows.values())

    async def check_end(self) -> None:
        """Nothing hangs, nothing is left over, and every failure has its reason."""
        if not self.is_quiet:
            self.fail(f"These never come to an end: {[*self._unfinished()]!r}.")
        last = [row for row in self.rows.values() if row.id == "last"]
        if [(row.status, row.attempt) for row in last] != [(VersionStatus.INDEXED, 1)]:
            self.fail(f"With nothing in its way it was not indexed at once: {last}.")
        if self.eyes.look() != self.rows:
            self.fail("The rows changed in a step that made no call.")
        for row in self.rows.values():
            if row.staged:
                self.fail(f"Staged evidence is left of a version that ended: {row}.")
        if damage := self.eyes.damage():
            self.fail(f"The file is damaged: {damage}.")
        self._check_visible(await self._read())

    def _unfinished(self) -> list[Row]:
        return [row for row in self.rows.values() if row.status not in FINAL]


async def read(reader: Reader) -> Reading:
    """Read what a view shows."""
    documents = await list_all(reader)
    query = await EMBEDDER.embed(["Ann"], "query")
    [hits] = await reader.search_dense("chunk", query, 10_000)
    return Reading(
        documents=documents,
        chunks={one.id: await reader.document_chunks(one.id) for one in documents},
        found=sorted(hits.ids.tolist()),
        edits=[one.edit for one in await reader.edits()],
        stats=await reader.stats(),
    )


def _visible(rows: Rows) -> frozenset[tuple[str, int, str]]:
    return frozenset((row.id, row.number, row.content) for row in rows.values() if row.visible)


def _changes(before: Rows, after: Rows) -> str:
    lines = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if old != new:
            lines.append(f"{key[0]}.{key[1]}: {_short(old)} -> {_short(new)}")
    return "; ".join(lines) or "nothing"


def _short(row: Row | None) -> str:
    if row is None:
        return "none"
    parts = [str(row.status), f"attempt {row.attempt}", f"epoch {row.epoch}"]
    parts += [f"until {row.until:.3f}"] if row.until is not None else []
    parts += [f"{row.staged} staged"] if row.staged else []
    return " ".join(parts + (["visible"] if row.visible else []))
