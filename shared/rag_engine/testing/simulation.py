"""An event loop without time of its own: asyncio code run one exact way, told by a seed.

    def test_something() -> None:
        simulate(lambda loop: something(loop), seed=17)

Nothing here sleeps, and nothing depends on the machine: `loop.time()` jumps to the next timer when
nobody has anything to do. What the operating system would decide is drawn from the seed instead:

* Each `Process` stands for one of the operating system's, with an event loop of its own. Which one
  goes on is drawn; within one, callbacks run in the order they were asked for, as asyncio promises.
  Timers that are due at the same instant run in any order.
* `run_in_executor` and `asyncio.to_thread` run a function whole, at an instant of its own, with a
  drawn time before and after it. Functions of one executor begin in the order they were handed in.
  They do run on their executor's threads, but the loop waits for each: no two run at the same time.
  So a transaction of SQLite is never interleaved with another, and nothing ever waits for a lock.
* A process can be killed (nothing of it ever runs again, no `finally` either), and paused (nothing
  of it runs until it is resumed, as in a long garbage collection or when a laptop sleeps).

The same seed gives the same run on the same version of Python, whatever hash seed it has; `digest`
proves it. There are no sockets, no signals and no child processes.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack
from weakref import WeakKeyDictionary

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH: Final = 1_700_000_000.0
"""What `SimulatedLoop.clock` says at the beginning, in seconds since 1970."""

MOST_STEPS: Final = 500_000
"""Callbacks after which a run is taken for one that never ends."""

_REMEMBERED: Final = 120
_MOMENT: Final = 1e-6

_process: contextvars.ContextVar[Process] = contextvars.ContextVar("simulated process")


if TYPE_CHECKING:
    # What a loop may leave out is abstract for type checkers alone.
    _Loop = asyncio.BaseEventLoop
else:
    _Loop = asyncio.AbstractEventLoop


class Stuck(Exception):
    """Somebody waits for what nobody will do, or goes round in circles."""


class Process:
    """What lives and dies together. Make one with `SimulatedLoop.process`.

    Attributes:
        name: For the trace.
        slowness: Its executors take so many times as long as they would.
    """

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.slowness = 1.0
        self.paused = False
        self.alive = True
        # Held here, or a task of a killed process would be collected and its `finally` run.
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.ready: deque[tuple[asyncio.Handle, contextvars.Context]] = deque()
        self._loop = loop

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine in this process, and with it all that it starts."""
        context = contextvars.copy_context()
        context.run(_process.set, self)
        return self._loop.create_task(coroutine, context=context)

    def kill(self) -> None:
        """Let nothing of it run ever again, as SIGKILL does."""
        self.alive = False
        self._loop.note(f"kill {self.name}")

    def pause(self) -> None:
        """Let nothing of it run until it is resumed. Time passes meanwhile."""
        self.paused = True
        self._loop.note(f"pause {self.name}")

    def resume(self) -> None:
        """Go on where it was paused."""
        self.paused = False
        self._loop.note(f"resume {self.name}")

    @property
    def can_go_on(self) -> bool:
        """Whether it has something to do and is let."""
        return bool(self.ready) and self.alive and not self.paused


