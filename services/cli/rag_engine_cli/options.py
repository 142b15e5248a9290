"""Options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from rag_engine_cli.session import Session

Command = TypeVar("Command", bound=Callable[..., Any])


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a value in the session, unless it is only the default of a later place on the line."""
    name = str(parameter.name)
    if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
        setattr(context.ensure_object(Session), name, value)


_SHARED = (
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the databases and originals. Default: RAG_DATA_DIR, else the platform's "
        "data folder.",
        expose_value=False,
        callback=_remember,
    ),
    click.option(
        "-w",
        "--workspace",
        metavar="NAME",
        help="Which collection of documents to use. Default: 'default'.",
        expose_value=False,
        callback=_remember,
    ),
    click.option(
        "--json",
        is_flag=True,
        help="Print JSON on stdout, and nothing else there.",
        expose_value=False,
        callback=_remember,
    ),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        help="Log what happens to stderr, as LOG_LEVEL=INFO does.",
        expose_value=False,
        callback=_remember,
    ),
    click.option(
        "--no-color",
        is_flag=True,
        help="Print without colours, as NO_COLOR=1 does.",
        expose_value=False,
        callback=_remember,
    ),
)


def shared_options(command: Command) -> Command:
    """Add the options that every command takes."""
    for option in reversed(_SHARED):
        command = option(command)
    return command
