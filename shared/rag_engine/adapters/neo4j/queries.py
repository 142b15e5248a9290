"""The statements of `queries.cypher` by name, and the labels of a workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^// name: (\w+)$", re.MULTILINE)


def read(text: str) -> Mapping[str, str]:
    """Statements by the name in the comment line above each."""
    parts = _NAME.split(text)
    return MappingProxyType(
        {
            name: body.strip().rstrip(";")
            for name, body in zip(parts[1::2], parts[2::2], strict=True)
        }
    )


_PASSING: Final = re.compile(r":(?:StagedName|Job|Marked_w0)\b")
"""Labels of what comes and goes with every write. The server would take how many there are for a
reason to plan what asks for them anew, every ten seconds and for up to a second each."""

_PLANNED_ONCE: Final = "CYPHER replan=skip\n"
"""Statements about these have one index each to choose, so no plan gets better by being made again.
Others do have a choice, and what is best for them in an empty database may not be later."""


def _planned(text: str) -> str:
    return f"{_PLANNED_ONCE}{text}" if _PASSING.search(text) else text


CYPHER: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: _planned(text)
        for name, text in read(
            files(__package__).joinpath("queries.cypher").read_text("utf-8")
        ).items()
    }
)


def for_workspace(name: str, number: int) -> str:
    """A statement with a workspace's label in place of `W0`, and its indexes in place of `…_w0`.

    The only place where names in statements are made: Neo4j 5.15 takes no parameters for labels.

    Args:
        name: Of the statement.
        number: Of the workspace, which is ours and not its name.
    """
    text = re.sub(r"\bW0\b", f"W{number:d}", CYPHER[name])
    return re.sub(r"_w0\b", f"_w{number:d}", text)