class SimulatedLoop(_Loop):
    """See the module. Made and closed by `simulate`.

    Attributes:
        random: All chance of the run comes from here.
        watchers: Called between two steps with the context of the one that was made. They may read
            with `at_once`, and raise what they find wrong.
        trace: The last notes, for whoever has to understand a failure.
    """

    def __init__(self, seed: object) -> None:
        self.random = random.Random(str(seed))  # noqa: S311 - to be repeated, not to be secret
        self.watchers: list[Callable[[contextvars.Context], None]] = []
        self.trace: deque[str] = deque(maxlen=_REMEMBERED)
        self.steps = 0
        self._most_steps = MOST_STEPS
        self._time = 0.0
        self._ahead = 0.0
        self._digest = hashlib.sha256()
        self._numbers = count()
        self._timers: list[tuple[float, float, int, asyncio.TimerHandle, contextvars.Context]] = []
        self._last_start: WeakKeyDictionary[Executor, float] = WeakKeyDictionary()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="simulated")
        self._errors: list[BaseException] = []
        self._burying = False
        self._running = self._closed = False
        self._main = Process(self, "main")
        self._observer = Process(self, "observer")
        self._processes = [self._main]

    # ------------------------------------------------------------------ for those who simulate

    def process(self, name: str) -> Process:
        """Start another process, in which nothing runs yet."""
        started = Process(self, name)
        self._processes.append(started)
        return started

    def clock(self) -> float:
        """The time of day, in seconds since 1970: what stores are to tell time by."""
        return EPOCH + self._time + self._ahead

    def jump(self, seconds: float) -> None:
        """Set the time of day forward for everybody. Timers do not notice, as with a real one."""
        self._ahead += seconds
        self.note(f"the clock jumps by {seconds:.3f} s")

    def note(self, what: str) -> None:
        """Add a line to the trace. It must be the same in every run of the seed."""
        line = f"{self._time:12.6f}  {what}"
        self.trace.append(line)
        self._digest.update(line.encode("utf-8", "backslashreplace"))

    @property
    def digest(self) -> str:
        """Hash of every step that was made and every note."""
        return self._digest.hexdigest()

    def at_once(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end at this instant, while every process stands still.

        It is for watchers: a task cannot run inside another.

        Raises:
            Stuck: It waits for something that only time or another process can bring.
        """
        if asyncio.current_task(self) is not None:
            coroutine.close()
            raise RuntimeError("A task is running. Await the coroutine instead.")
        task = self._observer.start(coroutine)
        while not task.done():
            if not self._observer.ready:
                raise Stuck(f"{coroutine!r} cannot be run at once: it waits for somebody else.")
            self._run(self._observer)
        while self._observer.ready:
            self._run(self._observer)
        return task.result()

    # ------------------------------------------------------------------ steps

    def run_forever(self) -> None:
        """Make steps until `stop` is called. See `run_until_complete`."""
        self._run_until(lambda: False)

    def run_until_complete(self, future: Any) -> Any:
        """Make steps until a coroutine has come to its end, and return what came of it.

        Raises:
            Stuck: Nobody has anything to do, now or later, or it takes more than `MOST_STEPS`.
        """
        task = self._main.start(future) if asyncio.iscoroutine(future) else future
        self._run_until(task.done)
        return task.result()

    def _run_until(self, done: Callable[[], bool]) -> None:
        previous = asyncio._get_running_loop()  # noqa: SLF001 - made for those who write loops
        asyncio._set_running_loop(self)  # noqa: SLF001
        self._running = True
        try:
            while self._running and not done():
                self._step()
        finally:
            self._running = False
            asyncio._set_running_loop(previous)  # noqa: SLF001

    def stop(self) -> None:
        """Make no step after this one."""
        self._running = False

    def _step(self) -> None:
        able = [one for one in self._processes if one.can_go_on]
        if not able:
            self._wait()
            return
        chosen = able[0] if len(able) == 1 else self.random.choice(able)
        self._digest.update(f"{self._time!r} {chosen.name}\n".encode())
        context = self._run(chosen)
        if not self._burying:
            for watch in self.watchers:
                watch(context)
            if self._errors:
                raise self._errors[0]
        self.steps += 1
        if self.steps > self._most_steps:
            raise Stuck(f"After {MOST_STEPS} steps there is no end. Look for a loop in the trace.")

    def _run(self, process: Process) -> contextvars.Context:
        handle, context = process.ready.popleft()
        if not handle.cancelled():
            handle._run()  # noqa: SLF001 - what a loop is for
        return context

    def _wait(self) -> None:
        """Let time pass until the next timer is due, and ready all that are due with it."""
        if not self._timers:
            raise Stuck("Everybody waits for somebody else. Look at the trace.")
        self._time = max(self._time, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._time:
            *_, handle, context = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._enqueue(handle, context)

    def _enqueue(self, handle: asyncio.Handle, context: contextvars.Context) -> None:
        context.get(_process, self._main).ready.append((handle, context))

    # ------------------------------------------------------------------ what asyncio asks of a loop

    def time(self) -> float:
        """Seconds since the run began; they pass only while nobody has anything to do."""
        return self._time

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """See asyncio: in the order they are asked for, within a process."""
        context = context or contextvars.copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle, context)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """See `call_soon`: the loop waits for every thread it knows, so each of them may call."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        context = context or contextvars.copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        entry = (when, self.random.random(), next(self._numbers), handle, context)
        heapq.heappush(self._timers, entry)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asked for by asyncio: a cancelled timer is passed over when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """See asyncio. The task belongs to the process that starts it."""
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, **options)
        context = options.get("context") or contextvars.copy_context()
        tasks = context.get(_process, self._main).tasks
        tasks[task] = None
        task.add_done_callback(lambda done: tasks.pop(done, None), context=context)
        return task

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function whole, at an instant to come; see the module."""
        future: asyncio.Future[T] = self.create_future()
        start = self._time + self._delay()
        if executor is not None:
            start = max(start, self._last_start.get(executor, 0.0) + _MOMENT)
            self._last_start[executor] = start
        execute = partial(self._execute, executor or self._threads, partial(func, *args), future)
        if self._now_is_observer():
            self.call_soon(execute)
        else:
            self.call_at(start, execute)
        return future

    def _execute(
        self, executor: Executor, function: Callable[[], T], future: asyncio.Future[T]
    ) -> None:
        if future.cancelled():  # in time: it had not begun
            return
        try:
            done = executor.submit(function)
        except RuntimeError as refusal:  # the executor was shut down meanwhile
            future.set_exception(refusal)
            return
        error = done.exception()
        if error is None:
            tell = partial(_tell, future, future.set_result, done.result())
        else:
            tell = partial(_tell, future, future.set_exception, error)
        if self._now_is_observer():
            tell()
        else:
            self.call_later(self._delay(), tell)

    def _delay(self) -> float:
        """Mostly a moment, now and then as long as a busy disk takes."""
        if self._now_is_observer() or self._burying:
            return 0.0
        slow = self.random.random() < 0.02
        seconds = self.random.uniform(0.05, 1.0) if slow else self.random.uniform(0.0, 0.01)
        return seconds * _process.get(self._main).slowness

    def _now_is_observer(self) -> bool:
        return _process.get(self._main) is self._observer

    def is_running(self) -> bool:
        """See asyncio."""
        return self._running

    def is_closed(self) -> bool:
        """See asyncio."""
        return self._closed

    def get_debug(self) -> bool:
        """Always false: debugging would look at the real time."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """End the run with the error that nobody caught."""
        if not self._burying:
            message = context.get("message", "an error nobody caught")
            self._errors.append(context.get("exception") or RuntimeError(message))

    def bury(self) -> None:
        """Cancel all that is left, of killed processes too, and let it come to its end."""
        self._burying = True
        self._most_steps = self.steps + MOST_STEPS
        everybody = [self._observer, *self._processes]
        self._processes = everybody
        for process in everybody:
            process.alive, process.paused = True, False
        while left := [one for process in everybody for one in process.tasks if not one.done()]:
            for task in left:
                task.cancel()
            self.run_until_complete(asyncio.wait(left))

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()
        self._closed = True


def _tell(future: asyncio.Future[Any], settle: Callable[[Any], None], outcome: Any) -> None:
    if not future.cancelled():
        settle(outcome)


@contextmanager
def simulated(seed: object) -> Iterator[SimulatedLoop]:
    """A loop for the time of the context. At its end all that is left is cancelled."""
    loop = SimulatedLoop(seed)
    try:
        yield loop
    finally:
        loop.bury()
        loop.close()


def simulate(main: Callable[[SimulatedLoop], Coroutine[Any, Any, T]], seed: object) -> T:
    """Run a coroutine on a loop of its own, and return what came of it.

    Args:
        main: Makes the coroutine, given its loop.
        seed: Decides all that is left to chance, by its text.
    """
    with simulated(seed) as loop:
        result: T = loop.run_until_complete(main(loop))
        return result
