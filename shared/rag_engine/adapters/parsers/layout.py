"""Lines of a page, by their place and type size, to headings and paragraphs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rag_engine.adapters.parsers.draft import Draft, one_line

END_OF_LINE_HYPHEN = "\x02"
"""What PDFium puts where it takes a hyphen for one that only breaks the line."""

_HEADING_SCALE = 1.15
_MAX_HEADING = 200
_MAX_BOLD_HEADING = 100
_LIST_START = re.compile(r"\s*(?:[•◦▪‣●○■–—*\-\uf0b7]\s|\(?\d{1,3}[.)]\s|\(?[a-zA-Z][.)]\s)")
_SENTENCE_END = re.compile(r"[.!?:;。！？：]['\"”’)\]]?\s*$")
_NO_HEADING = re.compile(r"(?:table|fig\.?|figure|tabelle|abb\.?|tab\.?)\s*\d", re.IGNORECASE)
_SOFT_HYPHEN = re.compile(r"[a-zà-öø-ÿ]-$")
# Headers and footers stand in the outermost parts of a page, and on most pages.
_MARGIN = 0.1
_FEW_PAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line: its text, type size and place, in points from the lower left corner of the page.

    Attributes:
        tabular: Whether wide gaps divide it into cells.
        bold: Whether all of it is set in bold type.
    """

    text: str
    size: float
    left: float
    right: float
    top: float
    bottom: float
    tabular: bool = False
    bold: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: its lines, or the paragraphs that text recognition made of it."""

    number: int
    height: float
    lines: Sequence[Line]
    recognised: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What makes a heading in one document.

    Attributes:
        outline: Levels by page number and folded title, from the document's outline.
        sizes: Levels by type size.
        bold: Level of a line in bold type, or 0.
    """

    outline: Mapping[tuple[int, str], int]
    sizes: Mapping[float, int]
    bold: int

    def level(self, line: Line, page: int) -> int:
        """Depth of the heading that a line is, or 0."""
        text = line.text.strip()
        if len(text) > _MAX_HEADING or sum(map(str.isalpha, text)) < 2:
            return 0
        if self.outline:
            return self.outline.get((page, folded(text)), 0)
        if line.tabular or _NO_HEADING.match(text):
            return 0
        level = self.sizes.get(_rounded(line.size), 0)
        if level or not (self.bold and line.bold):
            return level
        is_title = (
            len(text) <= _MAX_BOLD_HEADING and text[-1] not in ".,;" and not text[0].islower()
        )
        return self.bold if is_title else 0


def folded(text: str) -> str:
    """A title for comparison: without white space and case."""
    return "".join(one_line(text).casefold().split())


def style(pages: Sequence[Page], outline: Mapping[tuple[int, str], int]) -> Style:
    """How the headings of a document look; its outline decides where it has one."""
    present = {(page.number, folded(line.text)) for page in pages for line in page.lines}
    found = {key: level for key, level in outline.items() if key in present}
    sizes = {} if found else _heading_sizes(pages)
    bold = sum(len(line.text) for page in pages for line in page.lines if line.bold)
    total = sum(len(line.text) for page in pages for line in page.lines)
    marks = bold < 0.2 * total and not found
    return Style(
        outline=found, sizes=sizes, bold=max(sizes.values(), default=0) + 1 if marks else 0
    )


