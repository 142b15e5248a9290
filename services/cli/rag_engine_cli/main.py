"""The entry point: finds the command, runs it, and turns what goes wrong into an exit code.

    0    done
    1    some documents failed
    2    wrong usage: an argument, a filter, a name that does not exist
    3    the surroundings failed: disk, database, model, network
    130  interrupted by Ctrl-C (or asked to end by SIGTERM)
    141  nobody reads what is printed any more (`| head`)

Commands live in modules of their own, which are imported when they are asked for.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from rag_engine.errors import CallerError, RagEngineError
from rag_engine_cli.options import shared_options
from rag_engine_cli.session import Session
from rag_engine_cli.terminal import colors_refused, in_json

FAILED_DOCUMENTS: Final = 1
WRONG_USAGE: Final = 2
WORLD_FAILED: Final = 3
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

_SECTIONS: Final = {
    "Documents": {
        "ingest": "ingest:ingest",
        "sync": "sync:sync",
        "documents": "documents:documents",
        "worker": "worker:worker",
    },
    "Questions": {
        "query": "query:query",
        "search": "query:search",
        "graph": "graph:graph",
    },
    "Server": {
        "serve": "serve:serve",
        "keys": "keys:keys",
    },
    "Workspaces": {
        "stats": "workspaces:stats",
        "workspaces": "workspaces:workspaces",
        "export": "archives:export",
        "import": "archives:import_",
        "backup": "backups:backup",
        "restore": "backups:restore",
    },
    "This installation": {
        "doctor": "doctor:doctor",
        "version": "about:version",
    },
}
_PLACES: Final = {name: place for part in _SECTIONS.values() for name, place in part.items()}


class _Unread(Exception):
    """Nobody reads what is printed any more."""


class _Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of the help text."""
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in _PLACES:
            return None
        module, attribute = _PLACES[cmd_name].split(":")
        command: click.Command = getattr(import_module(f"rag_engine_cli.{module}"), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click would take it for a failure that nobody reads what it prints."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _Unread from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Say which command was meant, when there is none of that name."""
        if args[0] not in _PLACES and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], _PLACES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under headings."""
        width = max(map(len, _PLACES))
        for heading, names in _SECTIONS.items():
            with formatter.section(heading):
                rows = []
                for name in names:
                    command = self.get_command(ctx, name)
                    rows.append(
                        (name.ljust(width), command.get_short_help_str(80) if command else "")
                    )
                formatter.write_dl(rows)


@click.command(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@shared_options
@click.version_option(package_name="rag-engine-server", message="rag-engine %(version)s")
def cli() -> None:
    """Put documents in, ask questions, get answers with citations.

    \b
    Begin with two commands:
      rag-engine sync ~/docs
      rag-engine query "What did we agree on with the supplier?"

    Everything stays on this machine, in one data folder. No key and no server is needed; with
    RAG_LLM_BASE_URL a language model writes the answers. To learn more about a command, and to see
    examples of it, add --help to it.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    # Being asked to end is handled as Ctrl-C is: what is being worked on goes back to the queue.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell's background job ignores Ctrl-C, and would ignore SIGTERM with it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Errors of the line itself are printed before all its options have been read.
    plain = "--no-color" in arguments or colors_refused()
    session = Session(json="--json" in arguments, no_color=plain)
    try:
        code = _guarded(arguments, session)
    except KeyboardInterrupt:  # one more, while the first was being answered
        code = INTERRUPTED
    sys.exit(code)


def _guarded(arguments: list[str], session: Session) -> int:
    try:
        code = cli.main(
            arguments,
            prog_name="rag-engine",
            standalone_mode=False,
            obj=session,
            color=session.color,
        )
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message(), color=session.color)
        return 0
    except click.ClickException as error:
        _complain(session, "WrongUsage", _usage(error))
        return WRONG_USAGE
    except RagEngineError as error:
        _trace(session)
        _complain(session, type(error).__name__, str(error), retryable=error.retryable)
        return WRONG_USAGE if isinstance(error, CallerError) else WORLD_FAILED
    except (_Unread, BrokenPipeError):
        # The interpreter flushes stdout once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        return _world(session, error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: a sentence, no traceback
        _trace(session)
        _complain(
            session,
            "InternalError",
            f"Something went wrong inside RAG Engine ({type(error).__name__}: {error}). "
            "Run it again with DEBUG=true, and please report what it prints.",
        )
        return WORLD_FAILED
    return code if isinstance(code, int) else 0


def _world(session: Session, error: OSError) -> int:
    _trace(session)
    where = f"{error.filename!r} " if error.filename else ""
    _complain(
        session,
        type(error).__name__,
        f"{where}cannot be used ({error.strerror or error}). "
        "Check that it exists, its permissions, and the space on the disk.",
    )
    return WORLD_FAILED


def _usage(error: click.ClickException) -> str:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    message = message if message.endswith((".", "?")) else f"{message}."
    return f"{message} See: {context.command_path} --help"


def _complain(session: Session, kind: str, message: str, *, retryable: bool = False) -> None:
    if session.json:
        error = {"type": kind, "message": message, "retryable": retryable}
        click.echo(in_json({"error": error}), err=True)
    else:
        click.echo(click.style("Error: ", fg="red") + message, err=True, color=session.color)


def _trace(session: Session) -> None:
    if session.debug:
        traceback.print_exc()
