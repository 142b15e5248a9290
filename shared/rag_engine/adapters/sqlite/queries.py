"""The statements of `queries.sql` by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def read(text: str) -> Mapping[str, str]:
    """Statements by the name in the comment line above each."""
    parts = _NAME.split(text)
    return MappingProxyType(
        {
            name: body.strip().rstrip(";")
            for name, body in zip(parts[1::2], parts[2::2], strict=True)
        }
    )


SQL: Final = read(files(__package__).joinpath("queries.sql").read_text("utf-8"))
