"""Names in scripts that have capital letters: Latin, Cyrillic, Greek, Armenian.

A name is a run of capitalised words, with small words like *of* and *von* inside it. A run joined
by *and* gives its parts, and the whole when it is short (*Beauty and the Beast*). Where all nouns
are capitalised (German), a run also gives its endings: *Komponist Johannes Brahms* is mentioned as
*Johannes Brahms* elsewhere.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from rag_engine.adapters.models.phrases.words import (
    BETWEEN,
    DATES,
    FUNCTION_WORDS,
    GERMAN,
    INSIDE,
    TITLES_OF_PEOPLE,
)

LONGEST: Final = 8
"""Words in a name at most: a longer run is a headline in capitals."""

_TOKEN: Final = re.compile(
    r"[’'][sS]\b"  # a possessive ends a name
    r"|[^\W_]+(?:[’'](?!s\b)[^\W_]+|[-.&][^\W_]+)*"
    r"|[.!?;:,()\[\]\"“”«»„\n—–/|*_#•]|&"
)
_BREAKS: Final = frozenset('.!?;:,()[]"“”«»„\n—–/|*_#•') | {"'s", "’s", "'S", "’S"}
_OPENS: Final = frozenset('.!?\n*#•:“„"')
_LOWER_WORD: Final = re.compile(r"[^\W\d_]+")


class Found(NamedTuple):
    """A phrase and where it stands: `text[start:end]` is where it was written."""

    start: int
    end: int
    name: str


class _Run(NamedTuple):
    parts: list[tuple[int, int]]  # spans of tokens, the parts that *and* joins
    opening: bool  # it begins a sentence, where a capital says little
    end: int  # first token after it


def names(text: str, subject: str = "") -> list[Found]:
    """The names in `text` in order of appearance, repeated as often as they are written.

    A single word that is the last of a longer name, or of the name of the `subject`, is that name
    again (*Einstein*, *Albert Einstein*) and left out.
    """
    matches = list(_TOKEN.finditer(text))
    tokens = [match.group() for match in matches]
    lower = {word for word in _LOWER_WORD.findall(text) if word.islower()}
    endings = is_german(lower)
    found: list[Found] = []
    surnames = set() if endings else _surnames(subject.split())
    for run in _runs(tokens):
        for start, end in _phrases(tokens, run, lower, endings):
            name = " ".join(tokens[start:end]).replace(" .", ".").strip(" .")
            if len(name) > 1:
                found.append(Found(matches[start].start(), matches[end - 1].end(), name))
            if not endings and end - start < 5:
                surnames |= _surnames(tokens[start:end])
    return [one for one in found if one.name.casefold() not in surnames]


def _surnames(words: list[str]) -> set[str]:
    if len(words) < 2 or any(word.casefold() in BETWEEN for word in words):
        return set()
    return {words[-1].casefold()}


def is_german(words: set[str]) -> bool:
    """Whether a text with these lower-case words capitalises its nouns."""
    german = len(words & GERMAN)
    return german >= 3 and german > len(words & (FUNCTION_WORDS - GERMAN))


def _runs(tokens: list[str]) -> list[_Run]:
    runs: list[_Run] = []
    at, opening = 0, True
    while at < len(tokens):
        token = tokens[at]
        if token in _BREAKS:
            opening = opening or (token in _OPENS and not _abbreviates(tokens, at))
            at += 1
        elif not _capitalised(token):
            at, opening = at + 1, False
        else:
            run = _run(tokens, at, opening)
            runs.append(run)
            at, opening = run.end, False
    return runs


def _run(tokens: list[str], start: int, opening: bool) -> _Run:
    parts, at = [(start, start + 1)], start + 1
    while at < len(tokens):
        first = parts[-1][0]
        if _capitalised(tokens[at]) or tokens[at].isdigit():
            parts[-1], at = (first, at + 1), at + 1
            continue
        if tokens[at] == "." and _abbreviates(tokens, at) and _is_capitalised(tokens, at + 1):
            parts[-1], at = (first, at + 1), at + 1
            continue
        after = at
        while after < len(tokens) and after - at < 3 and tokens[after].casefold() in _SMALL:
            after += 1
        if after == at or not _is_capitalised(tokens, after):
            break
        if any(token.casefold() in BETWEEN for token in tokens[at:after]):
            parts.append((after, after + 1))
        elif tokens[at].casefold() != "the":
            parts[-1] = (first, after + 1)
        else:
            break
        at = after + 1
    return _Run(parts, opening, at)


_SMALL: Final = INSIDE | BETWEEN


def _phrases(tokens: list[str], run: _Run, lower: set[str], endings: bool) -> list[tuple[int, int]]:
    spans = [_trimmed(tokens, start, end) for start, end in run.parts]
    if len(spans) == 2 and all(0 < end - start <= 2 for start, end in spans):
        spans.append((spans[0][0], spans[1][1]))
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        if not 0 < end - start <= LONGEST or _is_date(tokens[start:end]):
            continue
        alone = end - start == 1 and run.opening and start == run.parts[0][0]
        if alone and tokens[start].casefold() in lower:
            continue
        kept.append((start, end))
        if endings:
            kept.extend((later, end) for later in range(start + 1, end) if end - later < 4)
    return kept


def _trimmed(tokens: list[str], start: int, end: int) -> tuple[int, int]:
    """Without small words at either end, which the first capital of a sentence lets in."""
    while start < end and _begins_no_name(tokens, start):
        start += 1
    while end > start and tokens[end - 1] == ".":
        end -= 1
    return start, end


def _begins_no_name(tokens: list[str], at: int) -> bool:
    """A function word, a number, or a month before one: *In May 2004 Beauty and the Beast*."""
    word = tokens[at].casefold()
    if word in FUNCTION_WORDS or word == "." or word.isdigit():
        return True
    return word in DATES and at + 1 < len(tokens) and tokens[at + 1].isdigit()


def _is_date(words: list[str]) -> bool:
    return all(word.isdigit() or word.casefold() in DATES for word in words)


def _capitalised(token: str) -> bool:
    return token[0].isupper() or (token[0].isdigit() and any(c.isupper() for c in token))


def _is_capitalised(tokens: list[str], at: int) -> bool:
    return at < len(tokens) and tokens[at] not in _BREAKS and _capitalised(tokens[at])


def _abbreviates(tokens: list[str], at: int) -> bool:
    """Whether the full stop at `at` belongs to the word before it: an initial, a title."""
    if tokens[at] != "." or not at:
        return False
    before = tokens[at - 1]
    return (len(before) == 1 and before.isupper()) or before.casefold() in TITLES_OF_PEOPLE
