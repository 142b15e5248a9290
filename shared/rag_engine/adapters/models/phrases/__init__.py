"""The LLM-free extractor: the names and key phrases of a passage, and what stands beside what.

It sees one passage and nothing else: no dictionary, no statistics of a corpus. What is common, and
so says little, is known at query time from how many chunks mention it. A passage is about its title
and its innermost heading, which weigh more than what it merely mentions.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rag_engine.adapters.models.phrases.cased import Found, names
from rag_engine.adapters.models.phrases.uncased import han, key_phrases, spaceless
from rag_engine.adapters.models.phrases.words import FUNCTION_WORDS
from rag_engine.core.models import Assertion, Extraction, Mention
from rag_engine.core.names import entity_key
from rag_engine.core.scripts import scripts
from rag_engine.core.sentences import sentence_spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.ports.models import Passage

VERSION: Final = 1
"""Raised whenever the same passage may give another result."""

TITLE_WEIGHT: Final = 5000
HEADING_WEIGHT: Final = 3000
MENTION_WEIGHT: Final = 1000
"""Weights in thousandths. A title five times a mention: 2 to 8 rank alike (docs/explanation)."""

MOST_MENTIONS: Final = 24
"""Names taken from one passage at most, the most frequent, then the first."""
MOST_ASSERTIONS: Final = 12
ENOUGH_NAMES: Final = 2
"""A passage with fewer names is topped up with key phrases."""
LONGEST_SUBJECT: Final = 12
"""Words in a title or heading that can be an entity: a longer one is a sentence."""

_BATCH: Final = 256
"""Passages between two moments at which an extraction can be cancelled: about 0.3 s."""

_CASED: Final = frozenset({"Latin", "Cyrillic", "Greek"})
_SPACED: Final = frozenset({"Arabic", "Hebrew", "Devanagari", "Hangul", "Other"})
_BRACKETS: Final = re.compile(r"\s*[(（\[][^)）\]]*[)）\]]\s*$")
_BETWEEN: Final = re.compile(r"[\w ’'-]{3,40}")


class PhraseExtractor:
    """Names and key phrases by rules, in many scripts."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same passage may give another result."""
        return f"phrases-{VERSION}"

    async def extract(self, passages: Sequence[Passage]) -> list[Extraction]:
        """The entities and relations found in each passage."""
        found: list[Extraction] = []
        for start in range(0, len(passages), _BATCH):
            some = passages[start : start + _BATCH]
            found += await asyncio.to_thread(lambda batch: [*map(extraction, batch)], some)
        return found


def extraction(passage: Passage) -> Extraction:
    """What one passage mentions: a pure function of it."""
    text = passage.text
    found = _found(text, passage.title or "")
    subjects = _subjects(passage)
    counts = Counter(entity_key(one.name) for one in found)
    kept = _kept(found, counts)
    mentions = {
        key: Mention(name=name, weight=MENTION_WEIGHT + 200 * min(counts[key] - 1, 4))
        for key, name in kept.items()
    }
    mentions |= subjects
    return Extraction(
        mentions=tuple(mentions.values()), assertions=_assertions(text, found, mentions)
    )


def _found(text: str, title: str) -> list[Found]:
    letters = scripts(text)
    found: list[Found] = []
    if any(script in _CASED for script in letters):
        found += names(text, title)
    if "Han" in letters or "Kana" in letters:
        found += han(text)
    if "Thai" in letters or "Other" in letters:
        found += spaceless(text)
    main = next(iter(letters), "Other")
    if main in _SPACED:
        longest = 1 if main == "Hangul" else 2  # Korean glues what other languages set apart
        found += key_phrases(text, most=16, words=range(1, longest + 1))
    elif main in _CASED and len({entity_key(one.name) for one in found}) < ENOUGH_NAMES:
        found += key_phrases(text, most=ENOUGH_NAMES, words=range(2, 4))
    return sorted(found)


def _subjects(passage: Passage) -> dict[str, Mention]:
    """What the passage is about: its title, what the title is also called, its heading."""
    subjects: dict[str, Mention] = {}
    for name in passage.heading_path[-1:]:
        _add_subject(subjects, name, HEADING_WEIGHT)
    if passage.title:
        shorter = _BRACKETS.sub("", passage.title)
        for name in (shorter.split(",")[0], shorter, passage.title):
            _add_subject(subjects, name, TITLE_WEIGHT)
    return subjects


def _add_subject(subjects: dict[str, Mention], name: str, weight: int) -> None:
    name = " ".join(name.split())
    key = entity_key(name)
    if len(key) > 1 and key not in FUNCTION_WORDS and len(key.split()) <= LONGEST_SUBJECT:
        subjects[key] = Mention(name=name, weight=weight)


def _kept(found: Sequence[Found], counts: Counter[str]) -> dict[str, str]:
    """The names to keep, by key: the most frequent, then the first, spelt as they first stand."""
    spelling: dict[str, str] = {}
    for one in found:
        spelling.setdefault(entity_key(one.name), one.name)
    keys = sorted(filter(None, spelling), key=lambda key: -counts[key])  # stable: then the first
    return {key: spelling[key] for key in keys[:MOST_MENTIONS]}


def _assertions(
    text: str, found: Sequence[Found], mentions: dict[str, Mention]
) -> tuple[Assertion, ...]:
    """Neighbours within a sentence, with the words between them."""
    assertions: dict[tuple[str, str], Assertion] = {}
    for start, end in sentence_spans(text):
        inside = [one for one in found if start <= one.start < end]
        for one, other in pairwise(one for one in inside if entity_key(one.name) in mentions):
            pair = entity_key(one.name), entity_key(other.name)
            if pair[0] == pair[1] or one.end > other.start or pair in assertions:
                continue
            between = _BETWEEN.fullmatch(text[one.end : other.start].strip())
            keywords = between.group().strip() if between else ""
            source, target = mentions[pair[0]].name, mentions[pair[1]].name
            assertions[pair] = Assertion(source=source, target=target, keywords=keywords)
    return tuple(list(assertions.values())[:MOST_ASSERTIONS])
