"""What the engine takes from outside: time, ids, chance, and the places where a test may kill it.

Only shapes live here. The real ones are made in `_runtime/world.py`; tests pass their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

__all__ = ["Clock", "CrashPoint", "Ids", "no_crash"]


class Clock(Protocol):
    """Time. `now_ms` is the wall clock in unix ms and may jump; `monotonic` is seconds and never goes back."""

    def now_ms(self) -> int: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float, /) -> None: ...


class Ids(Protocol):
    """New ids: `ids("msg_")` gives `msg_…`, never the same twice."""

    def __call__(self, prefix: str, /) -> str: ...


CrashPoint: TypeAlias = Callable[[str], None]
"""Called with the name of a point in the code at which a test may end the process."""


def no_crash(name: str, /) -> None:
    """What runs at a crash point in production: nothing."""
