"""Which scripts a text is written in, told by the code points of its letters."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from typing import Final

# The Unicode blocks of each script, as (first, last) code points. Only letters are ever looked up,
# so that signs and digits inside a block do no harm.
_BLOCKS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "Latin": (
        (0x0041, 0x007A),
        (0x00AA, 0x02AF),
        (0x1D00, 0x1D25),
        (0x1D2C, 0x1D5C),
        (0x1D62, 0x1D65),
        (0x1D6B, 0x1D77),
        (0x1D79, 0x1DBE),
        (0x1E00, 0x1EFF),
        (0x2071, 0x209C),
        (0x212A, 0x212B),
        (0x2183, 0x2184),
        (0x2C60, 0x2C7F),
        (0xA722, 0xA7FF),
        (0xAB30, 0xAB64),
        (0xAB66, 0xAB68),
        (0xFB00, 0xFB06),
        (0xFF21, 0xFF5A),
    ),
    "Greek": (
        (0x0370, 0x03FF),
        (0x1D26, 0x1D2A),
        (0x1D5D, 0x1D61),
        (0x1D66, 0x1D6A),
        (0x1DBF, 0x1DBF),
        (0x1F00, 0x1FFF),
        (0xAB65, 0xAB65),
    ),
    "Cyrillic": (
        (0x0400, 0x052F),
        (0x1C80, 0x1C8F),
        (0x1D2B, 0x1D2B),
        (0x1D78, 0x1D78),
        (0x2DE0, 0x2DFF),
        (0xA640, 0xA69F),
    ),
    "Hebrew": ((0x0590, 0x05FF), (0xFB1D, 0xFB4F)),
    "Arabic": (
        (0x0600, 0x06FF),
        (0x0750, 0x077F),
        (0x0870, 0x08FF),
        (0xFB50, 0xFDFF),
        (0xFE70, 0xFEFC),
    ),
    "Devanagari": ((0x0900, 0x097F), (0xA8E0, 0xA8FF)),
    "Thai": ((0x0E00, 0x0E7F),),
    "Hangul": (
        (0x1100, 0x11FF),
        (0x3130, 0x318F),
        (0xA960, 0xA97F),
        (0xAC00, 0xD7FF),
        (0xFFA0, 0xFFDC),
    ),
    "Kana": ((0x3031, 0x3035), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "Han": (
        (0x3005, 0x3007),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0x20000, 0x3FFFF),
    ),
}

SCRIPTS: Final = (*_BLOCKS, "Other")
"""The names that `scripts` uses."""

_RANGES: Final = sorted(
    (first, last, script) for script, blocks in _BLOCKS.items() for first, last in blocks
)
_STARTS: Final = [first for first, _, _ in _RANGES]


def scripts(text: str) -> dict[str, int]:
    """Count the letters of each script in `text`; scripts without a letter are left out.

    Returns:
        Numbers of letters by the names in `SCRIPTS`, the largest first, then by name.
    """
    counts: dict[str, int] = {}
    for character, count in Counter(text).items():  # a long text has few distinct characters
        if character.isalpha():
            script = _script(ord(character))
            counts[script] = counts.get(script, 0) + count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _script(point: int) -> str:
    at = bisect_right(_STARTS, point) - 1
    if at >= 0 and point <= _RANGES[at][1]:
        return _RANGES[at][2]
    return "Other"


MULTILINGUAL: Final = "intfloat/multilingual-e5-small"
"""A model that knows some hundred languages, for those who need one."""

_SAMPLE: Final = 20_000  # characters; a book's first pages tell its script


def unknown_script(text: str, known: frozenset[str] | None) -> str | None:
    """The script most of a text is in, when a model was not trained on it.

    Args:
        text: Any; only its beginning is looked at.
        known: Scripts the model knows; `None` for all.
    """
    main = next(iter(scripts(text[:_SAMPLE])), None)
    return main if known is not None and main is not None and main not in known else None
