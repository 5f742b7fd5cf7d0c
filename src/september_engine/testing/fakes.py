"""Time, ids and chance that a test controls."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count, cycle

import anyio
import anyio.lowlevel
import attrs

from .._runtime.world import World

__all__ = ["FakeClock", "FakeIds", "SequenceRandom", "World"]

SETTLE = 20
"""Turns of the event loop after each wake-up, so that who was woken can go on and sleep again."""


@attrs.define(eq=False)
class FakeClock:
    """A clock that stands still until it is moved.

    `wall` (unix ms) may be set to anything at any time, as real clocks are; sleeping and `monotonic` know nothing of
    it. Only `advance` lets sleepers go on.
    """

    wall: int = 1_700_000_000_000
    _now: float = attrs.field(default=0.0, init=False)
    _sleepers: list[tuple[float, int, anyio.Event]] = attrs.field(factory=list, init=False)
    _order: count[int] = attrs.field(factory=count, init=False)
    _changed: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def now_ms(self) -> int:
        """The wall clock in unix ms."""
        return self.wall

    def monotonic(self) -> float:
        """Seconds since the clock was made; never goes back."""
        return self._now

    @property
    def sleeping(self) -> int:
        """How many tasks are asleep."""
        return len(self._sleepers)

    async def sleep(self, seconds: float, /) -> None:
        """Wait until the clock has been advanced by so many seconds. Cancelling ends the wait."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        sleeper = (self._now + seconds, next(self._order), anyio.Event())
        heapq.heappush(self._sleepers, sleeper)
        self._tell()
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let so many seconds pass, on both clocks, and wake whoever has slept enough, each at its own time.

        Cancelling leaves the clock where it had got to.
        """
        if seconds < 0:
            raise ValueError(f"Time only moves forward; {seconds} is below 0. To move the wall clock, set `wall`.")
        end = self._now + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move_to(self._sleepers[0][0])
            _, _, event = heapq.heappop(self._sleepers)
            event.set()
            await _settle()
        self._move_to(end)

    async def until_asleep(self, tasks: int = 1) -> None:
        """Wait until at least so many tasks are asleep. Cancelling changes nothing."""
        while len(self._sleepers) < tasks:
            await self._changed.wait()

    def _move_to(self, now: float) -> None:
        self.wall += round(now * 1000) - round(self._now * 1000)
        self._now = now

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


@attrs.define(eq=False)
class FakeIds:
    """Ids that count: `msg_1`, `msg_2`, `turn_1`."""

    _counts: dict[str, int] = attrs.field(factory=dict, init=False)

    def __call__(self, prefix: str, /) -> str:
        """The next id that begins so."""
        self._counts[prefix] = self._counts.get(prefix, 0) + 1
        return f"{prefix}{self._counts[prefix]}"


class SequenceRandom:
    """Chance that gives these numbers in [0, 1), over and over."""

    def __init__(self, numbers: Iterable[float] = (0.5,)) -> None:
        given = tuple(numbers)
        if not given or not all(0 <= number < 1 for number in given):
            raise ValueError(f"Chance is numbers from 0 to below 1, at least one; not {given}.")
        self._numbers = cycle(given)

    def __call__(self) -> float:
        """The next number."""
        return next(self._numbers)


async def _settle() -> None:
    for _ in range(SETTLE):
        await anyio.lowlevel.checkpoint()