def _heading_sizes(pages: Sequence[Page]) -> dict[float, int]:
    """Type sizes that are clearly larger than the body's, to heading levels."""
    weight: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            weight[_rounded(line.size)] += len(line.text)
    if not weight:
        return {}
    body = weight.most_common(1)[0][0]
    limit = 0.2 * sum(weight.values())
    larger = [size for size in weight if size >= body * _HEADING_SCALE and weight[size] < limit]
    levels: dict[float, int] = {}
    level, previous = 0, float("inf")
    for size in sorted(larger, reverse=True):
        # Sizes within 5 % are one style measured on different letters.
        if size < previous * 0.95:
            level, previous = level + 1, size
        levels[size] = min(level, 4)
    return levels


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def without_furniture(pages: Sequence[Page]) -> list[Page]:
    """The pages without the headers, footers and page numbers that most of them repeat."""
    counts = Counter(
        key
        for page in pages
        for key in {_furniture(line) for line in page.lines if _is_marginal(line, page)}
    )
    usual = max(_FEW_PAGES, len(pages) // 2)
    return [
        replace(
            page,
            lines=[
                line
                for line in page.lines
                if not (_is_marginal(line, page) and counts[_furniture(line)] >= usual)
            ],
        )
        for page in pages
    ]


def _is_marginal(line: Line, page: Page) -> bool:
    return line.bottom > (1 - _MARGIN) * page.height or line.top < _MARGIN * page.height


def _furniture(line: Line) -> str:
    return re.sub(r"\d+", "#", folded(line.text))


def write(draft: Draft, page: Page, style: Style) -> None:
    """Add a page's lines to a draft."""
    width = _usual_width(page.lines)
    paragraph = ""
    previous: Line | None = None
    heading: tuple[int, str] | None = None
    for line in page.lines:
        level = style.level(line, page.number)
        if heading and (level != heading[0] or _is_apart(previous, line)):
            draft.heading(*heading)
            heading = None
        if level:
            draft.block(paragraph)
            paragraph = ""
            heading = (level, f"{heading[1]} {line.text}" if heading else line.text)
        elif previous is None or not paragraph:
            paragraph = line.text
        elif _is_apart(previous, line):
            draft.block(paragraph)
            paragraph = line.text
        else:
            paragraph = _joined(paragraph, previous, line, width)
        previous = line
    if heading:
        draft.heading(*heading)
    draft.block(paragraph)


def _usual_width(lines: Sequence[Line]) -> float:
    widths = sorted(line.right - line.left for line in lines if len(line.text) > 20)
    return widths[len(widths) * 3 // 4] if widths else 0.0


def _is_apart(previous: Line | None, line: Line) -> bool:
    """Whether more than a line's space, or a change of column, lies between two lines."""
    if previous is None:
        return False
    height = max(previous.size, line.size, 1.0)
    gap = previous.bottom - line.top
    changed = abs(previous.size - line.size) > 0.25 * height and not line.tabular
    return gap > 0.6 * height or gap < -2.0 * height or changed


def _joined(paragraph: str, previous: Line, line: Line, width: float) -> str:
    """A paragraph with one more line: a wrapped line goes on, a short one ends there."""
    if paragraph.endswith(END_OF_LINE_HYPHEN):
        return paragraph[:-1] + line.text
    if _LIST_START.match(line.text) or previous.tabular or line.tabular:
        return f"{paragraph}\n{line.text}"
    wrapped = previous.right - previous.left > 0.8 * width and len(previous.text) > 20
    if not wrapped or (_is_numeric(previous.text) and _is_numeric(line.text)):
        separator = "\n\n" if _SENTENCE_END.search(paragraph) else "\n"
        return paragraph + separator + line.text
    if _SOFT_HYPHEN.search(paragraph) and line.text[:1].islower():
        return paragraph[:-1] + line.text
    if _is_unspaced(paragraph[-1:]) and _is_unspaced(line.text[:1]):
        return paragraph + line.text
    return f"{paragraph.rstrip()} {line.text}"


def _is_numeric(text: str) -> bool:
    """Whether most words hold a digit, as in the rows of a table."""
    words = text.split()
    return sum(any(map(str.isdigit, word)) for word in words) > 0.5 * len(words)


def _is_unspaced(char: str) -> bool:
    """Whether a character is of a script that puts no space between words (Han, Kana)."""
    return "\u3000" <= char <= "\u9fff" or "\uff00" <= char <= "\uffef"
