"""What holds for one call of the command line: its options, its settings, its engine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rag_engine.core.models import DEFAULT_WORKSPACE
from rag_engine_cli.terminal import Terminal

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from rag_engine.engine import Engine
    from rag_engine.settings import Settings

T = TypeVar("T")


@dataclass
class Session:
    """The shared options, wherever on the line they stood, and what follows from them."""

    data_dir: Path | None = None
    workspace: str = DEFAULT_WORKSPACE
    json: bool = False
    verbose: bool = False
    no_color: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once; the command line outranks the environment."""
        from rag_engine.settings import load, secrets_of
        from rag_engine_cli.logs import log_to_stderr

        settings = load(data_dir=self.data_dir)
        log_to_stderr(
            "INFO" if self.verbose else settings.log_level,
            tracebacks=settings.debug,
            form=settings.log_format,
            secrets=secrets_of(settings),
        )
        return settings

    @property
    def debug(self) -> bool:
        """Whether errors show their traceback."""
        return "settings" in self.__dict__ and self.settings.debug

    @property
    def color(self) -> bool | None:
        """Whether to print in colours: `None` for where a terminal shows them."""
        return False if self.no_color else None

    @property
    def terminal(self) -> Terminal:
        """Where to print."""
        return Terminal(json=self.json)

    def run(
        self,
        work: Callable[[Engine], Coroutine[Any, Any, T]],
        *,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
        search_processes: int = 0,
    ) -> T:
        """Do something with an engine and close it: the one place where an event loop starts.

        Args:
            work: What to do.
            loop_factory: Makes the event loop; without it, it is asyncio's own.
            search_processes: See `wiring.build`.
        """
        import asyncio

        from rag_engine.wiring import build
        from rag_engine_cli.memory import share_heaps

        share_heaps()
        settings = self.settings

        async def whole() -> T:
            engine = await asyncio.to_thread(build, settings, search_processes=search_processes)
            try:
                return await work(engine)
            finally:
                await engine.aclose()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(whole())


pass_session = click.make_pass_decorator(Session, ensure=True)
"""Hands a command the session of the call."""
