"""Where sentences begin and end, by rules, in scripts of any kind.

Rules rather than a model: the same text must give the same sentences on every machine, and a
megabyte must take a fraction of a second.
"""

from __future__ import annotations

import re
from typing import Final

# Full stops that end a sentence without a space after them: Han, Kana, Devanagari, Ethiopic, Khmer,
# Burmese, Arabic question mark and Urdu full stop. The halfwidth and fullwidth forms are included.
_ALWAYS: Final = "。！？｡．؟۔।॥።፧។၊။‼⁇⁈⁉"
_CLOSING: Final = "\"'”’»›)\\]}」』）》】〉〕＂＇"
_END: Final = re.compile(
    rf"(?P<always>[{_ALWAYS}]+[{_CLOSING}]*)"
    rf"|(?<![.!?…])(?P<stop>[.!?…]++)[{_CLOSING}]*+(?:[\[(]\d{{1,3}}[\])])*+(?=\s)"  # footnote marks follow it
    r"|(?P<gap>\n[^\S\n]*\n\s*)"
    r"|(?P<item>\n)(?=[^\S\n]*(?:[-*•‣◦▪–—]|\d{1,3}[.)]|[a-z][.)])[^\S\n])"
)
_LAST_WORD: Final = re.compile(r"(?:[^\W_]|[.’'-])+$")

_ABBREVIATIONS: Final = frozenset(
    # English
    "mr mrs ms dr prof sr jr st mt vs etc e.g i.e cf al no nos vol fig figs eq eqs sec ch pp p ed eds"
    " inc ltd co corp dept univ gen col lt sgt capt cmdr adm gov sen rep rev hon pres approx est ca"
    " jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun ave blvd rd u.s"
    " u.k u.n u.s.a ph.d m.d b.a m.a a.m p.m d.c"
    # German
    " z.b bzw d.h usw nr str ggf u.a o.ä vgl bspw evtl inkl zzgl abs art hr fr dipl ing tel ff bd"
    # French, Spanish, Italian, Portuguese
    " mme mlle mm av env ex sra srta ud uds ee.uu pág núm sig dott ing avv prof.ssa"
    # Russian
    " г гг т.е т.д т.п др стр рис см ул им проф".split()
)
_MONTHS: Final = frozenset(
    "januar jänner februar märz april mai juni juli august september oktober november dezember"
    " jahrhundert".split()
)
_NEXT_WORD: Final = re.compile(r"[^\W\d_]+")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of `text`, in order.

    A blank line and the beginning of a list item end a sentence as well; a single line end does
    not.

    Returns:
        `(start, end)` in characters, without white space at either end; together they hold every
        character that is not white space.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        if match.lastgroup == "stop" and not _ends_sentence(text, start, match):
            continue
        _append(spans, text, start, match.end())
        start = match.end()
    _append(spans, text, start, len(text))
    return spans


def _append(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        start += len(piece) - len(piece.lstrip())
        spans.append((start, start + len(stripped)))


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    following = text[match.end() : match.end() + 40].lstrip()
    if following[:1].islower():
        return False
    if match.group("stop") != ".":
        return True
    found = _LAST_WORD.search(text, max(start, match.start() - 20), match.start())
    word = found.group() if found else ""
    if word.isdigit():
        return not _is_ordinal(word, following, alone=not text[start : match.start()].strip(word))
    if len(word) == 1 and word.isalpha():
        return False  # an initial, or part of an abbreviation such as "z. B."
    return word.lower() not in _ABBREVIATIONS


def _is_ordinal(number: str, following: str, *, alone: bool) -> bool:
    # "1. Introduction" and the German "3. Oktober", but not "It began in 1990. The …".
    if len(number) > 2:
        return False
    next_word = _NEXT_WORD.match(following)
    return alone or (next_word is not None and next_word.group().lower() in _MONTHS)
