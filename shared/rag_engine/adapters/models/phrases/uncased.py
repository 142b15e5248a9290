"""Key phrases where letters do not tell names from words.

- Scripts with spaces but no capitals (Arabic, Hebrew, Devanagari, Hangul …) and text in lower case:
  runs of words between function words and punctuation, after Rose et al., *Automatic Keyword
  Extraction from Individual Documents* (RAKE, 2010).
- Han: what stands in title marks or quotes, what is written twice, and short stretches between
  function characters. Japanese: runs of Kanji and Katakana, which Hiragana keeps apart.
- Thai, Lao, Khmer, Burmese: what stands between spaces.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from rag_engine.adapters.models.phrases.cased import Found
from rag_engine.adapters.models.phrases.words import FUNCTION_WORDS

_HAN: Final = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
_KATAKANA: Final = "\u30a1-\u30fa\u30fc"
_HIRAGANA: Final = re.compile("[\u3041-\u3096]")
_SPACELESS: Final = "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff"

_HAN_RUN: Final = re.compile(f"[{_HAN}]+")
_JAPANESE: Final = re.compile(f"[{_HAN}{_KATAKANA}]{{2,12}}")
_QUOTED: Final = re.compile(r"[《〈「『“]([^《》〈〉「」『』“”]{2,20})[》〉」』”]")
_SEGMENT: Final = re.compile(f"[{_SPACELESS}]{{3,24}}")
# Function characters that seldom stand inside a Chinese name, and verbs that often follow one.
_HAN_BREAK: Final = re.compile(
    "[的了在是和与及或等于为以由从到对把被这那其之也而但并将就都又很不有个们我你他她它所则若因该此"
    "至向往曾已即既于上下中内外后前时]|位于|成为|称为|建立|包括|以及|因为|所以|可以|其中|最大|最长|主要"
    "|发源|流经|注入|出生|生于|毕业|担任|创立|创办|作者|著名|首都|一座|一条|一位|一种|一部|写下|发现|发明"
)
_WORD: Final = re.compile(
    r"[^\W\d_](?:[^\W_]|[’'\-\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0903\u093a-\u094f])*"
)
_GAP: Final = re.compile(r"\s*")

MOST_HAN: Final = 8
"""Characters of a Chinese stretch at most: a longer one is a clause."""

_PARTICLES: Final = re.compile(
    "(?<=[\uac00-\ud7a3]{2})(?:에서|으로|에게|까지|부터|은|는|이|가|을|를|의|에|와|과|도|로)$"
)


def han(text: str) -> list[Found]:
    """Phrases in Chinese and Japanese, in order of appearance."""
    found = [Found(m.start(1), m.end(1), m.group(1)) for m in _QUOTED.finditer(text)]
    if _HIRAGANA.search(text):
        found += [Found(m.start(), m.end(), m.group()) for m in _JAPANESE.finditer(text)]
    else:
        repeated = _repeated(text)
        for run in _HAN_RUN.finditer(text):
            found += _stretches(run.group(), run.start(), repeated)
    return sorted(found)


def spaceless(text: str) -> list[Found]:
    """Stretches of Thai, Lao, Khmer and Burmese between spaces, in order of appearance."""
    return [Found(m.start(), m.end(), m.group()) for m in _SEGMENT.finditer(text)]


def key_phrases(text: str, *, most: int, words: range) -> list[Found]:
    """Runs of words between function words and punctuation: the `most` most frequent, then first.

    Args:
        text: Any text with spaces between words.
        most: How many different phrases.
        words: How many words a phrase may have; of a longer run each such stretch counts.
    """
    phrases: dict[str, Found] = {}
    counts = Counter[str]()
    for run in _content_runs(text):
        for size in words:
            if size > len(run) or len(run) > words[-1] > size:
                continue
            for at in range(len(run) - size + 1):
                stretch = run[at : at + size]
                name = _PARTICLES.sub("", " ".join(word for _, _, word in stretch))
                counts[name] += 1
                phrases.setdefault(name, Found(stretch[0][0], stretch[-1][1], name))
    chosen = sorted(phrases.values(), key=lambda one: (-counts[one.name], one.start, one.name))
    return sorted(chosen[:most])


def _content_runs(text: str) -> list[list[tuple[int, int, str]]]:
    runs: list[list[tuple[int, int, str]]] = [[]]
    end = 0
    for match in _WORD.finditer(text):
        word = match.group()
        if _GAP.fullmatch(text, end, match.start()) is None:
            runs.append([])
        end = match.end()
        if word.casefold() in FUNCTION_WORDS or len(word) < 2:
            runs.append([])
        else:
            runs[-1].append((match.start(), end, word))
    return [run for run in runs if run]


def _stretches(run: str, offset: int, repeated: set[str]) -> list[Found]:
    found: list[Found] = []
    at = 0
    for match in [*_HAN_BREAK.finditer(run), None]:
        end = match.start() if match else len(run)
        if 2 <= end - at <= MOST_HAN:
            found.append(Found(offset + at, offset + end, run[at:end]))
        at = match.end() if match else end
    for name in repeated:
        start = run.find(name)
        while start >= 0:
            found.append(Found(offset + start, offset + start + len(name), name))
            start = run.find(name, start + len(name))
    return found


def _repeated(text: str) -> set[str]:
    """Stretches of two to six characters written twice or more, and no longer one as often."""
    counts = Counter[str]()
    for run in _HAN_RUN.findall(text):
        for size in range(2, 7):
            counts.update(run[at : at + size] for at in range(len(run) - size + 1))
    often = {name: n for name, n in counts.items() if n > 1 and not _HAN_BREAK.search(name)}
    return {
        name
        for name, n in often.items()
        if not any(other != name and name in other and m == n for other, m in often.items())
    }
