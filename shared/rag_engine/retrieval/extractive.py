"""Answers without a language model: the sentences of the passages that fit the question best.

A sentence is judged by what it shares with the question (rare words, meaning), by how well its
passage ranked, and by what it adds to the sentences already chosen. The second sentence of a
two-step question rarely resembles the question; it stands in a document that the first one names.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from rag_engine.core.scripts import scripts
from rag_engine.core.sentences import sentence_spans
from rag_engine.core.tokens import fold, tokenize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rag_engine.ports.models import Embedder
    from rag_engine.retrieval.context import Context, Passage

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractiveWeights:
    """What makes a sentence fit; chosen on 100 HotpotQA and 100 MuSiQue questions.

    Attributes:
        words: For the share of the question's words, weighted by rarity, that it has.
        meaning: For the cosine between it and the question.
        passage: For the rank of its passage.
        opening: For the first sentence of a passage, which says what the passage is about.
        named: For a passage whose title the question names.
        link: For a passage whose title a chosen sentence names.
        number: For a number in it, when the question asks for one.
        residual: For the cosine with what the chosen sentences leave of the question.
        novelty: Against the largest cosine with a chosen sentence.
        crowd: Against each chosen sentence of the same passage.
    """

    words: float = 1.0
    meaning: float = 1.0
    passage: float = 0.3
    opening: float = 0.15
    named: float = 0.1
    link: float = 1.0
    number: float = 0.2
    residual: float = 0.7
    novelty: float = 0.4
    crowd: float = 0.25


_WEIGHTS: Final = ExtractiveWeights()
_RANK_DECAY: Final = 0.3
_ANSWERED: Final = 0.7  # how much of the question a chosen sentence counts as having answered
_SENTENCES: Final = 5
_CHARACTERS: Final = 900  # about what one reads before looking for the answer elsewhere
_ENOUGH: Final = 0.4  # of what the best sentence is worth: what is worth less is not quoted
_NEAR: Final = 0.6  # of the largest cosine: what is farther is quoted only where a link leads to it
_CANDIDATES: Final = 24  # so many sentences are embedded, which is nearly all the time it takes
_LONGEST: Final = 500  # characters; what is longer is a table or a list that lost its line ends
# Of 200 questions with their passages all but 1 are above one of these, with the passages of another
# question 4.
_FAINT_WORDS: Final = 0.4
_FAINT_MEANING: Final = 0.4
_DOUBTFUL_SENTENCES: Final = 2
_DOUBT: Final = "None of the passages is close to the question: they may not answer it."

_FULL_STOPS: Final = (".", "!", "?", "…", ":", ";", "。", "！", "？", "؟", "۔", "।")
_CLOSING: Final = "\"'”’»)]）」』 "
_PARENTHESES: Final = re.compile(r"\s*\([^)]*\)\s*$")
_FOOTNOTE: Final = re.compile(r"(?<=[.,;:!?…”’\"')])\(\d{1,3}\)")
_FIRST_WORD: Final = re.compile(r"[^\W\d_]+")
_NUMBER_WORDS: Final = frozenset(
    "when year date many much long old wann jahr viele viel quand année combien cuándo año cuántos"
    " cuánto quando anno quanti quanto когда сколько 何年 何时 几年 多少 いつ 何人 متى كم".split()
)
_PRONOUNS: Final = frozenset(
    "he she it they this these that those his her its their him them such both there here then"
    " however moreover also er sie es dies diese dieser dieses ihr ihre sein seine il elle ils elles"
    " ce cette ces cela él ella ellos ellas esto este esta su sus".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotation:
    """The sentences of an extractive answer.

    Attributes:
        paragraphs: Quoted text with citations, one paragraph a passage, in reading order; joined
            they are the answer.
        warnings: What a reader should know.
    """

    paragraphs: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    passage: int
    place: int
    text: str
    tokens: frozenset[str]


async def best_sentences(
    question: str,
    context: Context,
    embedder: Embedder,
    *,
    weights: ExtractiveWeights = _WEIGHTS,
) -> Quotation:
    """Choose and arrange the sentences that answer `question` best.

    Args:
        question: What was asked.
        context: At least one passage.
        embedder: Compares meanings, unless it does not know the script of the question.
        weights: What makes a sentence fit.
    """
    sentences = _sentences(context)
    asked = frozenset(tokenize(question))
    rarity = _rarity(asked, sentences)
    words = np.array([_shared(asked, s, rarity) for s in sentences])
    prior = weights.words * words + np.array([_prior(s, weights) for s in sentences])
    order = np.argsort(-prior, kind="stable")[:_CANDIDATES]
    candidates = [sentences[i] for i in order]
    vectors = await _vectors(question, candidates, context, embedder)
    if vectors is None:  # then nothing speaks for a sentence that shares no word
        prior[words == 0] -= weights.words
    choice = _Choice(question, candidates, prior[order], vectors, context, weights)
    enough_words = _FAINT_WORDS if vectors is not None else _FAINT_WORDS / 2
    fits = choice.nearest > _FAINT_MEANING or float(words.max()) > enough_words
    chosen = choice.make(_SENTENCES if fits else _DOUBTFUL_SENTENCES)
    return Quotation(
        paragraphs=tuple(_paragraphs([candidates[i] for i in chosen], context)),
        warnings=() if fits else (_DOUBT,),
    )


def _sentences(context: Context) -> list[_Sentence]:
    found: list[_Sentence] = []
    seen: set[str] = set()
    for index, passage in enumerate(context.passages):
        title = frozenset(tokenize(passage.reference.document_name))
        for place, text in enumerate(_split(passage.text)):
            key = text.casefold()
            if key not in seen:
                seen.add(key)
                tokens = frozenset(tokenize(text)) | title
                found.append(_Sentence(passage=index, place=place, text=text, tokens=tokens))
    readable = [s for s in found if _reads_well(s.text)]
    return readable or found


def _split(text: str) -> list[str]:
    return [
        _FOOTNOTE.sub("", " ".join(text[start:end].split())) for start, end in sentence_spans(text)
    ]


def _reads_well(text: str) -> bool:
    """Whether it is a sentence, not a heading, a page number, a cell or a table without its lines.

    The shortest is measured in bytes: a Chinese sentence may have eight characters.
    """
    if text.startswith(("#", "|")) or len(text) > _LONGEST:
        return False
    length = len(text.encode("utf-8", "replace"))
    return length >= 12 and (length > 60 or text.rstrip(_CLOSING).endswith(_FULL_STOPS))


def _rarity(asked: frozenset[str], sentences: Sequence[_Sentence]) -> dict[str, float]:
    frequency = Counter(token for s in sentences for token in s.tokens & asked)
    count = len(sentences)
    return {t: math.log((count + 1) / (frequency[t] + 0.5)) for t in sorted(asked)}


def _shared(asked: frozenset[str], sentence: _Sentence, rarity: dict[str, float]) -> float:
    whole = sum(rarity.values())
    return sum(rarity[t] for t in sorted(asked & sentence.tokens)) / whole if whole else 0.0


def _prior(sentence: _Sentence, weights: ExtractiveWeights) -> float:
    opening = weights.opening * (sentence.place == 0)
    return opening + weights.passage / (1 + _RANK_DECAY * sentence.passage)


async def _vectors(
    question: str, sentences: Sequence[_Sentence], context: Context, embedder: Embedder
) -> tuple[Floats, Floats] | None:
    """The question's vector and those of the sentences; `None` in a script it does not know."""
    known = embedder.scripts
    script = next(iter(scripts(question)), None)
    if known is not None and script not in known:
        return None
    names = [context.passages[s.passage].reference.document_name for s in sentences]
    texts = [f"{name}\n{s.text}" for name, s in zip(names, sentences, strict=True)]
    counts = await asyncio.to_thread(embedder.count_tokens, [question, *texts])
    limit = embedder.max_tokens
    query = question if counts[0] <= limit else question[-limit:]
    fitting = [t if n <= limit else t[:limit] for t, n in zip(texts, counts[1:], strict=True)]
    asked = await embedder.embed([query], "query")
    found = await embedder.embed(fitting, "document")
    return asked[0].astype(np.float64), found.astype(np.float64)


