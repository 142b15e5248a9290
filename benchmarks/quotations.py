"""Are quoted answers worth reading? `python benchmarks/quotations.py DIR... [--questions N]`.

Each DIR holds `corpus.jsonl` and `queries.jsonl` with `answers`, `supporting_ids` and
`candidate_ids` (see the data's README). A question gets the passages that answer it among eight
others, ranked by their vectors alone. Printed: in how many quotations an answer stands word for
word, how many of them quote all the supporting passages, and their length; and the same for the
first sentences of the best five passages. Questions with yes or no for an answer are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag_engine.adapters.models.onnx import OnnxEmbedder
from rag_engine.core.sentences import sentence_spans
from rag_engine.core.tokens import tokenize
from rag_engine.retrieval.context import Context, assemble
from rag_engine.retrieval.extractive import best_sentences
from rag_engine.testing.passages import ranked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DISTRACTORS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question with its passages: `(id, title, text)`."""

    question: str
    answers: Sequence[str]
    supporting: frozenset[str]
    passages: Sequence[tuple[str, str, str]]


def cases(folder: Path, count: int) -> Iterator[Case]:
    """The first `count` questions of a folder that have something else than yes or no to answer."""
    corpus = {row["id"]: row for row in _rows(folder / "corpus.jsonl")}
    for row in _rows(folder / "queries.jsonl")[:count]:
        if {answer.casefold() for answer in row["answers"]} & {"yes", "no"}:
            continue
        others = [id for id in row["candidate_ids"] if id not in row["supporting_ids"]]
        ids = [*row["supporting_ids"], *others[:DISTRACTORS]]
        yield Case(
            question=row["question"],
            answers=row["answers"],
            supporting=frozenset(row["supporting_ids"]),
            passages=[(id, corpus[id]["title"], corpus[id]["text"]) for id in ids],
        )


async def context_of(case: Case, embedder: OnnxEmbedder) -> Context:
    """The passages ranked by the cosine of their beginning with the question."""
    [asked] = await embedder.embed([case.question], "query")
    texts = [f"{title}\n{text}"[: embedder.max_tokens * 2] for _, title, text in case.passages]
    scores = await embedder.embed(texts, "document") @ asked
    return assemble(
        [
            ranked(text, float(score), document=id, title=title)
            for (id, title, text), score in zip(case.passages, scores, strict=True)
        ]
    )


async def measure(folder: Path, count: int, embedder: OnnxEmbedder) -> list[dict[str, Any]]:
    """One row for the quotations of a folder, one for the first sentences."""
    quoted: list[tuple[bool, bool, int]] = []
    opening: list[tuple[bool, bool, int]] = []
    for case in cases(folder, count):
        context = await context_of(case, embedder)
        quotation = await best_sentences(case.question, context, embedder)
        text = "".join(quotation.paragraphs)
        numbers = {int(number) for number in re.findall(r"\[(\d+)\]", text)}
        cited = {r.document_id for r in context.references if r.number in numbers}
        quoted.append((_answers(case, text), case.supporting <= cited, len(text)))
        best = context.passages[:5]
        first = " ".join(p.text[slice(*sentence_spans(p.text)[0])] for p in best)
        covered = case.supporting <= {p.reference.document_id for p in best}
        opening.append((_answers(case, first), covered, len(first)))
    return [
        {"set": folder.name, "answer": name, "questions": len(rows)}
        | dict(zip(("has_answer", "all_support", "characters"), np.mean(rows, axis=0), strict=True))
        for name, rows in (("quotation", quoted), ("first sentences of the best five", opening))
    ]


def _answers(case: Case, text: str) -> bool:
    words = f" {' '.join(tokenize(text))} "
    return any(f" {' '.join(tokenize(answer))} " in words for answer in case.answers)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


async def run(folders: Sequence[Path], count: int) -> None:
    """Measure and print."""
    embedder = await asyncio.to_thread(OnnxEmbedder.bundled)
    for folder in folders:
        for row in await measure(folder, count, embedder):
            print(
                f"{row['set']:22} {row['answer']:34} {row['questions']:4} questions  "
                f"answer in {row['has_answer']:.2f}  all support in {row['all_support']:.2f}  "
                f"{row['characters']:.0f} characters"
            )
    embedder.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--questions", type=int, default=100)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.folders, arguments.questions))
