"""What a question asks for: its words, the names it may hold, whether its vector means anything."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from rag_engine.core.names import entity_key
from rag_engine.core.scripts import MULTILINGUAL, unknown_script
from rag_engine.core.tokens import fold, tokenize
from rag_engine.errors import InvalidRequest

Mode = Literal["graph", "fusion", "naive"]
"""How to retrieve.

`graph` joins dense and lexical search, the graph of names and a ranking of passages that answer
together. `fusion` joins dense and lexical search alone. `naive` is dense search alone.
"""

MODES: Final[tuple[str, ...]] = get_args(Mode)

LONGEST_NAME: Final = 8
"""Words (characters, in scripts without spaces) of a name in a question at most."""

_MOST_WORDS: Final = 256
"""Words of a question that are looked up as names; a longer text is no question."""

# A letter of a script without spaces is a word by itself: any stretch of them may be a name.
_WORD: Final = re.compile(
    r"[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\U00020000-\U0003ffff]|(?:(?![\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007"
    r"\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff])[^\W_])+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of the question that may be the name of an entity.

    Attributes:
        first: Its first word, counted from 0.
        last: The word after its last.
        key: What its entity's key would be.
    """

    first: int
    last: int
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to look for.

    Attributes:
        tokens: Of the whole question, as the lexical index has them.
        spans: Every stretch that may be a name; empty unless the mode needs them.
        dense: Whether dense search counts.
        warnings: What the reader of the answer should know, in sentences.
    """

    question: str
    mode: Mode
    tokens: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    dense: bool = True
    warnings: tuple[str, ...] = ()


def plan(question: str, mode: str, known_scripts: frozenset[str] | None) -> Plan:
    """Decide how to answer a question.

    Args:
        question: As it was asked.
        mode: One of `MODES`.
        known_scripts: Scripts the embedder knows, as `core.scripts` names them; `None` for all.

    Raises:
        InvalidRequest: There is no such mode.
    """
    if mode not in MODES:
        raise InvalidRequest(f"There is no mode {mode!r}. Use one of: {', '.join(MODES)}.")
    unknown = unknown_script(question, known_scripts)
    return Plan(
        question=question,
        mode=cast("Mode", mode),
        tokens=tuple(tokenize(question)),
        spans=tuple(name_spans(question)) if mode == "graph" else (),
        dense=unknown is None or mode == "naive",
        warnings=(_warning(unknown, mode),) if unknown else (),
    )


def name_spans(question: str) -> list[Span]:
    """Every stretch of up to `LONGEST_NAME` words, by where it begins, the longest first."""
    folded = fold(question)
    words = [match.span() for match in _WORD.finditer(folded)][:_MOST_WORDS]
    return [
        Span(first=first, last=last, key=entity_key(folded[words[first][0] : words[last - 1][1]]))
        for first in range(len(words))
        for last in range(min(len(words), first + LONGEST_NAME), first, -1)
    ]


def _warning(script: str, mode: str) -> str:
    effect = (
        "the result is of little use; ask in mode 'graph'"
        if mode == "naive"
        else "only words and names were searched"
    )
    return (
        f"The embedding model was not trained on {script} script: {effect}. "
        f"A multilingual model finds more, for example RAG_EMBEDDING_MODEL={MULTILINGUAL}."
    )
