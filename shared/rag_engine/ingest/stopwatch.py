"""How long each stage of a version takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rag_engine.core.models import Stage, Version
from rag_engine.telemetry import metrics

Progress = Callable[[Version, Stage], None]
"""Told of each stage as it begins."""


class Stopwatch:
    """Measures stages, of which it is told as they begin, and passes that on.

    Args:
        progress: Told of each stage as it begins.
        clock: Seconds that only grow.
    """

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.perf_counter) -> None:
        self._progress = progress
        self._clock = clock
        self._stage: Stage | None = None
        self._began = 0.0
        self._seconds: dict[Stage, float] = {}

    def __call__(self, version: Version, stage: Stage) -> None:
        """A stage begins, and the one before it is over."""
        self.lap()
        self._stage = stage
        self._progress(version, stage)

    def lap(self) -> None:
        """What was begun is over."""
        now = self._clock()
        if self._stage is not None:
            metrics.STAGES.labels(self._stage).observe(now - self._began)
            self._seconds[self._stage] = now - self._began
        self._stage, self._began = None, now

    @property
    def seconds(self) -> Mapping[Stage, float]:
        """What each stage has taken, the one that goes on included."""
        if self._stage is None:
            return dict(self._seconds)
        return {**self._seconds, self._stage: self._clock() - self._began}
