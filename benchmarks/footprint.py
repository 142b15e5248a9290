"""What a process and its data folder take, measured again and again; whether any of it grows.

Memory, handles and threads are read from `/proc`, so this runs on Linux.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

WARM_UP: Final = 1 / 2
"""Share of a run that is not judged: caches and pools fill up."""

_BLOCK_SECONDS: Final = 30.0
_MB: Final = 1e6
_WAL_MB: Final = 200.0
"""What the write-ahead log may take: 64 MB, and what is written while a snapshot is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement; sizes are in MB, and the percentiles are of the searches since the last."""

    seconds: float
    memory: float
    handles: int
    threads: int
    database: float
    wal: float
    blobs: int
    p50_ms: float | None
    p95_ms: float | None


def resident_mb(pid: int | str = "self") -> float:
    """Memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB


class Footprint:
    """Measurements of this process and of a data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._answers: list[float] = []
        self._began: float | None = None
        self.samples: list[Sample] = []

    def answered(self, seconds: float) -> None:
        """A question was answered in this time."""
        self._answers.append(1e3 * seconds)

    async def measure(self) -> None:
        """Take a sample."""
        self.samples.append(await asyncio.to_thread(self._measured))

    def _measured(self) -> Sample:
        self._began = self._began or time.monotonic()
        answers, self._answers = self._answers, []
        status = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
        workspace = self._data / "workspaces" / "0001.sqlite"
        return Sample(
            seconds=time.monotonic() - self._began,
            memory=int(status["VmRSS"].split()[0]) * 1024 / _MB,
            handles=len(list(Path("/proc/self/fd").iterdir())),
            threads=int(status["Threads"]),
            database=_size(workspace) / _MB,
            wal=_size(workspace.with_name("0001.sqlite-wal")) / _MB,
            blobs=sum(len(files) for _, _, files in os.walk(self._data / "blobs")),
            p50_ms=statistics.median(answers) if answers else None,
            p95_ms=float(np.percentile(answers, 95)) if answers else None,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def verdict(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    """What grew after the warm-up.

    Memory, database and blobs hold when no growth is shown: the 95 % interval of the slope reaches
    to zero, or its upper end is less than a hundredth of the size in an hour of the run. Handles and
    threads come and go with what is done; they hold when the median of the last third is no more
    than two above the first third's. The write-ahead log holds when it never passes a bound.
    """
    end = samples[-1].seconds
    judged = [one for one in samples if one.seconds >= WARM_UP * end]
    first, last = judged[: len(judged) // 3], judged[-len(judged) // 3 :]
    rows: dict[str, dict[str, Any]] = {
        name: _slope(judged, lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        for name in ("memory", "database", "blobs")
    }
    for name in ("handles", "threads"):
        early, late = (
            statistics.median(getattr(one, name) for one in part) for part in (first, last)
        )
        rows[name] = {"first_third": early, "last_third": late, "holds": late <= early + 2}
    highest = max(one.wal for one in judged)
    rows["wal"] = {"highest_mb": highest, "bound_mb": _WAL_MB, "holds": highest <= _WAL_MB}
    return rows


def _slope(samples: Sequence[Sample], value: Callable[[Sample], float]) -> dict[str, Any]:
    """Growth in an hour with its 95 % interval, by least squares over blocks of half a minute.

    Neighbouring samples say nearly the same; blocks are far enough apart to count each.
    """
    blocks: dict[int, list[Sample]] = {}
    for one in samples:
        blocks.setdefault(int(one.seconds / _BLOCK_SECONDS), []).append(one)
    x = np.array([statistics.mean(one.seconds for one in b) for b in blocks.values()]) / 3600
    y = np.array([statistics.median(map(value, b)) for b in blocks.values()])
    if len(x) < 4:
        return {"mean": float(y.mean()), "per_hour": None, "holds": True}
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    error = float(np.sqrt(rest @ rest / (len(x) - 2) / (centred @ centred)))
    low, high = slope - 2.05 * error, slope + 2.05 * error
    return {
        "mean": float(y.mean()),
        "per_hour": slope,
        "interval": (low, high),
        "holds": low <= 0 or high < 0.01 * float(y.mean()),
    }


def plot(seen: dict[str, Any], path: Path) -> None:
    """Draw memory, handles, disk and the time of questions over the run."""
    from matplotlib import pyplot as plt

    samples = seen["samples"]
    minutes = [one["seconds"] / 60 for one in samples]
    panels: Sequence[tuple[str, Sequence[tuple[str, str]]]] = (
        ("memory, MB", (("memory", "resident"),)),
        ("count", (("handles", "file handles"), ("threads", "threads"))),
        ("disk, MB", (("database", "database"), ("wal", "write-ahead log"))),
        ("blobs", (("blobs", "files"),)),
        ("search, ms", (("p95_ms", "95th percentile"), ("p50_ms", "median"))),
    )
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 9), sharex=True)
    for axis, (label, lines) in zip(axes, panels, strict=True):
        for name, legend in lines:
            values = [one[name] if one[name] is not None else np.nan for one in samples]
            axis.plot(minutes, values, label=legend, linewidth=1)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.axvspan(0, seen["warm_up"] * minutes[-1], color="#eeeeee", zorder=0)
        axis.legend(loc="lower right", fontsize="small")
    axes[-1].set_xlabel("minutes (warm-up shaded)")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(
        path, metadata={"Date": None, "Creator": None} if path.suffix == ".svg" else None
    )
