"""Documents, questions and edits for a load that never ends, all drawn from a seed.

The number of documents stays what it is: for each one that comes, the oldest goes. Names and words
follow Zipf's law, so that some entities are in every tenth document and most in one.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from email.message import EmailMessage
from random import Random

from rag_engine import Alias, Fact, Question, Suppression
from rag_engine.core.filters import And, Filter, In, Range

_SYLLABLES = "an ber cor del el far gol hen is jor kel lam mor nor ol pel ros sil tor ver".split()
_VERBS = "met wrote paid called visited warned praised followed helped left".split()
_MODES = ("graph", "fusion", "naive")
YEARS = range(2000, 2025)


class Load:
    """What is done next. One is enough for all who act at the same time.

    Args:
        documents: How many there are once all are in.
        seed: Where chance comes from.
    """

    def __init__(self, documents: int, seed: int = 1) -> None:
        self._random = Random(seed)
        self._names = [self._word().title() + " " + self._word().title() for _ in range(3_000)]
        self._words = [self._word().lower() for _ in range(4_000)]
        self._made = 0
        self.documents = documents
        self.ids: deque[str] = deque()

    def _word(self) -> str:
        return "".join(self._random.choice(_SYLLABLES) for _ in range(self._random.randint(2, 3)))

    def _zipf(self, values: list[str]) -> str:
        return values[int(len(values) ** self._random.random()) - 1]

    def name(self) -> str:
        """A name that documents may mention."""
        return self._zipf(self._names)

    def next_id(self) -> str:
        """The id of a document that was not there before."""
        self._made += 1
        return f"document-{self._made:06d}"

    def known_id(self) -> str:
        """The id of a document that is there, or will be in a moment."""
        return self._random.choice(self.ids)

    def metadata(self) -> dict[str, str | int]:
        """What filters select by."""
        return {"year": self._random.choice(YEARS), "part": self._zipf(list("abcdefgh"))}

    def document(self) -> tuple[bytes, str]:
        """The bytes of a document of one to three passages, and the ending of its name."""
        title, sentences = self.name(), [
            self._sentence() for _ in range(self._random.randint(5, 25))
        ]
        return self._random.choice(_FORMATS)(title, sentences)

    def _sentence(self) -> str:
        words = " ".join(self._zipf(self._words) for _ in range(self._random.randint(4, 9)))
        return f"{self.name()} {self._random.choice(_VERBS)} {self.name()} about {words}."

    def broken(self) -> bytes:
        """A document that no parser can read."""
        return b"%PDF-1.7\n" + self._random.randbytes(2_000)

    def question(self) -> Question:
        """A question, in any mode, every other one with a filter."""
        text = f"What did {self.name()} say to {self.name()} about {self._zipf(self._words)}?"
        return Question(text=text, mode=self._random.choice(_MODES), filter=self._filter())

    def _filter(self) -> Filter | None:
        year = self._random.choice(YEARS)
        recent = Range("year", "gte", year)
        return self._random.choice(
            (None, None, recent, And((In("part", ("a", "b")), Range("year", "lte", year))))
        )

    def edit(self) -> Alias | Suppression:
        """A change of the graph by hand."""
        if self._random.random() < 0.5:
            return Suppression(name=self.name())
        source, target = self._random.sample(self._names, 2)
        return Alias(source=source, target=target)

    def fact(self) -> Fact:
        """Something a person knows."""
        name, target = self._random.sample(self._names, 2)
        return Fact(name=name, target=target, description=self._sentence())


def _markdown(title: str, sentences: list[str]) -> tuple[bytes, str]:
    return f"# {title}\n\n{' '.join(sentences)}\n".encode(), ".md"


def _page(title: str, sentences: list[str]) -> tuple[bytes, str]:
    body = "".join(f"<p>{one}</p>" for one in sentences)
    return (
        f"<!doctype html><html><head><title>{title}</title></head><body>{body}</body></html>".encode(),
        ".html",
    )


def _table(title: str, sentences: list[str]) -> tuple[bytes, str]:
    rows = "".join(f'{number},"{one}"\n' for number, one in enumerate(sentences))
    return f'number,"{title}"\n{rows}'.encode(), ".csv"


def _json(title: str, sentences: list[str]) -> tuple[bytes, str]:
    return json.dumps({"title": title, "notes": sentences}).encode(), ".json"


def _mail(title: str, sentences: list[str]) -> tuple[bytes, str]:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = title, "a@example.org", "b@example.org"
    mail.set_content("\n\n".join(sentences))
    return mail.as_bytes(), ".eml"


_FORMATS: tuple[Callable[[str, list[str]], tuple[bytes, str]], ...] = (
    _markdown,
    _page,
    _table,
    _json,
    _mail,
)
