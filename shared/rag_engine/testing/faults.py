"""Faults on demand: any call of any port fails, hangs, dawdles, or loses its answer.

    faults = Faults(scripted({"store.finish": {2: Fault(kind=FaultKind.APPLIED_THEN_TIMEOUT)}}))
    control = faulty("control", control, faults)

Waiting is `asyncio.sleep`, so the clock of a simulated event loop decides how long it takes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from rag_engine.errors import ModelUnavailable, RagEngineError, StoreUnavailable
from rag_engine.testing.interception import intercepted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from random import Random

T = TypeVar("T")

_MODELS = ("parser", "extractor", "embedder", "chat")


class FaultKind(StrEnum):
    """What goes wrong with a call."""

    ERROR = "error"  # it is not made; an error is raised at once
    TIMEOUT = "timeout"  # it is not made; an error is raised after a wait
    SLOW = "slow"  # it is made after a wait
    APPLIED_THEN_TIMEOUT = "applied_then_timeout"  # it is made, and its answer is lost


_NOT_MADE = (FaultKind.ERROR, FaultKind.TIMEOUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        kind: What goes wrong.
        error: Makes what is raised from a message, an error class for example; `None` for what
            the port raises when it cannot be reached.
        seconds: How long the waits take. A method that is no coroutine never waits.
    """

    kind: FaultKind
    error: Callable[[str], RagEngineError] | None = None
    seconds: float = 0.01


Plan = Callable[[str, int], Fault | None]
"""Says what goes wrong with a call, given its name and how many of that name there were with it."""


def no_faults(call: str, number: int) -> None:
    """Let everything pass."""


def always(call: str, fault: Fault) -> Plan:
    """Every call of that name meets a fault."""
    return lambda name, number: fault if name == call else None


def scripted(script: Mapping[str, Mapping[int, Fault]]) -> Plan:
    """Faults by the name of the call, and which one of that name it is, from 1."""
    return lambda call, number: script.get(call, {}).get(number)


def drawn(random: Random, chances: Mapping[str, float], faults: Sequence[Fault]) -> Plan:
    """Each call meets one of the faults by chance.

    Args:
        random: Where chance comes from; a seeded one makes the same calls fail again.
        chances: Probabilities from 0 to 1 by the name of a call, or of a port for all its calls.
        faults: What may happen, each as likely as the others.
    """

    def draw(call: str, number: int) -> Fault | None:
        del number
        chance = chances.get(call, chances.get(call.partition(".")[0], 0.0))
        return random.choice(faults) if random.random() < chance else None

    return draw


class Faults:
    """The faults of the ports that share it. It may be given another plan at any time.

    Args:
        plan: What goes wrong, and when.

    Attributes:
        calls: How often each call was made, those that met a fault too.
        injected: The faults that were met: call, its number, fault.
    """

    def __init__(self, plan: Plan = no_faults) -> None:
        self.plan = plan
        self.calls: Counter[str] = Counter()
        self.injected: list[tuple[str, int, Fault]] = []
        self._lock = threading.Lock()

    @asynccontextmanager
    async def around(self, call: str) -> AsyncIterator[None]:
        """See `Interceptor`."""
        fault = self._next(call)
        kind = fault.kind if fault else None
        if fault and kind in (FaultKind.TIMEOUT, FaultKind.SLOW):
            await asyncio.sleep(fault.seconds)
        if fault and kind in _NOT_MADE:
            raise _error(call, fault)
        yield
        if fault and kind is FaultKind.APPLIED_THEN_TIMEOUT:
            await asyncio.sleep(fault.seconds)
            raise _error(call, fault)

    @contextmanager
    def around_blocking(self, call: str) -> Iterator[None]:
        """See `Interceptor`."""
        fault = self._next(call)
        if fault and fault.kind in _NOT_MADE:
            raise _error(call, fault)
        yield
        if fault and fault.kind is FaultKind.APPLIED_THEN_TIMEOUT:
            raise _error(call, fault)

    def _next(self, call: str) -> Fault | None:
        with self._lock:
            self.calls[call] += 1
            number = self.calls[call]
            fault = self.plan(call, number)
            if fault is not None:
                self.injected.append((call, number, fault))
            return fault


def faulty(port: str, target: T, faults: Faults) -> T:
    """Wrap a port so that its calls meet faults. See `interception.intercepted`."""
    return intercepted(port, target, faults)


def _error(call: str, fault: Fault) -> RagEngineError:
    unreachable = ModelUnavailable if call.partition(".")[0] in _MODELS else StoreUnavailable
    return (fault.error or unreachable)(f"{call!r} met the fault {fault.kind.value!r}. Try again.")
