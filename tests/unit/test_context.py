from __future__ import annotations

from rag_engine.core.ids import chunk_id
from rag_engine.core.models import Chunk, Document
from rag_engine.retrieval.context import Budget, RankedChunk, assemble


def ranked(
    text: str,
    score: float,
    *,
    document: str = "d",
    ordinal: int = 0,
    pages: tuple[int, int] | None = None,
    headings: tuple[str, ...] = (),
) -> RankedChunk:
    return RankedChunk(
        chunk=Chunk(
            id=chunk_id(document, 1, ordinal),
            document_id=document,
            version=1,
            ordinal=ordinal,
            text=text,
            start=0,
            end=len(text),
            tokens=len(text.split()),
            pages=pages,
            heading_path=headings,
        ),
        document=Document(
            id=document,
            source=f"{document}.txt",
            root=None,
            title=document.upper(),
            media_type="text/plain",
            metadata={},
            version=1,
            content_hash="",
            parsed_hash="",
            size=1,
            chunks=1,
            created_at=0,
            updated_at=0,
        ),
        score=score,
    )


def test_the_best_comes_first_and_ties_are_stable() -> None:
    found = [ranked("a", 1.0), ranked("b", 2.0, ordinal=1), ranked("c", 1.0, ordinal=2)]
    contexts = {assemble(order).render() for order in (found, found[::-1])}
    assert len(contexts) == 1
    assert contexts.pop().startswith("[1] D\nb\n\n[2] D\n")


def test_a_label_has_pages_and_headings() -> None:
    context = assemble(
        [
            ranked("a", 3, pages=(2, 2), headings=("D", "One", "Two")),
            ranked("b", 2, ordinal=1, pages=(2, 4)),
            ranked("c", 1, ordinal=2),
        ]
    )
    assert [r.label for r in context.references] == ["D, page 2, One › Two", "D, pages 2–4", "D"]


def test_the_budget_holds_and_what_is_left_out_is_counted() -> None:
    found = [ranked("word " * 50, 9 - i, ordinal=i) for i in range(8)]
    found = [
        r for i, r in enumerate(found) for r in [ranked(f"{i} " + "word " * 50, r.score, ordinal=i)]
    ]
    context = assemble(found, budget=Budget(tokens=200))
    assert len(context.passages) == 3
    assert context.tokens <= 200
    assert context.left_out == 5
    assert len(assemble(found, budget=Budget(passages=2)).passages) == 2
    assert len(assemble(found, budget=Budget(per_document=1)).passages) == 1


def test_a_smaller_passage_takes_the_room_a_larger_one_could_not() -> None:
    found = [ranked("a", 3), ranked("word " * 99, 2, ordinal=1), ranked("b", 1, ordinal=2)]
    context = assemble(found, budget=Budget(tokens=40))
    assert [p.text for p in context.passages] == ["a", "b"]
    assert [r.number for r in context.references] == [1, 2]


def test_the_first_passage_is_taken_whatever_its_size() -> None:
    assert len(assemble([ranked("word " * 99, 1)], budget=Budget(tokens=10)).passages) == 1


def test_the_same_text_is_taken_once() -> None:
    context = assemble([ranked("same", 2), ranked("same", 1, document="e")])
    assert [r.document_id for r in context.references] == ["d"]


def test_footnote_marks_are_no_citations() -> None:
    context = assemble([ranked("It is so.[12] See [3, 4] and [sic].", 1)])
    assert context.passages[0].text == "It is so.(12) See (3, 4) and [sic]."


def test_nothing_gives_an_empty_context() -> None:
    context = assemble([])
    assert context.passages == ()
    assert context.render() == ""
