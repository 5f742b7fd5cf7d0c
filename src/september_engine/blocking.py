"""BlockingEngine: the engine for code that does not await, a script or a notebook cell.

One thread with an event loop lives as long as the engine does, so it works where a loop is already running, such as a
notebook's kernel, and a turn goes on between two calls.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ._runtime.effects import AnyTool
from ._turn.limits import Limits
from .engine import DEFAULT_SYSTEM, Engine, Health
from .errors import EngineClosed
from .events import Event, HitlRequest
from .messages import Block, Message, Task, TaskDetail
from .models.base import Model
from .settings import Settings
from .store.base import Store
from .streams import EventStream, Turn, TurnResult

__all__ = ["BlockingEngine", "BlockingTurn"]

T = TypeVar("T")


class BlockingTurn:
    """One turn, already under way. Iterate it for its events, as often as you like; `result` waits for its end."""

    def __init__(self, portal: BlockingPortal, turn: Turn) -> None:
        self._portal = portal
        self._turn = turn
        self.task_id = turn.task_id
        self.turn_id = turn.turn_id

    def __iter__(self) -> Iterator[Event]:
        """The events from the first on. Leaving the loop stops the reading, not the turn."""
        return _events(self._portal, self._turn.__aiter__())

    def result(self) -> TurnResult:
        """Wait for the end. Raises what `Turn.result` raises."""
        return self._portal.call(self._turn.result)

    @property
    def text(self) -> str:
        """The whole answer, once it is there."""
        return self.result().text


class BlockingEngine:
    """`Engine` without `await`: the same arguments, the same methods.

    It opens when first used and is closed by `with` or `close`.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        model: Model | str | None = None,
        fallback: Model | str | None = None,
        tools: Iterable[AnyTool] = (),
        system: str = DEFAULT_SYSTEM,
        limits: Limits | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._engine = Engine(
            store, model=model, fallback=fallback, tools=tools, system=system, limits=limits, settings=settings
        )
        self._context: AbstractContextManager[BlockingPortal] | None = None
        self._open_portal: BlockingPortal | None = None
        self._closed = False

    def open(self) -> Self:
        """Start the engine's thread and open the engine. Raises what `Engine.open` raises."""
        if self._closed:
            raise EngineClosed("This engine was closed. Make a new one.")
        if self._open_portal is None:
            context = start_blocking_portal("asyncio")
            portal = context.__enter__()
            try:
                portal.call(self._engine.open)
            except BaseException:
                context.__exit__(None, None, None)
                raise
            self._context, self._open_portal = context, portal
        return self

    def close(self, *, drain: float | None = None) -> None:
        """Wait for running turns, at most `drain` seconds, and close. Harmless when repeated."""
        self._closed = True
        context, portal = self._context, self._open_portal
        self._context = self._open_portal = None
        if context is None or portal is None:
            return
        try:
            portal.call(self._aclose, drain)
        finally:
            context.__exit__(None, None, None)

    async def _aclose(self, drain: float | None) -> None:
        await self._engine.aclose(drain=drain)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=None if kind is None else 0.0)

    @property
    def _portal(self) -> BlockingPortal:
        self.open()
        assert self._open_portal is not None
        return self._open_portal

    def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        return self._portal.call(work)

    def execute(
        self,
        message: str,
        *,
        task_id: str,
        media: Sequence[Block] = (),
        direct: bool = False,
        edit_message_id: str | None = None,
        retry_message_id: str | None = None,
    ) -> BlockingTurn:
        """Start one turn and return it for reading. Raises what `Engine.execute` raises."""

        async def start() -> Turn:  # async, because a portal would await the turn itself
            return self._engine.execute(
                message,
                task_id=task_id,
                media=media,
                direct=direct,
                edit_message_id=edit_message_id,
                retry_message_id=retry_message_id,
            )

        portal = self._portal
        return BlockingTurn(portal, portal.call(start))

    def replay(self, *, task_id: str | None = None, after: int = 0) -> Iterator[Event]:
        """What is kept of a task's events after a cursor, then the live turn to its end."""
        portal = self._portal
        return _events(portal, portal.call(lambda: self._engine.replay(task_id=task_id, after=after).__aiter__()))

    def cancel(self, task_id: str) -> bool:
        """Stop the running turn and wait for its end; True if there was one."""
        return self._call(lambda: self._engine.cancel(task_id))

    def pending(self) -> list[HitlRequest]:
        """Every request that waits for a person."""
        return self._call(self._engine.pending)

    def respond(self, task_id: str, answer: str, *, request_id: str | None = None, feedback: str | None = None) -> str:
        """Answer a request; returns its id."""
        return self._call(lambda: self._engine.respond(task_id, answer, request_id=request_id, feedback=feedback))

    def tasks(self, *, before: str | None = None, limit: int = 50) -> list[Task]:
        """Tasks, newest first."""
        return self._call(lambda: self._engine.tasks(before=before, limit=limit))

    def task(self, task_id: str) -> TaskDetail:
        """One task with its branches."""
        return self._call(lambda: self._engine.task(task_id))

    def messages(self, task_id: str, *, before: str | None = None, limit: int = 100) -> list[Message]:
        """The last messages of the branch the thread stands on, oldest first."""
        return self._call(lambda: self._engine.messages(task_id, before=before, limit=limit))

    def delete(self, task_id: str) -> bool:
        """Remove a task with everything in it."""
        return self._call(lambda: self._engine.delete(task_id))

    def health(self) -> Health:
        """Whether a turn could be taken now."""
        return self._call(self._engine.health)


def _events(portal: BlockingPortal, stream: EventStream) -> Iterator[Event]:
    while (event := portal.call(_next, stream)) is not None:
        yield event


async def _next(stream: AsyncIterator[Event]) -> Event | None:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None
