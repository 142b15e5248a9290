"""`rag-engine keys`: made, shown once, listed, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from command_line import Run


def test_a_key_is_made_listed_and_revoked(run: Run) -> None:
    assert "keys create" in run("keys", "list").out
    made = run("keys", "create", "Scanner", "--scope", "write", "--only-in", "invoices", "--json")
    assert made.code == 0
    key = made.json
    assert (key["scopes"], key["workspaces"]) == (["write"], ["invoices"])
    listed = run("keys", "list")
    assert listed.out.splitlines() == [f"{key['id']}  Scanner: write in invoices"]
    assert key["token"] not in run("keys", "list", "--json").out
    assert run("keys", "revoke", key["id"]).code == 0
    assert run("keys", "list", "--json").json == {"keys": []}
    again = run("keys", "revoke", key["id"])
    assert again.code == 2
    assert "keys list" in again.error


def test_the_token_is_all_that_stdout_gets(run: Run) -> None:
    made = run("keys", "create", "Reader")
    assert made.out.startswith("rag-")
    assert len(made.out.splitlines()) == 1
    assert "Reader: read everywhere" in made.err


@pytest.mark.parametrize(
    "words", [(" ",), ("a", "--scope", "all"), ("a", "--scope", "admin", "--only-in", "one")]
)
def test_a_key_that_makes_no_sense_is_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    assert run("keys", "create", *words).code == 2
    assert run("keys", "list", "--json").json == {"keys": []}
