"""Home: the event loop that an object belongs to, and the one check that everything an engine hands out makes.

What waits must wait in its own loop: a lock, an event or a task of another loop never wakes who waits for it here. So
each object asks its home before it waits, and a caller from elsewhere gets an error instead of a hang.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Protocol, TypeVar

from .errors import EngineClosed, WrongLoop

__all__ = ["FORKED", "Home", "at_home", "running_loop"]

FORKED = (
    "This engine was opened before the process forked, and it runs in the parent alone. Open an engine in each "
    "process, on a store of its own."
)

C = TypeVar("C", bound="type[_Housed]")


def running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs in this thread. Raises `WrongLoop` where there is none."""
    loop = asyncio._get_running_loop()
    if loop is None:
        raise WrongLoop(
            "No asyncio event loop runs here. Use the engine inside of `async def main()`, started by "
            "`asyncio.run(main())`, or use BlockingEngine, which needs no event loop. Trio is not supported."
        )
    return loop


class Home:
    """An event loop, and whether what lives in it is still open. Without a loop: the first one that checks.

    `because` is why it was closed, where its own program did not close it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = loop
        self.closed = False
        self.because: str | None = None
        self._pid = os.getpid()

    @property
    def forked(self) -> bool:
        """It lives in the process that this one was forked from."""
        return self._pid != os.getpid()

    @property
    def loop_ended(self) -> bool:
        """The event loop was closed, and everything that ran in it has ended."""
        return self.loop is not None and self.loop.is_closed()

    def check(self) -> None:
        """Raise `EngineClosed` where nothing lives here any more, and as `check_loop`."""
        self.check_process()
        if self.closed or self.because is not None:
            raise EngineClosed(
                self.because or "The engine that this belongs to was closed. Open it, and take this from it again."
            )
        self.check_loop()

    def check_process(self) -> None:
        """Raise `EngineClosed` in a child of a fork, where nothing of this runs."""
        if self.forked:
            raise EngineClosed(FORKED)

    def check_loop(self) -> None:
        """Raise `WrongLoop` in another event loop or in none, and `EngineClosed` where it lives no more."""
        self.check_process()
        if self.loop is None:
            self.loop = running_loop()
        if self.loop_ended:
            raise EngineClosed("The event loop that this belongs to has ended. Open the engine again in this one.")
        if running_loop() is not self.loop:
            if self.because is not None:
                raise EngineClosed(self.because)
            raise WrongLoop(
                "The engine was opened in another event loop, which has not ended: use and close it there, or use "
                "BlockingEngine, which works from every thread."
            )


class _Housed(Protocol):
    _home: Home


def at_home(kind: C) -> C:
    """Let every public coroutine method of a class check `self._home` before it begins."""
    for name, method in list(vars(kind).items()):
        if not name.startswith("_") and iscoroutinefunction(method):
            setattr(kind, name, _checked(method))
    return kind


def _checked(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(self: _Housed, *args: Any, **options: Any) -> Any:
        self._home.check()
        return await method(self, *args, **options)

    return call
