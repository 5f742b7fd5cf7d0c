"""Isolation: code of others, run so that it ends for us whatever it does.

1. It runs in a task of its own, or in a thread: it cannot cancel, block or end what waits for it.
2. It has `GRACE_SECONDS` to obey a cancellation. Then it is left to itself, and what it says later counts for nothing.
3. Its threads are daemons: a call that never returns does not keep the process from ending.

And the other way round, `to_its_end`: work of ours that no cancellation of others may cut.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import TypeVar

import anyio

from .._seams import Clock

__all__ = ["GRACE_SECONDS", "in_thread", "is_cancelled", "isolated", "to_its_end"]

T = TypeVar("T")

GRACE_SECONDS = 1.0

_left_alone: set[asyncio.Task[object]] = set()
"""Tasks that did not obey: an event loop holds its tasks weakly."""


async def isolated(work: Coroutine[object, object, T], *, clock: Clock, seconds: float | None) -> T | None:
    """What `work` returns, or None where it took longer than so many seconds. `work` must raise nothing.

    Cancelling cancels the work too, and takes at most `GRACE_SECONDS`.
    """
    task = asyncio.create_task(work)
    try:
        await _wait(task, clock, seconds)
        return task.result() if task.done() else None
    finally:
        if not task.done():
            task.cancel()
            with anyio.CancelScope(shield=True):
                await _wait(task, clock, GRACE_SECONDS)
            if not task.done():
                _left_alone.add(task)
                task.add_done_callback(_left_alone.discard)


async def _wait(task: asyncio.Task[T], clock: Clock, seconds: float | None) -> None:
    """Wait for the task's end, at most so long; never cancels it."""
    async with anyio.create_task_group() as group:
        if seconds is not None:
            group.start_soon(_expire, clock, seconds, group.cancel_scope)
        await asyncio.wait((task,))
        group.cancel_scope.cancel()


async def _expire(clock: Clock, seconds: float, scope: anyio.CancelScope) -> None:
    await clock.sleep(seconds)
    scope.cancel()


def is_cancelled(error: BaseException) -> bool:
    """Whether this is a cancellation of ours, and not one that the code of others came to."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def in_thread(call: Callable[[], T], *, limiter: anyio.CapacityLimiter, name: str) -> T:
    """Call it in a thread and return, or raise, what it does. Cancelling stops the wait; nothing can stop a thread."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
    context = copy_context()

    def run() -> None:
        value: T | None = None
        raised: BaseException | None = None
        try:
            value = context.run(call)
        except BaseException as error:
            raised = error
        try:
            loop.call_soon_threadsafe(_settle, outcome, (value, raised))
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    async with limiter:
        threading.Thread(target=run, name=name, daemon=True).start()
        value, raised = await outcome
    if raised is not None:
        raise raised
    return value  # type: ignore[return-value]  # None only where T is


def _settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


async def to_its_end(work: Coroutine[None, None, None]) -> None:
    """Do it whole, even where the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                cancelled = error
    await task
    if cancelled is not None:
        raise cancelled
