"""Retrieval quality from raw text: `python benchmarks/quality.py DIR... [--modes …] --json FILE`.

Each DIR is a folder in the common form (`question_sets.py`). Its passages are ingested as documents
into a fresh workspace by the real engine, then every question is asked in every mode. A passage
that became several chunks ranks by its best one. Sets whose questions name character spans are
measured by the tokens of the five best chunks instead.

Every mode is compared with `fusion`, the yardstick, question by question: the bounds are those of
the mean difference in recall@5 (nDCG@10 where there are judgements, token recall where there are
spans) at 95 %, by a paired bootstrap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine
from metrics import bootstrap, ndcg, recall, token_overlap
from question_sets import Asked, QuestionSet, read

from rag_engine import Budget, Engine, Question, build, load_settings
from rag_engine.core.models import ParsedDocument
from rag_engine.retrieval.context import Reference
from rag_engine.retrieval.plan import MODES

YARDSTICK = "fusion"
DEPTH = 60
"""Chunks asked for: enough for ten passages when some have several among the best."""
SPAN_CHUNKS = 5
_ALL = Budget(tokens=1_000_000, passages=DEPTH, per_document=DEPTH)
_KEYS = ("recall@2", "recall@5", "recall@10", "ndcg@10", "token_recall", "iou")

Row = dict[str, Any]


class PlainText:
    """A parser that takes bytes for text, so that spans in the questions count its characters."""

    fingerprint = "plain"

    async def parse(self, path: Path, name: str) -> ParsedDocument:
        """See `Parser`."""
        text = await asyncio.to_thread(path.read_bytes)
        return ParsedDocument(text=text.decode("utf-8"), media_type="text/plain")


async def ingest(engine: Engine, questions: QuestionSet) -> float:
    """Ingest all passages; return the seconds it took."""
    began = time.perf_counter()
    for passage in questions.passages:
        if passage.text.strip():
            await engine.submit(
                passage.text.encode(),
                document_id=passage.id,
                source=passage.id,
                title=passage.title or None,
            )
    await engine.work()
    return time.perf_counter() - began


async def ask(engine: Engine, question: Asked, mode: str) -> tuple[list[Reference], float]:
    """The references found for a question, best first, and the milliseconds it took."""
    began = time.perf_counter()
    found = await engine.search(Question(text=question.text, mode=mode, budget=_ALL))
    return list(found.context.references), 1000.0 * (time.perf_counter() - began)


def scores(
    question: Asked, references: Sequence[Reference], texts: dict[str, str], judged: bool
) -> dict[str, float]:
    """What one ranking is worth, by measure."""
    if question.spans:
        return _span_scores(question, references[:SPAN_CHUNKS], texts)
    ranking = list(dict.fromkeys(one.document_id for one in references))
    gold = list(question.grades)
    found = {f"recall@{k}": recall(ranking, gold, k) for k in (2, 5, 10)}
    if judged:
        found["ndcg@10"] = ndcg(ranking, question.grades)
    return found


def _span_scores(
    question: Asked, references: Sequence[Reference], texts: dict[str, str]
) -> dict[str, float]:
    both = either = gold = 0
    wanted = next(iter(question.grades))
    for id in {wanted, *(one.document_id for one in references)}:
        found = [(one.start, one.end) for one in references if one.document_id == id]
        spans = question.spans if id == wanted else ()
        _, of_gold, of_both, of_either = token_overlap(texts[id], found, spans)
        both, either, gold = both + of_both, either + of_either, gold + of_gold
    return {"token_recall": both / gold, "iou": both / either}


async def measure(folder: Path, modes: Sequence[str], data: Path, limit: int | None) -> list[Row]:
    """Ingest one set into `data` and ask it in every mode; one row a mode."""
    questions = await asyncio.to_thread(read, folder, limit)
    texts = {passage.id: passage.text for passage in questions.passages}
    built = await asyncio.to_thread(build, load_settings(data_dir=data))
    engine = replace(built, pipeline=replace(built.pipeline, parser=PlainText()))
    try:
        seconds = await ingest(engine, questions)
        await ask(engine, questions.questions[0], YARDSTICK)  # what is loaded on first use
        results: dict[str, list[dict[str, float]]] = {}
        spent: dict[str, float] = {}
        for mode in modes:
            results[mode], times = [], []
            for question in questions.questions:
                references, milliseconds = await ask(engine, question, mode)
                results[mode].append(scores(question, references, texts, questions.judged))
                times.append(milliseconds)
            spent[mode] = _mean(times)
    finally:
        await engine.aclose()
    size = await asyncio.to_thread(_megabytes, data)
    return [
        {
            "set": questions.name,
            "mode": mode,
            **{key: _mean(one[key] for one in each) for key in _KEYS if key in each[0]},
            "ms_per_query": spent[mode],
            "index_s": seconds,
            "index_mb": size,
            "questions": len(each),
            **_gain(each, results.get(YARDSTICK)),
        }
        for mode, each in results.items()
    ]


def _gain(each: Sequence[dict[str, float]], yardstick: Sequence[dict[str, float]] | None) -> Row:
    if yardstick is None or each is yardstick:
        return {}
    key = next(key for key in ("ndcg@10", "token_recall", "recall@5") if key in each[0])
    differences = [one[key] - other[key] for one, other in zip(each, yardstick, strict=True)]
    low, high = bootstrap(differences)
    return {"gain_in": key, "gain": _mean(differences), "gain_low": low, "gain_high": high}


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _megabytes(data: Path) -> float:
    """Size of the databases: the originals beside them are no index."""
    return sum(file.stat().st_size for file in data.rglob("*.sqlite*")) / 1e6


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = ("set", "mode", *_KEYS, "gain over fusion", "ms", "index s", "MB")
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        gain = ""
        if "gain" in row:
            gain = f"{row['gain']:+.3f} ({row['gain_low']:+.3f} to {row['gain_high']:+.3f})"
        cells = [
            row["set"],
            row["mode"],
            *(f"{row[key]:.3f}" if key in row else "" for key in _KEYS),
            gain,
            f"{row['ms_per_query']:.1f}",
            f"{row['index_s']:.1f}",
            f"{row['index_mb']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of each set's main measure by mode; nothing happens where matplotlib is missing."""
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        print("No plot: matplotlib is not installed (pip install matplotlib).")
        return
    sets, modes = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "mode"))
    figure, axes = plt.subplots(figsize=(1.5 + 1.6 * len(sets), 4))
    for number, mode in enumerate(modes):
        heights = {
            row["set"]: next(row[k] for k in ("ndcg@10", "token_recall", "recall@5") if k in row)
            for row in rows
            if row["mode"] == mode
        }
        places = [
            at + (number - (len(modes) - 1) / 2) * 0.8 / len(modes) for at in range(len(sets))
        ]
        axes.bar(places, [heights.get(s, 0.0) for s in sets], width=0.76 / len(modes), label=mode)
    axes.set_xticks(range(len(sets)), sets, rotation=20, ha="right")
    axes.set_ylabel("nDCG@10, token recall, or recall@5")
    axes.set_ylim(0.0, 1.0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


async def run(
    folders: Sequence[Path], modes: Sequence[str], limit: int | None, keep: Path | None
) -> list[Row]:
    """All rows, each set's as soon as it is done."""
    rows: list[Row] = []
    for folder in folders:
        with tempfile.TemporaryDirectory() as temporary:
            data = keep / folder.resolve().name if keep else Path(temporary)
            found = await measure(folder, modes, data, limit)
        print(table(found) if not rows else "\n".join(table(found).splitlines()[2:]), flush=True)
        rows += found
    return rows


def main() -> None:
    """Parse the command line, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--modes", default=",".join(MODES), help="comma separated")
    parser.add_argument("--json", type=Path, help="write rows, machine and versions, and a plot")
    parser.add_argument("--limit", type=int, help="ask only so many questions of each set")
    parser.add_argument("--keep", type=Path, help="a folder for the workspaces, to use them again")
    arguments = parser.parse_args()
    modes = [mode.strip() for mode in arguments.modes.split(",") if mode.strip()]
    rows = asyncio.run(run(arguments.folders, modes, arguments.limit, arguments.keep))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
        plot(rows, arguments.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
