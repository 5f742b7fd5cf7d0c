"""Stopwatch: how long a turn has worked. Its waits for a person do not count."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .._seams import Clock
from .._turn.facts import Fact, TurnResumed
from .._turn.state import TurnState, evolve

__all__ = ["Stopwatch", "worked"]


def worked(facts: Sequence[Fact], last_ts: int) -> float:
    """Seconds that a turn had worked in other processes, as far as its log tells; its last event is of `last_ts`.

    When a process died is not known: what it had begun since the fact before does not count, nor does the time until
    the turn was resumed.
    """
    total, state, before = 0, TurnState(), facts[0].at if facts else last_ts
    for fact in facts:
        if state.waiting_since is None and not isinstance(fact, TurnResumed):
            total += max(fact.at - before, 0)
        before, state = fact.at, evolve(state, fact)
    if state.waiting_since is None:
        total += max(last_ts - before, 0)
    return total / 1000


class Stopwatch:
    """Runs from its making on, where the turn has worked for so many seconds. It knows of pauses what it is told."""

    def __init__(self, clock: Clock, *, worked: float = 0.0) -> None:
        self._clock = clock
        self._began = clock.monotonic() - worked
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
