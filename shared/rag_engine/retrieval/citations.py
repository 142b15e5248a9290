"""What leaves an answer: checked citations, and nothing a browser would load or follow.

A model may invent a number, and a document may smuggle in an image whose address carries the
conversation away. Both are dealt with while the answer streams, whatever the places at which the
model's server cuts it into pieces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_CITATION: Final = re.compile(
    r"[ \t]{0,8}[\[【]\s{0,8}(\d{1,4}(?:\s*[,;、–-]\s*\d{1,4})*)\s*(?:†[^】\]]*)?[\]】]"
)
_MAYBE_CITATION: Final = re.compile(r"[ \t]{0,8}(?:[\[【][\s\d,;、–-]{0,60}(?:†[^】\]]{0,60})?)?$")
_NUMBERS: Final = re.compile(r"(\d+)(?:\s*[–-]\s*(\d+))?")
_URL: Final = re.compile(r"(?:https?://|ftp://|www\.)[^\s`<>\"'()\[\]]+", re.IGNORECASE)
_MAYBE_URL: Final = re.compile(
    r"(?:(?:https?://|ftp://|www\.)[^\s`<>\"'()\[\]]*|h|ht|htt|https?|https?:/{0,2}|f|ft|ftp|ftp:/{0,2}|w|ww|www)$",
    re.IGNORECASE,
)
_TAG: Final = re.compile(
    r"<(?=/?(?:a|audio|base|button|embed|form|frame|iframe|image|img|input|link|meta|object|picture"
    r"|script|source|style|svg|track|video|https?|ftp|mailto)\b)",
    re.IGNORECASE,
)
_MAYBE_TAG: Final = re.compile(r"</?[a-z]{0,8}$", re.IGNORECASE)
_LINK: Final = re.compile(r"\](?=[(:])")
_LONGEST_RANGE: Final = 20


class AnswerFilter:
    """Lets an answer through piece by piece.

    Citations of unknown passages are removed and counted; `[1, 9]` becomes `[1]`, `[2-4]` becomes
    `[2][3][4]`. Links, images and HTML that loads or leads somewhere stay readable as text and lose
    their effect; addresses are set as code.

    Args:
        known: The numbers that may be cited.
    """

    def __init__(self, known: Iterable[int]) -> None:
        self._known = frozenset(known)
        self._held = ""
        self._in_code = False
        self.cited: set[int] = set()
        self.removed = 0

    def feed(self, text: str) -> str:
        """Take the next piece and return what can be shown by now."""
        self._held += text
        safe = self._safe_length()
        ready, self._held = self._held[:safe], self._held[safe:]
        return self._clean(ready)

    def flush(self) -> str:
        """Return the rest: the answer has ended."""
        ready, self._held = self._held, ""
        return self._clean(ready)

    def _safe_length(self) -> int:
        """How much of what is held cannot change its meaning any more."""
        text = self._held
        end = len(text)
        for pattern in (_MAYBE_CITATION, _MAYBE_TAG, _MAYBE_URL):
            match = pattern.search(text)
            if match:
                end = min(end, match.start())
        if text.endswith("]"):  # "(" may follow and make it a link
            opening = max(text.rfind("["), text.rfind("【"))
            end = min(
                end, opening if opening >= len(text) - 140 and opening >= 0 else len(text) - 1
            )
        return end

    def _clean(self, text: str) -> str:
        text = _CITATION.sub(self._check, text)
        text = _LINK.sub("] ", text)
        text = _TAG.sub("< ", text)
        return self._quote_addresses(text)

    def _check(self, match: re.Match[str]) -> str:
        kept: list[int] = []
        for first, last in _NUMBERS.findall(match.group(1)):
            low, high = int(first), int(last or first)
            numbers = (
                range(low, min(high, low + _LONGEST_RANGE) + 1) if high >= low else (low, high)
            )
            kept.extend(n for n in numbers if n in self._known)
            self.removed += sum(n not in self._known for n in numbers)
        self.cited.update(kept)
        if not kept:
            return ""
        blank = match.group()[: len(match.group()) - len(match.group().lstrip(" \t"))]
        return blank + "".join(f"[{n}]" for n in dict.fromkeys(kept))

    def _quote_addresses(self, text: str) -> str:
        pieces: list[str] = []
        at = 0
        for match in _URL.finditer(text):
            before = text[at : match.start()]
            self._in_code ^= before.count("`") % 2 == 1
            url = match.group().rstrip(".,;:!?")
            pieces += [before, url if self._in_code else f"`{url}`", match.group()[len(url) :]]
            at = match.end()
        rest = text[at:]
        self._in_code ^= rest.count("`") % 2 == 1
        return "".join([*pieces, rest])
