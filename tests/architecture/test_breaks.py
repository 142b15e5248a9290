"""Each change of `scripts/break_promises.py` still fits the code, so that each suite can be tried."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
BREAKS = runpy.run_path(str(ROOT / "scripts/break_promises.py"))["BREAKS"]


def test_every_break_fits_exactly_one_place() -> None:
    found = {
        f"{one.promise}: {one.says}": (ROOT / one.file).read_text("utf-8").count(one.old)
        for one in BREAKS
    }
    assert {says: count for says, count in found.items() if count != 1} == {}
