"""Hypothesis strategies for documents, their evidence, and filters over them.

Pools are small on purpose: collisions of names, words, values and scores are what breaks stores.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from rag_engine.core.edits import Alias, Edit, Suppression
from rag_engine.core.filters import OWN_FIELDS, And, Exists, Filter, In, Not, Or, Range
from rag_engine.core.models import (
    Assertion,
    Extraction,
    Mention,
    Metadata,
    MetadataValue,
    Scalar,
    Submission,
)
from rag_engine.testing.drafts import Draft, Passage

NAMES: Final = (
    "Ann", "ANN", "Bob", "New York", "new  york", "Straße", "STRASSE", "北京", "Ångström",
    "O'Hara; --", 'The "Inn"', "%_*", "علي",
)  # fmt: skip
"""Several spell one key; some would end a careless query."""

WORDS: Final = (
    "river", "River", "rivers", "bank", "42", "naïve", "Straße", "北京市", "AND", "NOT", '"', "*",
    "near/2", "col:umn", "мост", "ไทย",
)  # fmt: skip
FIELDS: Final = ("author", "year", "tags", "draft", 'we"ird', "ключ", "a.b")
IDS: Final = ("a", "b", "B", "ä/ö", "sp ace", "z'; --")
SOURCES: Final = ("notes.txt", "a/b.pdf", "résumé.docx")
ROOTS: Final = (None, "/home/ann", "/srv/docs")
TITLES: Final = (None, "Rivers", "река")

_TEXTS: Final = ("Ann", "ann", "Bob", "", "1", "true", "река", "z")
_EXACT: Final = 2**53  # JSON numbers beyond it are not the same everywhere


def scalars() -> st.SearchStrategy[Scalar]:
    """Values of metadata: few, so that filters hit, and of types that are easily confused."""
    return (
        st.sampled_from((True, False, 0, 1, 1.0, -1, 2, 0.5, -0.0, 1e-9, 1843, _EXACT, -_EXACT))
        | st.sampled_from(_TEXTS)
        | st.floats(allow_nan=False, allow_infinity=False, width=32)
        | st.text(max_size=3)
    )


def metadata() -> st.SearchStrategy[Metadata]:
    """Metadata with single values and with lists, empty ones too."""
    value: st.SearchStrategy[MetadataValue] = scalars() | st.lists(scalars(), max_size=3).map(tuple)
    return st.dictionaries(st.sampled_from(FIELDS), value, max_size=4)


def filters(max_leaves: int = 6) -> st.SearchStrategy[Filter]:
    """Filter trees over those fields, the documents' own, and one that nobody has."""
    field = st.sampled_from((*FIELDS, *OWN_FIELDS, "nobody"))
    value = scalars() | st.sampled_from((*IDS, *SOURCES, "Rivers", "/srv/docs", "text/plain"))
    bound: st.SearchStrategy[str | int | float] = value.filter(
        lambda one: not isinstance(one, bool)
    )
    leaves: st.SearchStrategy[Filter] = (
        st.builds(In, field, st.lists(value, max_size=3).map(tuple))
        | st.builds(Range, field, st.sampled_from(("gt", "gte", "lt", "lte")), bound)
        | st.builds(Exists, field)
    )
    return st.recursive(
        leaves,
        lambda part: (
            st.builds(And, st.lists(part, max_size=3).map(tuple))
            | st.builds(Or, st.lists(part, max_size=3).map(tuple))
            | st.builds(Not, part)
        ),
        max_leaves=max_leaves,
    )


@st.composite
def extractions(draw: st.DrawFn) -> Extraction:
    """Evidence of one chunk; not always in canonical form."""
    names = draw(st.lists(st.sampled_from((*NAMES, " ")), max_size=5, unique=True))
    weight = st.sampled_from((500, 1000, 1000, 1500))
    description = st.sampled_from(("", *(f"fact {number}" for number in range(12))))
    mentions = [
        Mention(
            name=name,
            type=draw(st.sampled_from(("", "person", "place"))),
            description=draw(description),
            weight=draw(weight),
        )
        for name in names
    ]
    end = st.sampled_from(names or NAMES) | st.sampled_from(NAMES)
    chosen = draw(st.lists(st.tuples(end, end), max_size=3))
    assertions = [
        Assertion(
            source=source,
            target=target,
            keywords=draw(st.sampled_from(("", "knows", "lives in"))),
            description=draw(description),
            weight=draw(weight),
        )
        for source, target in chosen
    ]
    return Extraction(mentions=tuple(mentions), assertions=tuple(assertions))


def texts() -> st.SearchStrategy[str]:
    """Texts of few words, and now and then anything at all."""
    words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
    return words | words | words | st.text(max_size=8)


def passages() -> st.SearchStrategy[Passage]:
    """Chunks to be."""
    pages = st.tuples(st.integers(1, 9), st.integers(0, 2)).map(lambda p: (p[0], p[0] + p[1]))
    return st.builds(
        Passage,
        text=texts(),
        extraction=extractions(),
        pages=st.none() | pages,
        heading_path=st.lists(st.sampled_from(TITLES[1:]), max_size=2).map(tuple),
    )


def drafts(ids: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Draft]:
    """Documents to be, of one of a few ids."""
    return st.builds(
        Draft,
        id=st.sampled_from(IDS) if ids is None else ids,
        passages=st.lists(passages(), max_size=3).map(tuple),
        source=st.sampled_from(SOURCES),
        root=st.sampled_from(ROOTS),
        title=st.sampled_from(TITLES),
        metadata=metadata(),
    )


def corpora(max_size: int = 4) -> st.SearchStrategy[list[Draft]]:
    """Several documents with distinct ids."""
    return st.lists(drafts(), max_size=max_size, unique_by=lambda draft: draft.id)


def submissions() -> st.SearchStrategy[Submission]:
    """What callers hand in."""
    return drafts().map(lambda draft: draft.submission)


def edits() -> st.SearchStrategy[Edit]:
    """Edits by hand of the names above: chains, second thoughts and circles among them."""
    name = st.sampled_from((*NAMES, "Nobody", " "))
    return (
        st.builds(Alias, source=name, target=name)
        | st.builds(Alias, source=name, target=name)
        | st.builds(Suppression, name=name, other=st.none() | name)
    )
