"""Folders of passages and questions in the common form.

`corpus.jsonl` holds {id, title, text}; `queries.jsonl` {id, question, supporting_ids, spans?};
`qrels/test.tsv`, where there is one, query id, corpus id and score, tab separated.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A document to ingest."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question with what answers it.

    Attributes:
        grades: How relevant each passage is; what is left out is not.
        spans: Character ranges of the one supporting passage that answer it.
    """

    id: str
    text: str
    grades: dict[str, int]
    spans: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """A folder in the common form."""

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Asked, ...]
    judged: bool = field(default=False)
    """Whether it has relevance judgements (`qrels/test.tsv`)."""


def read(folder: Path, limit: int | None = None) -> QuestionSet:
    """Read a folder; questions without any gold passage are left out.

    Args:
        folder: In the common form.
        limit: Use only so many questions, the first.
    """
    passages = tuple(
        Passage(id=str(row["id"]), title=row.get("title") or "", text=row.get("text") or "")
        for row in _rows(folder / "corpus.jsonl")
    )
    judgements = _judgements(folder / "qrels" / "test.tsv")
    known = {passage.id for passage in passages}
    questions = [_question(row, judgements, known) for row in _rows(folder / "queries.jsonl")]
    return QuestionSet(
        name=folder.resolve().name,
        passages=passages,
        questions=tuple(one for one in questions if one.grades)[:limit],
        judged=judgements is not None,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def _judgements(path: Path) -> dict[str, dict[str, int]] | None:
    if not path.exists():
        return None
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for line in path.read_text("utf-8").splitlines():
        query, passage, score = line.split("\t")[:3]
        if score.lstrip("-").isdigit() and int(score) > 0:  # the first line names the columns
            found[query][passage] = int(score)
    return dict(found)


def _question(
    row: dict[str, Any], judgements: dict[str, dict[str, int]] | None, known: set[str]
) -> Asked:
    id = str(row["id"])
    grades = {str(one): 1 for one in row.get("supporting_ids") or ()}
    if judgements is not None:
        grades = judgements.get(id, {})
    return Asked(
        id=id,
        text=row["question"],
        grades={one: grade for one, grade in grades.items() if one in known},
        spans=tuple((span["start"], span["end"]) for span in row.get("spans") or ()),
    )
