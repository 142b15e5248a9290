"""Printing: results to stdout, remarks to stderr, in words or as JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where a command prints.

    Attributes:
        json: Whether stdout gets JSON and nothing else.
    """

    json: bool

    @property
    def live(self) -> bool:
        """Whether a person watches stdout, so that a progress bar makes sense."""
        return not self.json and sys.stdout.isatty()

    @property
    def width(self) -> int | None:
        """Columns of the terminal a person watches, or `None`: files have none."""
        return shutil.get_terminal_size().columns if self.live else None

    def line(self, text: str = "") -> None:
        """Print a line of the result, unless the result is JSON."""
        if not self.json:
            click.echo(text)

    def piece(self, text: str) -> None:
        """Print a piece of a result that is still being made, unless the result is JSON."""
        if not self.json:
            click.echo(text, nl=False)

    def record(self, record: Mapping[str, Any]) -> None:
        """Print one JSON object on a line of its own, if the result is JSON."""
        if self.json:
            click.echo(in_json(record))

    def note(self, text: str) -> None:
        """Remark something on stderr, whatever stdout gets."""
        click.echo(text, err=True)

    def warn(self, warnings: Iterable[str]) -> None:
        """Print warnings on stderr, unless the JSON on stdout carries them."""
        if not self.json:
            for warning in warnings:
                self.note(click.style("Warning: ", fg="yellow") + warning)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows in columns as wide as their content; numbers stand to the right."""
        if self.json:
            return
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(header))]
        for number, row in enumerate((header, *rows)):
            cells = [
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            ]
            text = "  ".join(cells).rstrip()
            click.echo(click.style(text, dim=True) if number == 0 else text)


def in_json(record: Mapping[str, Any]) -> str:
    """A record on one line; what is no Unicode (a file's name may be any bytes) is escaped."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(record)
    return text


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).isdigit()


def colors_refused() -> bool:
    """Whether `NO_COLOR` is set: a custom of all programs, and no setting of this one."""
    return bool(os.environ.get("NO_COLOR"))


def plural(count: int, noun: str) -> str:
    """A number with its noun: `1 document`, `2,300 documents`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def in_words(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GB"
