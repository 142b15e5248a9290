"""English words and names by number, so that generated text has as many tokens as people's has."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Final

_FIRST: Final = 2_000
"""So many words make first names. The most common ones are no names, and last names follow."""


@cache
def _vocabulary() -> list[str]:
    """Whole words of the bundled model's tokeniser, the most common ones first."""
    tokenizer = files("rag_engine.adapters.models").joinpath("minilm", "tokenizer.json")
    pieces: dict[str, int] = json.loads(tokenizer.read_text("utf-8"))["model"]["vocab"]
    known = sorted(pieces, key=pieces.__getitem__)
    return [piece for piece in known if len(piece) > 2 and piece.isascii() and piece.isalpha()]


def word(number: int) -> str:
    """A word; those beyond the vocabulary are made of two, as rare ones have more tokens."""
    words = _vocabulary()
    more, one = divmod(number, len(words))
    return words[one] + (words[more] if more else "")


def name(number: int) -> str:
    """A name of two words; distinct ones for distinct numbers."""
    words = _vocabulary()
    last, first = divmod(number, _FIRST)
    return f"{words[_FIRST + first]} {words[2 * _FIRST + last]}".title()
