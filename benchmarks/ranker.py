"""Learn the weights of `retrieval/rank.py`: `python benchmarks/ranker.py DIR... --keep FOLDER`.

Each DIR is a folder in the common form; training questions (`queries_train.jsonl`) are used where
there are any, and the single steps of questions that say how they decompose are a set of their own.
The loss is listwise: minus the logarithm of the share that a passage that answers has against all
that do not, in a softmax over the pool. Each set counts the same, however many questions it has;
one with training questions of its own (single-step claims, far from the others) three times.

Printed: recall@5 of each set by weights learned on the *other* sets alone, by weights learned on
all, and without each feature in turn; then the weights.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from quality import PlainText, ingest
from question_sets import Asked, QuestionSet, read

from rag_engine import Engine, build, load_settings
from rag_engine.core.ids import ChunkId
from rag_engine.ports.storage import Ids, Reader
from rag_engine.retrieval.candidates import candidates
from rag_engine.retrieval.expand import expand
from rag_engine.retrieval.features import NAMES, features
from rag_engine.retrieval.plan import plan
from rag_engine.retrieval.rank import POOL, evidence_of, pool_of

TRAINING = "queries_train.jsonl"
PENALTY = 0.03
"""Of the squares of the standardised weights; .005 to .05 rank alike."""
TRAINING_COUNTS = 3.0
STEPS = 600
RATE = 0.03

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """The pools of a set of questions.

    Attributes:
        features: Shape `(questions, POOL, features)`.
        answers: Shape `(questions, POOL)`: 1 for a chunk that answers.
        there: Shape `(questions, POOL)`: 1 where there is a chunk.
        wanted: Shape `(questions,)`: gold passages, found or not.
        family: Sets that share passages are never trained and tested against each other.
        counts: What the set is worth in the loss.
    """

    name: str
    family: str
    counts: float
    features: Floats
    answers: Floats
    there: Floats
    wanted: Floats


async def pools(folder: Path, keep: Path) -> list[Pools]:
    """Ingest a folder and gather the pools of its questions."""
    questions = await asyncio.to_thread(read, folder, None)
    data = keep / questions.name
    built = await asyncio.to_thread(build, load_settings(data_dir=data))
    engine = replace(built, pipeline=replace(built.pipeline, parser=PlainText()))
    try:
        await ingest(engine, questions)
        asked = {questions.name: await asyncio.to_thread(_training, folder, questions)}
        if steps := await asyncio.to_thread(_steps, folder):
            asked[f"{questions.name} steps"] = steps
        counts = TRAINING_COUNTS if (folder / TRAINING).exists() else 1.0
        return [
            await _pools(engine, name, questions.name, counts, listed)
            for name, listed in asked.items()
        ]
    finally:
        await engine.aclose()


def _training(folder: Path, questions: QuestionSet) -> Sequence[Asked]:
    path = folder / TRAINING
    if not path.exists():
        return questions.questions
    return [
        Asked(id=row["id"], text=row["question"], grades=dict.fromkeys(row["supporting_ids"], 1))
        for row in map(json.loads, path.read_text("utf-8").splitlines())
    ]


def _steps(folder: Path) -> list[Asked]:
    """Single steps of two-step questions, each with the answers before it filled in."""
    found = []
    for row in map(json.loads, (folder / "queries.jsonl").read_text("utf-8").splitlines()):
        answers: list[str] = []
        for step in row.get("decomposition") or ():
            text = step["question"].replace(" >> ", " ")
            for number, answer in enumerate(answers, 1):
                text = text.replace(f"#{number}", answer)
            answers.append(step["answer"])
            grades = {step["supporting_id"]: 1}
            found.append(Asked(id=f"{row['id']}.{len(answers)}", text=text, grades=grades))
    return found


async def _pools(
    engine: Engine, name: str, family: str, counts: float, asked: Sequence[Asked]
) -> Pools:
    table = np.zeros((len(asked), POOL, len(NAMES)))
    answers, there = np.zeros((len(asked), POOL)), np.zeros((len(asked), POOL))
    async with (await engine.workspace()).store.snapshot() as reader:
        for at, question in enumerate(asked):
            ids, found = await _pool(engine, reader, question.text)
            table[at, : len(ids)], there[at, : len(ids)] = found, 1.0
            chunks = await reader.chunks([ChunkId(id) for id in ids.tolist()])
            spans = question.spans or ((0, 2**62),)
            for place, chunk in enumerate(chunks):
                if chunk and chunk.document_id in question.grades:
                    hit = any(start < chunk.end and chunk.start < end for start, end in spans)
                    answers[at, place] = float(hit)
    wanted = np.array([max(len(one.spans), len(one.grades)) for one in asked], dtype=np.float64)
    return Pools(
        name=name,
        family=family,
        counts=counts,
        features=table,
        answers=answers,
        there=there,
        wanted=np.maximum(wanted, 1.0),
    )


async def _pool(engine: Engine, reader: Reader, question: str) -> tuple[Ids, Floats]:
    embedder = engine.pipeline.embedder
    asked = plan(question, "graph", embedder.scripts)
    [vector] = await embedder.embed([question], "query")
    statistics = await reader.statistics(asked.tokens)
    found = await candidates(reader, asked, vector, statistics, None)
    around = await expand(reader, asked, found, statistics, None)
    ids, walk = pool_of(found, around, statistics)
    evidence = await evidence_of(reader, asked, ids, walk, found, around, vector, statistics, None)
    return ids, features(evidence)


def learn(sets: Sequence[Pools], columns: Sequence[int]) -> Floats:
    """Weights of the raw features in `columns`, by Adam on the standardised ones."""
    table, answers, there, share = _joined(sets, columns)
    present = there[..., None]
    mean = (table * present).sum((0, 1)) / there.sum()
    spread = np.sqrt((((table - mean) ** 2) * present).sum((0, 1)) / there.sum()) + 1e-9
    standard = (table - mean) / spread * present
    weights, first, second = (np.zeros(len(columns)) for _ in range(3))
    for step in range(1, STEPS + 1):
        gradient = _gradient(standard, answers, there, share, weights) + 2.0 * PENALTY * weights
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        size = np.sqrt(second / (1.0 - 0.999**step)) + 1e-8
        weights -= RATE * first / (1.0 - 0.9**step) / size
    return np.asarray(weights / spread, dtype=np.float64)


def _joined(sets: Sequence[Pools], columns: Sequence[int]) -> tuple[Floats, Floats, Floats, Floats]:
    kept = [one.answers.sum(1) > 0 for one in sets]
    total = sum(one.counts for one in sets)
    pairs = list(zip(sets, kept, strict=True))
    return (
        np.concatenate([one.features[k][:, :, columns] for one, k in pairs]),
        np.concatenate([one.answers[k] for one, k in pairs]),
        np.concatenate([one.there[k] for one, k in pairs]),
        np.concatenate([np.full(k.sum(), one.counts / total / k.sum()) for one, k in pairs]),
    )


def _gradient(
    table: Floats, answers: Floats, there: Floats, share: Floats, weights: Floats
) -> Floats:
    scores = table @ weights
    scores -= np.where(there > 0, scores, -np.inf).max(axis=1, keepdims=True)
    mass = np.exp(scores) * there
    others = mass * (1.0 - answers)
    total = mass + others.sum(axis=1, keepdims=True)
    pull = answers * (mass / total - 1.0)
    push = others * (answers / total).sum(axis=1, keepdims=True)
    each = (pull + push) * (share / answers.sum(axis=1))[:, None]
    return np.tensordot(each, table, 2)


def recall(one: Pools, weights: Floats, columns: Sequence[int], k: int = 5) -> float:
    """Mean share of the gold passages among the first `k` of the pool."""
    scores = np.where(one.there > 0, one.features[:, :, columns] @ weights, -np.inf)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(one.answers, best, 1).sum(axis=1)
    return float(np.minimum(hits / one.wanted, 1.0).mean())


def report(sets: Sequence[Pools]) -> None:
    """Print what each set has by weights of the others, of all, and without each feature."""
    every = list(range(len(NAMES)))
    print("| |", " | ".join(one.name for one in sets), "|")
    print("|---|" + "---|" * len(sets))
    apart = []
    for one in sets:
        others = [other for other in sets if other.family != one.family]
        apart.append(recall(one, learn(others, every), every) if others else float("nan"))
    _print_row("learned on the other sets", apart)
    weights = learn(sets, every)
    _print_row("learned on all", [recall(one, weights, every) for one in sets])
    for left_out, name in enumerate(NAMES):
        columns = [at for at in every if at != left_out]
        without = learn(sets, columns)
        _print_row(f"without `{name}`", [recall(one, without, columns) for one in sets])
    print("weights:", ", ".join(f"{weight:.2f}" for weight in weights))


def _print_row(label: str, values: Sequence[float]) -> None:
    print(f"| {label} |", " | ".join(f"{value:.3f}" for value in values), "|", flush=True)


async def gather(folders: Sequence[Path], keep: Path) -> list[Pools]:
    """The pools of all folders."""
    return [one for folder in folders for one in await pools(folder, keep)]


def main() -> None:
    """Parse the command line, learn, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--keep", type=Path, required=True, help="a folder for the workspaces")
    arguments = parser.parse_args()
    report(asyncio.run(gather(arguments.folders, arguments.keep)))


if __name__ == "__main__":
    main()
