"""The words of a text, as both stores index them and as a question asks for them.

One function tokenises documents and questions for every store, so that a lexical index holds the
same words wherever it lives. An engine indexes the tokens joined by single spaces. Every token
consists of ASCII letters and digits and of characters beyond ASCII, so a splitter that knows only
ASCII (FTS5's `ascii`) finds exactly these tokens again.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Final

TOKENISER_VERSION: Final = 1
"""Raised whenever the same text would give other tokens: an index made with another is stale."""

_ASCII_WORDS: Final = "".join(c if c.isalnum() else " " for c in map(chr, range(128)))
"""What each character of a folded text becomes, so that its words stand apart: thrice as fast as a
regular expression."""

# Scripts written without spaces between words, and Hangul, whose particles are glued to the word:
# overlapping pairs find a word inside them without a dictionary (Lucene's CJKBigramFilter).
_UNSPACED: Final = (
    "\u0e01-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
    "\u1100-\u11ff\uac00-\ud7af"  # Hangul
)


def _marks() -> str:
    """Every combining mark, as the inside of a character class.

    `\\w` leaves marks out, which would cut a Hindi, Arabic or Thai word at each vowel sign.
    """
    marks = [c for c in map(chr, range(0x20000)) if unicodedata.category(c).startswith("M")]
    ranges: list[list[int]] = []
    for point in map(ord, marks):
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "".join(f"{re.escape(chr(a))}-{re.escape(chr(b))}" for a, b in ranges)


_MARKS: Final = _marks()
_HAS_RUN: Final = re.compile(f"[{_UNSPACED}]")
_WORD: Final = re.compile(rf"[^\W_]+(?:[{_MARKS}]+[^\W_]*)*")
_RUN_OR_WORD: Final = re.compile(
    rf"(?P<run>(?:[{_UNSPACED}][{_MARKS}]*)+)|(?:(?![{_UNSPACED}])[^\W_][{_MARKS}]*)+"
)
_CLUSTER: Final = re.compile(rf".[{_MARKS}]*", re.DOTALL)

# Invisible characters that stand inside words: soft hyphen, joiners, directions, variation.
_INVISIBLE: Final = re.compile("[\u00ad\u034f\u200c-\u200f\u2060\ufeff\ufe00-\ufe0f]+")


def fold(text: str) -> str:
    """Make `text` comparable: NFKC and case folding until nothing changes, without invisible marks.

    Once is not enough: folding can leave a text that is no longer NFKC (`fold(fold(x)) == fold(x)`
    holds for what this returns).
    """
    if text.isascii():
        return text.lower()
    folded = _INVISIBLE.sub("", text)
    while True:
        again = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
        if again == folded:
            return folded
        folded = again


def tokenize(text: str) -> list[str]:
    """Split `text` into the tokens of the lexical index, in order, with repetitions.

    Words after `fold`; in scripts without spaces (Han, Kana, Thai, Lao, Khmer, Burmese) and in
    Hangul, each pair of neighbouring characters instead, a lone character as itself. There is no
    stemming and no list of stop words: what is common is known from the corpus, at query time.

    Returns:
        Tokens without white space, punctuation or underscore; `[]` for a text without words.
    """
    folded = fold(text)
    if folded.isascii():
        return folded.translate(_ASCII_WORDS).split()
    if not _HAS_RUN.search(folded):
        return _WORD.findall(folded)
    found: list[str] = []
    for match in _RUN_OR_WORD.finditer(folded):
        if match.lastgroup == "run":
            found.extend(_pairs(match.group()))
        else:
            found.append(match.group())
    return found


def _pairs(run: str) -> list[str]:
    clusters: list[str] = _CLUSTER.findall(run)
    if len(clusters) == 1:
        return clusters
    return [a + b for a, b in pairwise(clusters)]
