"""`rag-engine graph merge`, `hide`, `add`, `edits` and `undo`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run

pytestmark = pytest.mark.usefixtures("filled")


def test_merges_hides_adds_and_undoes(run: Run) -> None:
    done = run("graph", "merge", "Clara Weiss", "Clara")
    assert "'Clara Weiss' is 'Clara' from now on." in done.out
    assert "also called Clara Weiss" in run("graph", "show", "clara weiss").out
    assert "in force already" in run("graph", "merge", "clara  weiss", "CLARA").out

    hidden = run("graph", "hide", "Anton Berg", "--json").json
    assert hidden["new"] is True
    assert "is hidden" in run("graph", "show", "Anton Berg").error

    added = run(
        *("graph", "add", "Clara Weiss", "--to", "Otto Weiss"),
        *("--as", "mother of", "-d", "He was born in 1925."),
    )
    assert "Added: Clara Weiss – mother of – Otto Weiss: He was born in 1925." in added.out
    assert "mother of" in run("query", "Who is the mother of Otto Weiss?").out
    assert "manual" in run("documents", "list").out

    listed = run("graph", "edits")
    for words in ("merged  Clara Weiss into Clara", "hidden  Anton Berg", "added   Clara Weiss –"):
        assert words in listed.out
    ids = [one["id"] for one in run("graph", "edits", "--json").lines]
    assert hidden["id"] in ids
    assert run("graph", "undo", *ids).code == 0
    assert "Nothing was changed by hand." in run("graph", "edits").out
    assert run("graph", "show", "Anton Berg").code == 0


def test_what_is_mentioned_nowhere_is_merged_with_a_warning(run: Run) -> None:
    done = run("graph", "merge", "Clara Wiess", "Clara Weiss")
    assert done.code == 0
    assert "No passage mentions 'Clara Wiess' yet" in done.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("merge", "Clara Weiss"), "Missing argument"),
        (("merge", "Clara Weiss", "clara weiss"), "no two names"),
        (("hide", " "), "' ' names nothing"),
        (("hide", "Clara Weiss", ""), "'' names nothing"),
        (("merge", "", "Clara Weiss"), "'' names nothing"),
        (("add", "Clara Weiss"), "nothing to add"),
        (("add", "Clara Weiss", "--as", "x"), "--to"),
        (("add", "Clara Weiss", "--to", "x", "--type", "y"), "of its own"),
        (("undo", "zzz"), "graph edits"),
    ],
)
def test_a_mistake_changes_nothing(run: Run, words: tuple[str, ...], error: str) -> None:
    done = run("graph", *words)
    assert done.code == 2
    assert error in done.error
    assert "Nothing was changed by hand." in run("graph", "edits").out


def test_names_that_go_round_in_a_circle_are_refused(run: Run) -> None:
    assert run("graph", "merge", "Clara Weiss", "Clara").code == 0
    assert "would stand for itself" in run("graph", "merge", "Clara", "Clara Weiss").error
    assert "Undo that first" in run("graph", "merge", "Clara Weiss", "Anton Berg").error


def test_a_fact_whose_original_is_gone_is_listed_and_undone(run: Run, data: Path) -> None:
    kept = run("graph", "add", "Clara Weiss", "--type", "person", "--json").json["id"]
    before = {*(data / "blobs").glob("??/*")}
    lost = run("graph", "add", "Otto Weiss", "--type", "baker", "--json").json["id"]
    for path in {*(data / "blobs").glob("??/*")} - before:
        path.unlink()
    listed = run("graph", "edits")
    assert listed.code == 0
    assert "added   Clara Weiss (person)" in listed.out
    assert "added   (its original is gone)" in listed.out
    lines = {one["id"]: one for one in run("graph", "edits", "--json").lines}
    assert set(lines) == {kept, lost}
    assert lines[lost]["lost"] is True
    assert run("graph", "undo", lost).code == 0
    assert lost not in run("graph", "edits").out
