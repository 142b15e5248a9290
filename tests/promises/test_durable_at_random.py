"""Promise 4, Durable, at random moments: documents come, change and go while workers die.

`KILLS=200 SEED=1` sets how often and from which seed; `make soak` does.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from random import Random
from typing import Final

import pytest
from campaign import WHOEVER, Campaign, check
from crashing import Nursery, Task
from survival import assert_ended

import places

KILLS: Final = int(os.environ.get("KILLS", "30"))
SEED: Final = int(os.environ.get("SEED", "1"))


@pytest.mark.timeout(60 + 4 * KILLS)
def test_killed_at_any_moment() -> None:
    print(f"SEED={SEED} KILLS={KILLS}")
    random = Random(SEED)
    with places.folder() as folder, Nursery() as writer, Nursery() as worker:
        where = Task(folder=str(folder / "data"), now=None)
        campaign = Campaign(where, random, writer, worker)
        for _ in range(KILLS):
            campaign.start()
            time.sleep(random.uniform(0.01, 0.4))
            campaign.kill(*random.choice([("worker",), ("worker",), ("writer",), WHOEVER]))
            check(*campaign.look(), ended=False)
        campaign.start()
        time.sleep(0.2)
        campaign.kill(*WHOEVER)
        # By the true time, at which all leases are held: whose process is gone must be noticed.
        assert worker.run(replace(where, steps=[("work",)])).code == 0
        seen, history = campaign.look()
    check(seen, history, ended=True)
    assert_ended(seen)
    assert len(history.steps) > KILLS
