"""World: time, ids and chance as they really are, in one value that tests replace."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable

import anyio
import attrs

from .._plain import configuration, plain_number, plain_text
from .._seams import Clock, CrashPoint, Ids, no_crash

__all__ = ["PlainWorld", "SystemClock", "World", "sortable_id"]


class SystemClock:
    """The machine's own time."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        await anyio.sleep(seconds)


def sortable_id(prefix: str, /) -> str:
    """A new id such as `msg_019a…`: 48 bits of time, so that ids sort as they were made, then 80 bits of chance."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@attrs.frozen(kw_only=True)
class World:
    """What the engine takes from outside. `chance` draws from [0, 1); `crash` is called at named points."""

    clock: Clock = attrs.field(factory=SystemClock)
    ids: Ids = sortable_id
    chance: Callable[[], float] = random.random
    crash: CrashPoint = no_crash


@attrs.frozen
class PlainClock:
    """Another clock, whose times are the numbers that they are taken for."""

    clock: Clock

    def now_ms(self) -> int:
        with configuration():
            return round(plain_number(self.clock.now_ms(), "world.clock.now_ms()"))

    def monotonic(self) -> float:
        with configuration():
            return plain_number(self.clock.monotonic(), "world.clock.monotonic()")

    async def sleep(self, seconds: float, /) -> None:
        await self.clock.sleep(seconds)


class PlainWorld(World):
    """Another world, with plain times and ids: what is stored as anything else could not be read again."""

    @classmethod
    def of(cls, world: World) -> World:
        """This world. What it gives that is no number or text is a `ConfigurationError` when it is asked for."""

        def ids(prefix: str, /) -> str:
            with configuration():
                return plain_text(world.ids(prefix), "world.ids(…)")

        clock = world.clock if isinstance(world.clock, SystemClock) else PlainClock(world.clock)
        return cls(clock=clock, ids=ids, chance=world.chance, crash=world.crash)
