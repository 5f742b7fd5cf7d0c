"""One engine per store in a process: the one that is opened last takes it over.

A notebook's set-up cell is run again, and the engine of the first time has no name any more. So the new one closes it:
politely where its event loop runs, by taking the store away where that is blocked or over. Neither takes for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from weakref import WeakSet

import anyio
import anyio.to_thread

from ._forks import at_fork
from ._home import Home
from .errors import EngineClosed
from .store.base import Seizable, Store

__all__ = ["Tenancy", "take_over"]

ANSWER_SECONDS = 2.0
"""How long the event loop of another engine may take to answer; a blocked one would never."""

CLOSE_SECONDS = 10.0
"""How long another engine may take to close."""

_number = itertools.count()


class Tenancy:
    """One engine's use of a store, from before it opens the store until it has closed it.

    `home` is the event loop it is opened in, and is told why another engine ended it. `close` closes the engine there;
    `let_go` makes it leave the store alone, from any thread; `gone` waits so many seconds for what ends after `close`,
    such as the engine's thread.
    """

    def __init__(
        self,
        store: Store,
        home: Home,
        *,
        close: Callable[[], Awaitable[None]],
        let_go: Callable[[], None],
        gone: Callable[[float], object] | None,
    ) -> None:
        self.store = store
        self.home = home
        self.number = next(_number)
        self._close = close
        self._let_go = let_go
        self._gone = gone
        self._closing: set[asyncio.Task[None]] = set()

    def check(self) -> None:
        """Raise `EngineClosed` where another engine has taken over."""
        if self.home.because is not None:
            raise EngineClosed(self.home.because)

    def leave(self) -> None:
        """The store is closed."""
        with _here.mutex:
            _here.tenancies.discard(self)

    async def end(self, because: str) -> None:
        """Have the engine closed, from any event loop. Cancelling stops the wait, and maybe the closing."""
        self.home.because = because
        try:
            if await self._closed():
                if self._gone is not None:
                    await anyio.to_thread.run_sync(self._gone, CLOSE_SECONDS)
            else:
                self._let_go()
                if isinstance(self.store, Seizable):
                    with anyio.move_on_after(CLOSE_SECONDS):
                        await self.store.seize(because)
        finally:
            self.leave()

    async def _closed(self) -> bool:
        """Close it in its own event loop; False where that does not happen in time.

        It happens later then: what is waited for in a loop that was blocked or stopped ends when the loop goes on.
        """
        loop = self.home.loop
        assert loop is not None
        begun: Future[None] = Future()
        done: Future[None] = Future()

        def begin() -> None:
            task = asyncio.ensure_future(self._close())
            self._closing.add(task)
            task.add_done_callback(lambda task: _tell(done, task))
            begun.set_result(None)

        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError:  # it has been closed
            return False
        if not loop.is_running() or not await _in_time(begun, ANSWER_SECONDS):
            return False
        return await _in_time(done, CLOSE_SECONDS) and done.exception() is None


def _tell(done: Future[None], task: asyncio.Task[None]) -> None:
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


async def _in_time(future: Future[None], seconds: float) -> bool:
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait((waiting,), timeout=seconds)
    if not done:
        return False
    _ = waiting.cancelled() or waiting.exception()  # the one that is asked has it too
    return True


class _Here:
    """The tenancies of this process."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.tenancies: WeakSet[Tenancy] = WeakSet()

    def give_up(self) -> None:
        """In a child of a fork: the engines are the parent's."""
        self.mutex, self.tenancies = threading.Lock(), WeakSet()
        at_fork(self)


_here = _Here()


async def take_over(mine: Tenancy, name: str) -> None:
    """Close every other engine of this process on the same store, and stand in their place; `name` tells who did it.

    Of several at once, the last one to come has it in the end. Raises `EngineClosed` where that is another one.
    """
    with _here.mutex:
        at_fork(_here)
        others = [each for each in _here.tenancies if each is not mine and each.number < mine.number]
        _here.tenancies.add(mine)
    same = _identities(mine.store)
    for each in others:
        if each.store is mine.store or same & _identities(each.store):
            await each.end(
                f"Another engine in this process opened {name}, which closed this one. Use the other one; only one "
                "engine can have a store open."
            )
    mine.check()


def _identities(store: Store) -> set[object]:
    """The path of a store's first file, and what is there: a hard link is the same file by another name."""
    known: set[object] = set()
    for path in store.files[:1]:
        with suppress(OSError, ValueError):
            folder, file = os.path.split(path)
            known.add(os.path.join(os.path.realpath(folder), file))
            status = os.lstat(path)
            known.add((status.st_dev, status.st_ino))
    return known