class _Choice:
    """Chooses sentences one after the other, each for what it adds to those before."""

    def __init__(
        self,
        question: str,
        candidates: Sequence[_Sentence],
        prior: Floats,
        vectors: tuple[Floats, Floats] | None,
        context: Context,
        weights: ExtractiveWeights,
    ) -> None:
        self._candidates = candidates
        self._weights = weights
        self._passages = np.array([s.passage for s in candidates])
        self._titles = [_bare_title(p) for p in context.passages]
        self._gain = prior.copy()
        self._nearest_chosen = np.zeros(len(candidates))
        self._residual = np.zeros(len(candidates))
        self._crowd = np.zeros(len(context.passages))
        named = np.array([self._names(question, title) for title in self._titles])
        self._named = named
        self._chained = np.zeros(len(named), dtype=bool)
        self._gain += weights.named * named[self._passages]
        if _NUMBER_WORDS & set(tokenize(question)):
            self._gain += weights.number * np.array([_has_number(s.text) for s in candidates])
        self._vectors = vectors
        self._far = np.zeros(len(candidates), dtype=bool)
        self.nearest = 0.0
        if vectors is not None:
            asked, found = vectors
            meaning = found @ asked
            self.nearest = float(meaning.max())
            self._gain += weights.meaning * meaning
            self._far = meaning < _NEAR * self.nearest

    def make(self, most: int) -> list[int]:
        """Indices of the chosen sentences, best first, `most` at most."""
        chosen: list[int] = []
        length = 0
        best = 0.0
        while len(chosen) < most:
            worth = self._worth()
            worth[chosen] = -np.inf
            worth[self._far & ~self._chained[self._passages]] = -np.inf
            pick = int(np.argmax(worth))
            characters = len(self._candidates[pick].text)
            if chosen and (worth[pick] < _ENOUGH * best or length + characters > _CHARACTERS):
                break
            best = best or float(worth[pick])
            chosen.append(pick)
            length += characters
            self._note(pick)
            if len(chosen) == len(self._candidates):
                break
        return chosen

    def _worth(self) -> Floats:
        weights = self._weights
        worth: Floats = (
            self._gain
            + weights.link * self._chained[self._passages]
            + weights.residual * self._residual
            - weights.novelty * self._nearest_chosen
            - weights.crowd * self._crowd[self._passages]
        )
        return worth

    def _note(self, pick: int) -> None:
        text = self._candidates[pick].text
        self._crowd[self._passages[pick]] += 1
        named = np.array([self._names(text, title) for title in self._titles])
        self._chained |= named & ~self._named
        if self._vectors is not None:
            asked, found = self._vectors
            self._nearest_chosen = np.maximum(self._nearest_chosen, found @ found[pick])
            rest = asked - _ANSWERED * float(asked @ found[pick]) * found[pick]
            norm = float(np.linalg.norm(rest))
            if norm > 0:
                self._residual = np.maximum(self._residual, found @ (rest / norm))

    @staticmethod
    def _names(text: str, title: str) -> bool:
        return len(title) > 2 and title in fold(text)


