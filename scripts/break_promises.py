"""Break each promise on purpose, in a copy, and see its suite notice.

A test that cannot fail proves nothing. Every entry of `BREAKS` changes one place of a copy of the
repository in the way a careless change might, and runs the suite named after the promise that it
breaks. Those of `congruent` need a Neo4j server (`RAG_TEST_NEO4J`, as for the tests). Run it after
changing a suite: `make broken-promises`, or with words to choose breaks.

Exit code 0 when every break was noticed, 1 when one was not, 2 when one no longer fits the code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SQLITE = "shared/rag_engine/adapters/sqlite"
NEO4J = "shared/rag_engine/adapters/neo4j"


@dataclass(frozen=True, kw_only=True)
class Break:
    """One careless change.

    Attributes:
        promise: The promise it breaks, and the file name of the suite.
        says: What the change does, in words.
        file: Where it is made.
        old: What stands there, exactly once.
        new: What stands there instead.
        chosen: Which of the suite's tests to run; all of them when empty.
    """

    promise: str
    says: str
    file: str
    old: str
    new: str
    chosen: str = ""


BREAKS = (
    Break(
        promise="idempotent",
        says="what is there already is ingested again",
        file=f"{SQLITE}/queue.py",
        old="if wanted is not None and _same(wanted.version, submission):",
        new="if wanted is not None and wanted.version.number < 0:",
    ),
    Break(
        promise="idempotent",
        says="an edit in force is made again",
        file=f"{SQLITE}/store.py",
        old='if connection.execute(SQL["edit"], (edit.id,)).fetchone():',
        new="if edit is None:",
    ),
    Break(
        promise="purge",
        says="descriptions of deleted evidence stay",
        file=f"{SQLITE}/ledger.py",
        old='("description", entity.descriptions),',
        new='("description", entity.descriptions if sign > 0 else {}),',
    ),
    Break(
        promise="purge",
        says="word statistics of deleted chunks stay",
        file=f"{SQLITE}/ledger.py",
        old="self._count_terms(tally, sign)",
        new="self._count_terms(tally, max(sign, 0))",
    ),
    Break(
        promise="purge",
        says="undoing an alias leaves the evidence where it was",
        file=f"{SQLITE}/edits.py",
        old="        chunks = self._chunks(edit, [])\n",
        new="        chunks: list[Any] = []\n",
    ),
    Break(
        promise="atomic",
        says="a snapshot is no transaction",
        file=f"{SQLITE}/views.py",
        old='            connection.execute("BEGIN")\n',
        new="",
    ),
    Break(
        promise="atomic",
        says="what is held in memory does not follow what other processes removed",
        file=f"{SQLITE}/resident.py",
        old='        removed = connection.execute(SQL["removed_since"], (self.counter,)).fetchall()\n',
        new="        removed: list[tuple[str, int]] = []\n",
        chosen="across or mixes",
    ),
    Break(
        promise="atomic",
        says="an older version that finishes late replaces a newer one",
        file=f"{SQLITE}/queue.py",
        old="            _end_unfinished(connection, document, VersionStatus.SUPERSEDED, now)\n",
        new="",
    ),
    Break(
        promise="atomic",
        says="the old version goes in a transaction of its own",
        file=f"{SQLITE}/store.py",
        old="        ledger.remove(before)\n",
        new='        connection.execute("COMMIT")\n        connection.execute("BEGIN IMMEDIATE")\n'
        "        ledger.remove(before)\n",
    ),
    Break(
        promise="durable",
        says="a write is answered before it is committed",
        file=f"{SQLITE}/connection.py",
        old="            return await self._handed_in(work)\n",
        new="            loop = asyncio.get_running_loop()\n"
        "            answered = loop.create_future()\n\n"
        "            def hasty(connection: sqlite3.Connection) -> T:\n"
        "                result = work(connection)\n"
        "                loop.call_soon_threadsafe(answered.set_result, result)\n"
        "                time.sleep(0.01)\n"
        "                return result\n\n"
        "            committed = self._handed_in(hasty)\n"
        "            await asyncio.wait((answered, committed), return_when=asyncio.FIRST_COMPLETED)\n"
        "            return answered.result() if answered.done() else committed.result()\n",
        chosen="killed and (commit or moment)",
    ),
    Break(
        promise="durable",
        says="a delete is two transactions",
        file=f"{SQLITE}/store.py",
        old='        for query in ("unstage_document_chunks",',
        new='        connection.execute("COMMIT")\n        connection.execute("BEGIN IMMEDIATE")\n'
        '        for query in ("unstage_document_chunks",',
        chosen="killed and (sqlite or moment)",
    ),
    Break(
        promise="durable",
        says="nobody misses a worker that was killed",
        file=f"{SQLITE}/queue.py",
        old="gone = [name for name in processes if self._presence.is_gone(name)]",
        new="gone: list[str] = []",
        chosen="moment",
    ),
    Break(
        promise="durable",
        says="the folder of a new blob is not flushed",
        file="shared/rag_engine/adapters/blobs/folder.py",
        old="            _flush_folder(folder)\n",
        new="            folder.stat()\n",
        chosen="reached",
    ),
    Break(
        promise="durable",
        says="on Neo4j, a network that answers nothing is waited for",
        file=f"{NEO4J}/connection.py",
        old="return await _answered(once(limit), limit + grace)",
        new="return await once(limit)",
        chosen="neo4j and network",
    ),
    Break(
        promise="isolated",
        says="all workspaces share a file",
        file=f"{SQLITE}/control.py",
        old='f"{number:04d}.sqlite"',
        new='f"{number * 0:04d}.sqlite"',
    ),
    Break(
        promise="filter_sound",
        says="edges of hidden chunks count",
        file=f"{SQLITE}/reader.py",
        old='visible, graph = self._visible(resident, "chunk", filter_), resident.graph',
        new="visible, graph = resident.chunks.alive, resident.graph",
    ),
    Break(
        promise="filter_sound",
        says="descriptions are the whole workspace's",
        file=f"{SQLITE}/reader.py",
        old="        found = (\n"
        "            self._entities_among(ids, filter_)\n"
        "            if filter_ is not None\n"
        "            else self._entities_of_all(ids)\n"
        "        )\n",
        new="        found = self._entities_of_all(ids)\n",
    ),
    Break(
        promise="filter_sound",
        says="facts written by hand pass every filter",
        file="shared/rag_engine/core/edits.py",
        old="    if any(_names_facts(leaf) for leaf in leaves(filter_)):\n",
        new="    if filter_ is not None:\n",
    ),
    Break(
        promise="congruent",
        says="mentions of a passage are held in no order of weight on Neo4j",
        file="shared/rag_engine/adapters/neo4j/records.py",
        old="    edges.sort(key=lambda edge: (-edge[1], edge[0]))\n",
        new="    edges.sort(key=lambda edge: edge[0])\n",
        chosen="german",
    ),
    Break(
        promise="congruent",
        says="vectors of a passage are rounded once more on Neo4j",
        file="shared/rag_engine/adapters/neo4j/records.py",
        old="    chunk, vector = evidence.chunk, canonical(evidence.vector)\n",
        new="    chunk, vector = evidence.chunk, canonical(np.round(evidence.vector, 3))\n",
        chosen="german",
    ),
    Break(
        promise="honest",
        says="an outage looks like nothing found",
        file="shared/rag_engine/engine.py",
        old="        found = await self.search(question)\n",
        new="        try:\n            found = await self.search(question)\n"
        "        except Exception:\n            found = Found(context=assemble([], budget=self.budget))\n",
    ),
    Break(
        promise="honest",
        says="what cannot be read is left out of what is found",
        file="shared/rag_engine/engine.py",
        old="        context, warnings = await opened.store.look(look)\n",
        new="        try:\n"
        "            context, warnings = await opened.store.look(look)\n"
        "        except Exception:\n"
        "            context, warnings = Context(), ()\n",
    ),
    Break(
        promise="honest",
        says="citations of passages that do not exist stay",
        file="shared/rag_engine/retrieval/citations.py",
        old="            kept.extend(n for n in numbers if n in self._known)\n",
        new="            kept.extend(numbers)\n",
    ),
)


def main(words: list[str]) -> int:
    """Try every break, or those whose promise or description holds one of the words."""
    chosen = [one for one in BREAKS if not words or any(w in _title(one) for w in words)]
    missed = []
    for one in chosen:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            copy = _copy(Path(folder))
            if not _apply(one, copy):
                print(f"stale    {_title(one)}: {one.old!r} is not once in {one.file}")
                return 2
            noticed, by = _run(one, copy)
        print(f"{'noticed' if noticed else 'MISSED '}  {_title(one)} ({_seconds(began)}) {by}")
        if not noticed:
            missed.append(one)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} breaks were noticed.")
    return 1 if missed else 0


def _title(one: Break) -> str:
    return f"{one.promise}: {one.says}"


def _seconds(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _copy(folder: Path) -> Path:
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return folder


def _apply(one: Break, copy: Path) -> bool:
    path = copy / one.file
    text = path.read_text("utf-8")
    if text.count(one.old) != 1:
        return False
    path.write_text(text.replace(one.old, one.new), "utf-8")
    return True


def _run(one: Break, copy: Path) -> tuple[bool, str]:
    """Whether the suite fails, and by which test."""
    suites = sorted(str(path) for path in copy.glob(f"tests/promises/test_{one.promise}*.py"))
    sources = [copy / "shared", *sorted(copy.glob("services/*"))]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *suites]
    done = subprocess.run(
        [*command, "-k", one.chosen] if one.chosen else command,
        cwd=copy,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, sources)), "HYPOTHESIS_PROFILE": "unshrunk"},
        check=False,
        capture_output=True,
        text=True,
    )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    by = failed[0].removeprefix("FAILED ").split(" - ")[0] if failed else done.stdout[-300:]
    return done.returncode == 1 and bool(failed), by


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
