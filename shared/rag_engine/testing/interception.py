"""Stand between the engine and any port, method by method, without the engine knowing.

`intercepted` wraps a port; an `Interceptor` is told of each call. `testing.faults` makes calls fail,
`testing.crash_points` kills the process around them.
"""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

from rag_engine.ports.blobs import Blobs
from rag_engine.ports.idempotency import IdempotencyRecords
from rag_engine.ports.models import ChatModel, Embedder, Extractor, Parser
from rag_engine.ports.queue import JobQueue
from rag_engine.ports.storage import Contents, Control, Reader, Store, Workspace

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

T = TypeVar("T")

PORTS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "control": Control,
        "idempotency": IdempotencyRecords,
        "store": Store,
        "reader": Reader,
        "contents": Contents,
        "queue": JobQueue,
        "blobs": Blobs,
        "parser": Parser,
        "extractor": Extractor,
        "embedder": Embedder,
        "chat": ChatModel,
    }
)
"""Every port by the name that its calls begin with: `store.finish`."""

_PIECE: Final = ".piece"
_OPENED: Final[Mapping[str, str]] = MappingProxyType(
    {"store.snapshot": "reader", "store.contents": "contents"}
)
"""The ports that contexts open."""

_LOOK: Final = "store.look"
"""The call whose work makes calls of its own."""

_HELD: Final[Mapping[str, str]] = MappingProxyType({"control.idempotency": "idempotency"})
"""The ports that others have as an attribute."""


class Interceptor(Protocol):
    """Who is told of calls. Each is named `port.method`; a streamed piece `chat.complete.piece`."""

    def around(self, call: str) -> AbstractAsyncContextManager[None]:
        """Entered before a call is made, left when it has returned or raised."""
        ...

    def around_blocking(self, call: str) -> AbstractContextManager[None]:
        """The same for a method that is no coroutine; it may be on any thread."""
        ...


def calls() -> list[str]:
    """Names of all calls that can be intercepted, by port."""
    found = []
    for port, protocol in PORTS.items():
        for name, declared in vars(protocol).items():
            if not name.startswith("_") and inspect.isfunction(declared):
                found.append(f"{port}.{name}")
                if _returns(declared, "AsyncGenerator"):
                    found.append(f"{port}.{name}{_PIECE}")
    return found


def intercepted(port: str, target: T, interceptor: Interceptor) -> T:
    """Wrap a port. What it opens, workspaces and views of them, is wrapped as well.

    Args:
        port: Which one it is: a key of `PORTS`.
        target: The adapter; whatever it has besides the port's methods is passed through.
        interceptor: Who is told of every call.
    """
    return cast("T", _Intercepted(port, target, interceptor))


class _Intercepted:
    def __init__(self, port: str, target: Any, interceptor: Interceptor) -> None:
        self._port = port
        self._target = target
        self._interceptor = interceptor
        self._workspaces: dict[str, tuple[Workspace, Workspace]] = {}

    def __getattr__(self, name: str) -> Any:
        declared = getattr(PORTS[self._port], name, None)
        call, method = f"{self._port}.{name}", getattr(self._target, name)
        if call in _HELD:
            return intercepted(_HELD[call], method, self._interceptor)
        if not inspect.isfunction(declared):
            return method
        if call == _LOOK:
            method = self._look
        if inspect.iscoroutinefunction(declared):
            return self._coroutine(call, method)
        if _returns(declared, "AbstractAsyncContextManager"):
            return self._context(call, method)
        if _returns(declared, "AsyncGenerator"):
            return self._stream(call, method)
        return self._blocking(call, method)

    def _coroutine(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def run(*args: Any, **kwargs: Any) -> Any:
            async with self._interceptor.around(call):
                result = await method(*args, **kwargs)
            return self._workspace(result) if isinstance(result, Workspace) else result

        return run

    async def _look(self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Work in a view, which reads through wrappers, too: an interceptor may wait."""
        async with self.snapshot() as reader:
            return await work(reader)

    def _context(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @asynccontextmanager
        async def enter(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            async with AsyncExitStack() as stack:
                async with self._interceptor.around(call):
                    result = await stack.enter_async_context(method(*args, **kwargs))
                if call in _OPENED:
                    result = intercepted(_OPENED[call], result, self._interceptor)
                yield result

        return enter

    def _stream(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def pieces(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
            async with self._interceptor.around(call), aclosing(method(*args, **kwargs)) as stream:
                async for piece in stream:
                    async with self._interceptor.around(call + _PIECE):
                        pass
                    yield piece

        return pieces

    def _blocking(self, call: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with self._interceptor.around_blocking(call):
                return method(*args, **kwargs)

        return run

    def _workspace(self, opened: Workspace) -> Workspace:
        """The same wrapped workspace as long as the control gives the same one."""
        known = self._workspaces.get(opened.name)
        if known is None or known[0] is not opened:
            store = intercepted("store", opened.store, self._interceptor)
            queue = intercepted("queue", opened.queue, self._interceptor)
            known = self._workspaces[opened.name] = (
                opened,
                replace(opened, store=store, queue=queue),
            )
        return known[1]


def _returns(declared: Callable[..., Any], kind: str) -> bool:
    return str(declared.__annotations__.get("return", "")).startswith(kind)
