"""Stopwatch: how long a turn has worked. Its waits for a person do not count."""

from __future__ import annotations

import math

from .._seams import Clock

__all__ = ["Stopwatch"]


class Stopwatch:
    """Runs from its making on. It takes note of pauses only as it is told of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._paused = 0.0
        self._paused_at: float | None = None

    def note(self, *, waits: bool) -> None:
        """Whether the turn waits for nothing but a person, from now on."""
        if waits and self._paused_at is None:
            self._paused_at = self._clock.monotonic()
        elif not waits and self._paused_at is not None:
            self._paused += self._clock.monotonic() - self._paused_at
            self._paused_at = None

    def left(self, limit: float | None) -> float:
        """Seconds that are left of this many; at least one while the turn waits, for then it does not run out."""
        if limit is None:
            return math.inf
        now = self._clock.monotonic()
        elapsed = now - self._began - self._paused
        if self._paused_at is None:
            return limit - elapsed
        return max(limit - elapsed + now - self._paused_at, 1.0)
