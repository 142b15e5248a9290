from __future__ import annotations

from rag_engine.retrieval.context import Budget, assemble
from rag_engine.testing.passages import ranked


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
    found = [ranked(f"{i} " + "word " * 50, 9 - i, ordinal=i) for i in range(8)]
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
