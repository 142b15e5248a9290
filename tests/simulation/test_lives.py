"""Installations live their lives under faults; the same seed is the same life.

`SIMULATIONS` says how many lives for each store (without it, a few), `SEED` (default 1) the first.
`make soak` lives many more. A failure prints its seed and the command that replays it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from life import live

import places

SEED = int(os.environ.get("SEED", "1"))
SIMULATIONS = os.environ.get("SIMULATIONS")
FEW = {"memory": 12, "sqlite": 10}

EVENTS = {
    *("indexed", "failed", "cancelled", "superseded", "deleted", "refused", "worker ended"),
    *("fenced", "expired", "missed", "staged dropped", "_ask", "_hold", "_edit"),
    *("_kill", "_stop", "_pause", "_jump", "_slow", "_storm"),
}
"""What has to happen in a few lives, or they prove nothing."""


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("store", places.EMBEDDED)
def test_every_promise_holds_after_every_step(store: str) -> None:
    lives = int(SIMULATIONS) if SIMULATIONS else FEW[store]
    seen: Counter[str] = Counter()
    for seed in range(SEED, SEED + lives):
        seen += live(store, seed).seen
    print(f"{store}: {lives} lives from SEED={SEED}, seen: {dict(seen)}")
    assert lives < FEW[store] or seen.keys() >= EVENTS, EVENTS - seen.keys()


@pytest.mark.parametrize("store", places.EMBEDDED)
def test_a_seed_is_one_life_to_the_last_step(store: str) -> None:
    """In processes of their own, in which strings hash in different ways."""
    program = Path(__file__).with_name("life.py")

    def trace(hash_seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, program, store, str(SEED)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    one, other = trace("1"), trace("2")
    assert one.splitlines()[-1].split()[1] == "steps"
    assert one == other


def test_another_seed_is_another_life() -> None:
    assert live("memory", SEED).digest != live("memory", SEED + 1).digest
