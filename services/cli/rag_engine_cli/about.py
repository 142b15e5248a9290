"""`version`: what is installed."""

from __future__ import annotations

import platform
import sqlite3
from importlib import metadata

import click

from rag_engine_cli.options import shared_options
from rag_engine_cli.session import Session, pass_session


@click.command()
@shared_options
@pass_session
def version(session: Session) -> None:
    """Print the version of RAG Engine and of what it stands on."""
    found = {
        "rag-engine": metadata.version("rag-engine-server"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
    }
    session.terminal.record(found)
    for name, value in found.items():
        session.terminal.line(f"{name:<10}  {value}")
