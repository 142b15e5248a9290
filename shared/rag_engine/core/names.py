"""What makes two names the same entity.

An entity's key is its name after NFKC, case folding and collapsing of white space; its type is no
part of it. The key is a pure function of the name, so that evidence merges the same way on every
store, in any order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from rag_engine.core.tokens import fold

NORMALISER_VERSION: Final = 1
"""Raised whenever some name would get another key: a store keeps the version its keys were made by."""


@lru_cache(maxsize=1 << 13)  # the same names come again and again
def entity_key(name: str) -> str:
    """Return the key of the entity that `name` names.

    Idempotent: the key of a key is that key. `""` for a name of white space and invisible characters alone.
    """
    return " ".join(fold(name).split())
