"""Keys that let programs in: what each may do, and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"  # ask, search, look at documents and at the graph
    WRITE = "write"  # add, replace and delete documents, and edit the graph
    ADMIN = "admin"  # everything, keys and workspaces too


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key, without its secret.

    Attributes:
        id: Names it; it is no secret.
        name: What its maker calls it.
        hash: SHA-256 of its secret (hex). The secret is random, so nothing slower is needed.
        scopes: What it may do; `admin` includes the others.
        workspaces: Where; empty for all of them.
        made_at: Seconds since the epoch.
    """

    id: str
    name: str
    hash: str
    scopes: frozenset[Scope]
    workspaces: frozenset[str] = frozenset()
    made_at: float = 0.0

    def allows(self, scope: Scope, workspace: str | None = None) -> bool:
        """Whether it may be used so; without a workspace, for what belongs to none."""
        if not self.may(scope):
            return False
        # What belongs to no workspace is for those whose key is bound to none.
        return not self.workspaces if workspace is None else self.sees(workspace)

    def may(self, scope: Scope) -> bool:
        """Whether it allows that, wherever it is for."""
        return not self.scopes.isdisjoint({scope, Scope.ADMIN})

    def sees(self, workspace: str) -> bool:
        """Whether it is for a workspace, for whatever it allows there."""
        return not self.workspaces or workspace in self.workspaces
