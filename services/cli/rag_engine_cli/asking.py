"""Asking before what cannot be undone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rag_engine_cli.terminal import Terminal


def check_askable(verb: str, *, yes: bool) -> None:
    """Refuse to go on where nobody can be asked.

    Args:
        verb: What would be done, for the message.
        yes: Whether it was said beforehand that nobody needs to be asked.

    Raises:
        click.UsageError: Stdin is no terminal, and it was not said.
    """
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(f"Nobody can be asked here. Add --yes to {verb} without asking.")


def agreed(terminal: Terminal, question: str, *, otherwise: str, yes: bool) -> bool:
    """Ask, unless `yes` was said beforehand; who does not agree is told the `otherwise`."""
    if yes or click.confirm(question, err=True):
        return True
    terminal.note(otherwise)
    return False
