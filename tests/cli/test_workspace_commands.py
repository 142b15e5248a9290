"""`rag-engine workspaces`: made, listed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from command_line import Run


def names(run: Run) -> list[str]:
    return [one["workspace"] for one in run("workspaces", "list", "--json").lines]


def test_one_is_made_and_deleted(run: Run, docs: Path) -> None:
    assert run("workspaces", "create", "empty").code == 0
    assert run("workspaces", "create", "empty").code == 0
    assert run("workspaces", "create", "a b").code == 2
    run("ingest", docs, "--workspace", "mills")
    assert names(run) == ["empty", "mills"]
    asked = run("workspaces", "delete", "mills")  # nobody sits at this terminal
    assert asked.code == 2
    assert "--yes" in asked.err
    assert names(run) == ["empty", "mills"]
    done = run("workspaces", "delete", "mills", "--yes")
    assert (done.code, done.out) == (0, "Workspace 'mills' is deleted, with 3 documents.\n")
    assert names(run) == ["empty"]
    assert run("documents", "list", "--workspace", "mills").code == 2
    assert run("workspaces", "delete", "mills", "--yes").code == 2
