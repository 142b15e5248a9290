"""Scattered fragments of text, with their places, to paragraphs in the order of reading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

# Columns of running text have long lines; narrower ones are cells of a table, read row by row.
_COLUMN_CHARACTERS = 18
_COLUMN_LINES = 3
_PARAGRAPH_GAP = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """A piece of a line: its text, confidence (0 to 1) and place, y downwards."""

    text: str
    score: float
    left: float
    right: float
    top: float
    bottom: float

    @property
    def height(self) -> float:
        """From its top to its bottom."""
        return self.bottom - self.top


def paragraphs(fragments: Sequence[Fragment]) -> list[str]:
    """The text column by column and line by line; text across the page comes last."""
    level = [f for f in fragments if f.height <= 1.5 * (f.right - f.left) or len(f.text) < 4]
    across = [f for f in fragments if f not in level]
    written: list[str] = []
    for block in _blocks(level):
        written += _joined(block)
    return written + [fragment.text for fragment in across]


def _blocks(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Fragments divided at the gaps between columns, and above and below them."""
    if len(fragments) <= _COLUMN_LINES:
        return [list(fragments)] if fragments else []
    columns = _split_columns(fragments)
    if columns:
        return [block for column in columns for block in _blocks(column)]
    bands = _split_bands(fragments)
    if len(bands) == 1:
        return bands
    # Bands without columns belong together: their gaps only end paragraphs.
    merged: list[list[Fragment]] = []
    plain = False
    for band in bands:
        inner = _split_columns(band)
        if inner:
            merged += [block for column in inner for block in _blocks(column)]
        elif plain:
            merged[-1] += band
        else:
            merged.append(list(band))
        plain = not inner
    return merged


def _split_columns(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Columns of running text, left to right, or nothing where there is but one."""
    size = median(fragment.height for fragment in fragments)
    groups = _groups(sorted(fragments, key=lambda f: f.left), "left", "right", size * 0.5)
    columns = [group for group in groups if _is_column(group)]
    return groups if len(columns) == len(groups) > 1 else []


def _is_column(group: Sequence[Fragment]) -> bool:
    lengths = [len(fragment.text) for fragment in group]
    return len(group) >= _COLUMN_LINES and median(lengths) >= _COLUMN_CHARACTERS


def _split_bands(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Groups with clear space between them, top to bottom."""
    size = median(fragment.height for fragment in fragments)
    return _groups(sorted(fragments, key=lambda f: f.top), "top", "bottom", size * 0.3)


def _groups(
    fragments: Sequence[Fragment], start: str, end: str, space: float
) -> list[list[Fragment]]:
    groups: list[list[Fragment]] = []
    reach = float("-inf")
    for fragment in fragments:
        if getattr(fragment, start) > reach + space:
            groups.append([])
        groups[-1].append(fragment)
        reach = max(reach, getattr(fragment, end))
    return groups


def _joined(fragments: Sequence[Fragment]) -> list[str]:
    """Lines of one column, joined until a gap."""
    written: list[str] = []
    reach = 0.0
    for row in _rows(fragments):
        text = " ".join(fragment.text for fragment in row)
        height = max(fragment.height for fragment in row)
        if written and min(f.top for f in row) - reach < _PARAGRAPH_GAP * height:
            written[-1] += "\n" + text
        else:
            written.append(text)
        reach = max(fragment.bottom for fragment in row)
    return written


def _rows(fragments: Sequence[Fragment]) -> list[list[Fragment]]:
    """Fragments that stand on one line, left to right; lines top to bottom."""
    rows: list[list[Fragment]] = []
    for fragment in sorted(fragments, key=lambda f: f.top + f.bottom):
        middle = (fragment.top + fragment.bottom) / 2
        if rows and rows[-1][0].top <= middle <= rows[-1][0].bottom:
            rows[-1].append(fragment)
        else:
            rows.append([fragment])
    return [sorted(row, key=lambda f: f.left) for row in rows]
