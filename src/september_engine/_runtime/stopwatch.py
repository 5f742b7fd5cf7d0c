"""Stopwatch: how long a turn has worked, without its waits for a person; and patience: how long a model is silent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio

from .._seams import Clock
from .._turn.facts import Fact, TurnResumed
from .._turn.state import TurnState, evolve

__all__ = ["Patience", "Stopwatch", "worked"]


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
    """Runs from when it is made, with the seconds that the turn `worked` before. Of pauses it knows what it is told."""

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


class Patience:
    """With a model that must not be silent for longer than this many seconds. Pings do not break a silence."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._heard: float | None = None
        self._scope = anyio.CancelScope()

    @contextmanager
    def over(self) -> Iterator[None]:
        """Over one attempt, which is left where the silence gets too long."""
        self._scope = anyio.CancelScope()
        self.heard()
        try:
            with self._scope:
                yield
        finally:
            self._heard = None

    def heard(self) -> None:
        """The model said something."""
        self._heard = self._clock.monotonic()

    def left(self, now: float) -> float:
        """Seconds that it may still be silent at this time, all of them where no attempt is under way.

        At 0 the attempt is given up.
        """
        if self._heard is None:
            return self._seconds
        left = self._heard + self._seconds - now
        if left <= 0:
            self._scope.cancel()
        return max(left, 0.0)
