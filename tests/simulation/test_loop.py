"""The simulated event loop: asyncio's promises kept, everything else drawn from the seed."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from rag_engine.testing.simulation import EPOCH, Stuck, simulate, simulated

if TYPE_CHECKING:
    from rag_engine.testing.simulation import SimulatedLoop


def test_time_passes_without_being_waited_for() -> None:
    async def main(loop: SimulatedLoop) -> tuple[float, float]:
        await asyncio.sleep(86_400.0)
        loop.jump(10.0)
        return loop.time(), loop.clock()

    began = time.monotonic()
    assert simulate(main, seed=1) == (86_400.0, EPOCH + 86_410.0)
    assert time.monotonic() - began < 10.0


def test_a_timeout_ends_what_takes_too_long() -> None:
    async def main(loop: SimulatedLoop) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.sleep(6.0)
        return loop.time()

    assert simulate(main, seed=1) == 5.0


def _order(seed: int, *, processes: int) -> str:
    """In which order two callbacks of each process are run."""
    ran: list[str] = []

    async def ask_twice(name: str) -> None:
        for which in "12":
            asyncio.get_running_loop().call_soon(ran.append, name + which)
        await asyncio.sleep(0.0)

    async def main(loop: SimulatedLoop) -> None:
        started = [loop.process(name) for name in "abc"[:processes]]
        await asyncio.gather(*[one.start(ask_twice(one.name)) for one in started])

    simulate(main, seed)
    return " ".join(ran)


def test_who_goes_on_is_drawn_but_within_a_process_order_is_kept() -> None:
    orders = {_order(seed, processes=3) for seed in range(20)}
    assert len(orders) > 5
    assert all(order.index(f"{one}1") < order.index(f"{one}2") for order in orders for one in "abc")
    assert {_order(seed, processes=1) for seed in range(20)} == {"a1 a2"}


def test_timers_of_one_instant_run_in_any_order() -> None:
    def order(seed: int) -> str:
        ran: list[str] = []

        async def main(loop: SimulatedLoop) -> None:
            for name in "ab":
                loop.call_at(1.0, ran.append, name)
            await asyncio.sleep(2.0)

        simulate(main, seed)
        return "".join(ran)

    assert {order(seed) for seed in range(20)} == {"ab", "ba"}


def test_what_is_killed_never_runs_again_not_even_its_finally() -> None:
    said: list[str] = []

    async def victim() -> None:
        try:
            said.append("lives")
            await asyncio.sleep(1.0)
            said.append("lives on")
        finally:
            said.append("cleans up")

    async def main(loop: SimulatedLoop) -> list[str]:
        process = loop.process("victim")
        process.start(victim())
        await asyncio.sleep(0.5)
        process.kill()
        await asyncio.sleep(100.0)
        return list(said)

    assert simulate(main, seed=1) == ["lives"]


def test_a_write_that_a_kill_came_before_is_never_made() -> None:
    made: list[int] = []

    async def main(loop: SimulatedLoop) -> int:
        for number in range(200):
            process = loop.process("writer")
            process.start(asyncio.to_thread(made.append, number))
            await asyncio.sleep(0.005)
            process.kill()
        await asyncio.sleep(100.0)
        return len(made)

    assert 0 < simulate(main, seed=1) < 200


def test_what_is_paused_goes_on_when_it_is_resumed() -> None:
    async def tick(loop: SimulatedLoop, ticks: list[float]) -> None:
        while True:
            await asyncio.sleep(1.0)
            ticks.append(loop.time())

    async def main(loop: SimulatedLoop) -> list[float]:
        ticks: list[float] = []
        process = loop.process("clock")
        process.start(tick(loop, ticks))
        await asyncio.sleep(2.5)
        process.pause()
        await asyncio.sleep(10.0)
        process.resume()
        await asyncio.sleep(2.0)
        return ticks

    assert simulate(main, seed=1) == [1.0, 2.0, 12.5, 13.5]


async def test_functions_of_one_executor_begin_in_order_and_one_at_a_time() -> None:
    begun: list[int] = []
    running: list[int] = []

    def work(number: int) -> str:
        running.append(number)
        begun.append(number)
        time.sleep(0.001)
        assert running.pop() == number
        assert not running
        return threading.current_thread().name

    async def main(loop: SimulatedLoop) -> list[str]:
        with ThreadPoolExecutor(4, thread_name_prefix="its-own") as executor:
            return await asyncio.gather(
                *[loop.run_in_executor(executor, work, number) for number in range(20)]
            )

    names = await asyncio.to_thread(simulate, main, 1)
    assert begun == list(range(20))
    assert all(name.startswith("its-own") for name in names)


def test_a_function_that_is_cancelled_in_time_is_not_run() -> None:
    made: list[str] = []

    async def main(loop: SimulatedLoop) -> None:
        loop.run_in_executor(None, made.append, "cancelled").cancel()
        await loop.run_in_executor(None, made.append, "wanted")

    simulate(main, seed=1)
    assert made == ["wanted"]


def test_an_executor_that_is_shut_down_takes_nothing() -> None:
    async def main(loop: SimulatedLoop) -> None:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            await loop.run_in_executor(executor, print)

    simulate(main, seed=1)


@pytest.mark.parametrize("wait", ["for nobody", "in circles"])
def test_who_waits_for_ever_is_told(wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag_engine.testing.simulation.MOST_STEPS", 1000)

    async def main(loop: SimulatedLoop) -> None:
        def go_round() -> None:
            loop.call_soon(go_round)

        if wait == "in circles":
            go_round()
        await loop.create_future()

    with pytest.raises(Stuck):
        simulate(main, seed=1)


def test_an_error_that_nobody_catches_ends_the_run() -> None:
    def fail() -> None:
        raise ValueError("nobody catches it")

    async def main(loop: SimulatedLoop) -> None:
        loop.call_soon(fail)
        await asyncio.sleep(1.0)

    with pytest.raises(ValueError, match="nobody"):
        simulate(main, seed=1)


def test_a_watcher_reads_at_once_while_everybody_stands_still() -> None:
    readings: list[tuple[float, str]] = []

    async def read() -> str:
        return await asyncio.to_thread(str, "read")

    async def main(loop: SimulatedLoop) -> None:
        loop.watchers.append(lambda context: readings.append((loop.time(), loop.at_once(read()))))
        await asyncio.sleep(1.0)
        loop.watchers.clear()

    simulate(main, seed=1)
    assert readings == [(0.0, "read"), (1.0, "read")]


def test_a_seed_is_a_run() -> None:
    def digest(seed: int) -> str:
        async def main(loop: SimulatedLoop) -> None:
            for _ in range(10):
                await asyncio.to_thread(loop.note, "a note")

        with simulated(seed) as loop:
            loop.run_until_complete(main(loop))
            return loop.digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)