def _bare_title(passage: Passage) -> str:
    # "Ed Wood (film)" is called "Ed Wood" where it is mentioned.
    return fold(_PARENTHESES.sub("", passage.reference.document_name)).strip()


def _paragraphs(chosen: Sequence[_Sentence], context: Context) -> list[str]:
    """One paragraph for each passage, in the order in which passages were first chosen."""
    by_passage: dict[int, set[int]] = {}
    for sentence in chosen:
        by_passage.setdefault(sentence.passage, set()).add(sentence.place)
    paragraphs = [
        f"{_read(context.passages[passage], places)} [{context.passages[passage].reference.number}]"
        for passage, places in by_passage.items()
    ]
    return [p + "\n\n" for p in paragraphs[:-1]] + paragraphs[-1:]


def _read(passage: Passage, places: set[int]) -> str:
    """The sentences at `places` in order, with what a leading pronoun refers to."""
    sentences = _split(passage.text)
    shown = set(places)
    for place in places:
        if _leans_back(sentences[place]) and place > 0 and len(sentences[place - 1]) <= _LONGEST:
            shown.add(place - 1)
    parts: list[str] = []
    before: int | None = None
    for place in sorted(shown):
        text = sentences[place]
        if before is None and _leans_back(text):
            text = f"{passage.reference.document_name}: {text}"
        if before is not None and place > before + 1:
            parts.append("…")
        parts.append(text)
        before = place
    return " ".join(parts)


def _has_number(text: str) -> bool:
    return any(character.isdecimal() for character in text)


def _leans_back(text: str) -> bool:
    first = _FIRST_WORD.match(text)
    return first is not None and first.group().casefold() in _PRONOUNS
