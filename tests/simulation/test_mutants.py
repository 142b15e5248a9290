"""The simulation can fail: each of these defects, put into the product, is found by a few lives."""

from __future__ import annotations

import gc
import inspect
import textwrap
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
from life import live
from oracle import Broken

from rag_engine.adapters.sqlite import queries
from rag_engine.testing.simulation import Stuck

LIVES = 60
"""How many lives a defect may survive at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A defect: in the source of a function (`module:Class.function`) or in a query (`:name`)."""

    store: str
    place: str
    right: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.store} {self.place.rpartition('.')[2]}: {self.right} -> {self.wrong}"

    def put_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it into the running product."""
        name, _, path = self.place.partition(":")
        if not name:
            query = self._wrong(queries.SQL[path])
            [behind] = gc.get_referents(queries.SQL)  # the dict that nobody else may write
            monkeypatch.setitem(behind, path, query)
            return
        module = import_module(name)
        owner, _, function = path.rpartition(".")
        holder = getattr(module, owner) if owner else module
        original = inspect.unwrap(getattr(holder, function))
        source = "from __future__ import annotations\n" + self._wrong(
            textwrap.dedent(inspect.getsource(original))
        )
        made: dict[str, Any] = {}
        exec(compile(source, "mutant", "exec"), vars(module), made)  # noqa: S102
        # Its code, not its name: other modules have imported the function itself.
        monkeypatch.setattr(original, "__code__", inspect.unwrap(made[function]).__code__)

    def _wrong(self, source: str) -> str:
        assert self.right in source, f"{self.place} no longer says {self.right!r}: mutate it anew."
        return source.replace(self.right, self.wrong)


_SQLITE = "rag_engine.adapters.sqlite"
_MEMORY = "rag_engine.adapters.memory"

MUTANTS = [
    Mutant(  # finish looks at no lease
        store="sqlite",
        place=f"{_SQLITE}.store:SqliteStore._finish",
        right="held(connection, lease, now)",
        wrong='find_version(connection, "version_by_number", lease.document_id, lease.version)',
    ),
    Mutant(
        store="memory",
        place=f"{_MEMORY}.store:MemoryStore.finish",
        right="self._tables.held(lease, now)",
        wrong="self._tables.versions[lease.document_id, lease.version]",
    ),
    Mutant(  # a lease that ran out still counts
        store="sqlite",
        place=f"{_SQLITE}.leases:held",
        right="found.claimable_at <= now",
        wrong="False",
    ),
    Mutant(
        store="memory",
        place=f"{_MEMORY}.tables:Tables.held",
        right="or not self.is_held(row, now)",
        wrong="",
    ),
    Mutant(  # the epoch does not count
        store="sqlite",
        place=f"{_SQLITE}.leases:held",
        right="found.epoch != lease.epoch",
        wrong="False",
    ),
    Mutant(  # a claim ignores leases
        store="sqlite",
        place=":claimable_version",
        right="v.claimable_at <= ?1",
        wrong="(v.claimable_at <= ?1 OR v.status = 'running')",
    ),
    Mutant(
        store="memory",
        place=f"{_MEMORY}.queue:MemoryQueue._stalled",
        right="and not self._tables.is_held(row, now)",
        wrong="",
    ),
    Mutant(  # a claim leaves what was staged before
        store="sqlite",
        place=f"{_SQLITE}.queue:SqliteQueue.claim",
        right='connection.execute(SQL["unstage_chunks"], (found.row,))',
        wrong="pass",
    ),
    Mutant(
        store="memory",
        place=f"{_MEMORY}.queue:MemoryQueue.claim",
        right="self._tables.drop([(version.document_id, version.number)])",
        wrong="pass",
    ),
    Mutant(  # a delete leaves versions that wait
        store="memory",
        place=f"{_MEMORY}.store:MemoryStore.delete",
        right="if key[0] in gone]",
        wrong="if key[0] in gone and key in self._tables.evidence]",
    ),
    Mutant(
        store="sqlite",
        place=f"{_SQLITE}.store:SqliteStore.delete",
        right="if found:",
        wrong="found = [one for one in found if one[1]]\n        if found:",
    ),
    Mutant(  # who is stalled loses its epoch
        store="sqlite",
        place=":release_stalled",
        right="status = 'pending'",
        wrong="status = 'pending', epoch = 0",
    ),
    Mutant(
        store="memory",
        place=f"{_MEMORY}.queue:MemoryQueue.release_stalled",
        right="self._put_back(row, now)",
        wrong="self._put_back(replace(row, epoch=0), now)",
    ),
    Mutant(  # epochs are counted by version
        store="sqlite",
        place=f"{_SQLITE}.queue:SqliteQueue.claim",
        right='[epoch] = connection.execute(SQL["meta"], ("epoch",)).fetchone()',
        wrong="epoch = found.epoch + 1",
    ),
    Mutant(  # an older version that is worked on is not superseded
        store="sqlite",
        place=f"{_SQLITE}.queue:SqliteQueue.accept",
        right="_end_unfinished(connection, document, VersionStatus.SUPERSEDED, now)",
        wrong="pass",
    ),
    Mutant(  # the evidence of the version before stays
        store="sqlite",
        place=f"{_SQLITE}.store:SqliteStore._finish",
        right="ledger.remove(before)",
        wrong="pass",
    ),
    Mutant(  # readers see what is written after they began
        store="sqlite",
        place=f"{_SQLITE}.views:View.begin",
        right='connection.execute("BEGIN")',
        wrong="pass",
    ),
    Mutant(
        store="memory",
        place=f"{_MEMORY}.store:MemoryStore.snapshot",
        right="self._tables.copy()",
        wrong="self._tables",
    ),
    Mutant(  # the vectors in memory do not follow what was removed
        store="sqlite",
        place=f"{_SQLITE}.resident:Resident.followed",
        right="self.without(removed)",
        wrong="self",
    ),
    Mutant(  # the last batch is never staged
        store="memory",
        place="rag_engine.ingest.write:stage",
        right="range(0, len(evidence), _BATCH)",
        wrong="range(0, len(evidence) - 1, _BATCH)",
    ),
    Mutant(  # no heart beats
        store="memory",
        place="rag_engine.ingest.heartbeat:keep",
        right="if loop.time() >= due:",
        wrong="if False:",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_few_lives_find(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.put_in(monkeypatch)
    for lived in range(LIVES):
        try:
            live(mutant.store, lived)
        except (Broken, Stuck) as error:
            print(f"found in life {lived}: {error}")
            return
    pytest.fail(f"{LIVES} lives found nothing.")
