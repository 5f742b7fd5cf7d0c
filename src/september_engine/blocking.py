"""BlockingEngine: the engine for code that does not await, a script or a notebook cell.

One thread with an event loop lives as long as the engine does, so it works where a loop is already running, such as a
notebook's kernel, and a turn goes on between two calls. The thread is a daemon: a program that forgets to close the
engine still ends, and what was seen is in the log.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from ._blocking_memory import BlockingMemory
from ._notebook import Requests
from ._runtime.resources import AnyTool
from ._runtime.world import World
from ._turn.limits import Limits
from ._wiring import DEFAULT_SYSTEM
from .engine import Engine, Health
from .errors import EngineClosed, InvalidRequest
from .events import Event, PlanStep
from .memory.base import Embedder
from .messages import JSON, Content, Media, Message, Task, TaskDetail
from .models.base import Model
from .models.prices import Prices
from .notes import Notes
from .permissions import Policy
from .settings import Settings
from .store.base import Store
from .streams import EventStream, Replay, T, Turn, TurnResult

__all__ = ["BlockingEngine", "BlockingMemory", "BlockingNotes", "BlockingTurn"]

R = TypeVar("R")


class BlockingTurn(Generic[T]):
    """One turn, already under way. Iterate it for its events, as often as you like; `result` waits for its end."""

    def __init__(self, engine: BlockingEngine, turn: Turn[T]) -> None:
        self._engine = engine
        self._turn = turn
        self.task_id = turn.task_id
        self.turn_id = turn.turn_id

    def __repr__(self) -> str:
        return f"<BlockingTurn {self.turn_id} of task {self.task_id!r}>"

    def _repr_html_(self) -> str:
        """The card that a notebook shows: the turn as far as it has come, with its images."""
        return self._turn._repr_html_()

    def __iter__(self) -> Iterator[Event]:
        """The events from the first on. Leaving the loop stops the reading, not the turn."""
        return self._engine._events(self._turn.__aiter__)

    def result(self) -> TurnResult[T]:
        """Wait for the end. Raises what `Turn.result` raises."""
        return self._engine._call(self._turn.result)

    @property
    def text(self) -> str:
        """The whole answer, once it is there."""
        return self.result().text


class BlockingNotes:
    """`Notes` without `await`: working memory by task. Each method raises what the one of `Notes` raises."""

    def __init__(self, engine: BlockingEngine, notes: Notes) -> None:
        self._engine = engine
        self._notes = notes

    def get(self, task_id: str) -> dict[str, JSON]:
        """Everything that is noted now, by key."""
        return self._engine._call(lambda: self._notes.get(task_id))

    def set(self, task_id: str, key: str, value: JSON, *, minutes: float | None = None) -> None:
        """Note one value, for so many minutes or for good."""
        self._engine._call(lambda: self._notes.set(task_id, key, value, minutes=minutes))

    def update(self, task_id: str, values: Mapping[str, JSON], *, minutes: float | None = None) -> None:
        """Note several values at once; one of None removes its key."""
        self._engine._call(lambda: self._notes.update(task_id, values, minutes=minutes))

    def delete(self, task_id: str, key: str) -> bool:
        """Remove one key; False where it was not there."""
        return self._engine._call(lambda: self._notes.delete(task_id, key))


class BlockingEngine:
    """`Engine` without `await`: the same arguments, and the same methods but for those that a server needs.

    It opens when first used and is closed by `with` or `close`. Any thread may call it, at any time, several at once.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        model: Model | str | None = None,
        fallback: Model | str | None = None,
        planner: Model | str | None = None,
        light: Model | str | None = None,
        tools: Iterable[AnyTool] = (),
        notes: Mapping[str, Any] | Literal["any"] | None = None,
        memory: bool = False,
        embedder: Embedder | None = None,
        distil: bool | Model | None = None,
        policy: Policy | None = None,
        system: str = DEFAULT_SYSTEM,
        limits: Limits | None = None,
        prices: Prices | None = None,
        settings: Settings | None = None,
        progress_timeout: float = 120.0,
        world: World | None = None,
    ) -> None:
        self._engine = Engine(
            store,
            model=model,
            fallback=fallback,
            planner=planner,
            light=light,
            tools=tools,
            notes=notes,
            memory=memory,
            embedder=embedder,
            distil=distil,
            policy=policy,
            system=system,
            limits=limits,
            prices=prices,
            settings=settings,
            progress_timeout=progress_timeout,
            world=world,
        )
        self._gate = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._portal: BlockingPortal | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Blocking{repr(self._engine)[1:]}"

    def open(self) -> Self:
        """Start the engine's thread and open the engine. Raises what `Engine.open` raises."""
        self._running()
        return self

    def _running(self) -> BlockingPortal:
        self._check_caller()
        with self._gate:
            if self._closed:
                raise EngineClosed("This engine was closed. Make a new one.")
            if self._portal is None:
                started: Future[BlockingPortal] = Future()
                self._thread = threading.Thread(
                    target=anyio.run, args=(_host, started), name="september-engine", daemon=True
                )
                self._pid = os.getpid()
                self._thread.start()
                try:
                    self._portal = self._opened(started.result())
                except BaseException:  # Ctrl-C too, which may come when the engine is open already
                    self._portal = None
                    self._stop(started.result())
                    raise
            return self._portal

    def _opened(self, portal: BlockingPortal) -> BlockingPortal:
        opening = portal.start_task_soon(self._engine.open)
        try:
            opening.result()
        except BaseException:
            opening.cancel()
            portal.call(self._aclose, 0.0)
            raise
        return portal

    def _check_caller(self) -> None:
        """Where a call could only wait for itself, or for a thread that is not there, it says so."""
        if self._thread is None:
            return
        if self._pid != os.getpid():
            raise EngineClosed(
                "This engine was opened before the process forked, and its thread is not in this one. Open an engine "
                "in each process, on a store of its own."
            )
        if threading.current_thread() is self._thread:
            raise InvalidRequest(
                "An async tool runs in this engine's own event loop and cannot wait for it. Make the tool sync "
                "(`def` instead of `async def`), or use Engine and await it."
            )

    def close(self, *, drain: float | None = None) -> None:
        """Wait for running turns, at most `drain` seconds, and close. Harmless when repeated."""
        self._check_caller()
        with self._gate:
            self._closed = True
            portal, self._portal = self._portal, None
        if portal is not None:
            try:
                portal.call(self._aclose, drain)
            finally:
                self._stop(portal)

    def _stop(self, portal: BlockingPortal) -> None:
        portal.start_task_soon(portal.stop, True)
        assert self._thread is not None
        self._thread.join()

    async def _aclose(self, drain: float | None) -> None:
        await self._engine.aclose(drain=drain)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=None if kind is None else 0.0)

    def _call(self, work: Callable[[], Awaitable[R]]) -> R:
        portal = self._running()
        try:
            return portal.call(work)
        except (CancelledError, RuntimeError) as error:
            if not self._closed:
                raise
            raise EngineClosed("This engine was closed meanwhile.") from error

    def _events(self, read: Callable[[], EventStream]) -> Iterator[Event]:
        stream = read()
        while (event := self._call(lambda: _next(stream))) is not None:
            yield event

    def execute(
        self,
        message: str,
        *,
        task_id: str,
        media: Sequence[Media] = (),
        direct: bool = False,
        edit_message_id: str | None = None,
        retry_message_id: str | None = None,
        limits: Limits | None = None,
        output: type[T] | None = None,
    ) -> BlockingTurn[T]:
        """Start one turn and return it for reading. Raises what `Engine.execute` raises."""

        async def start() -> Turn[T]:  # async, because a portal would await the turn itself
            return self._engine.execute(
                message,
                task_id=task_id,
                media=media,
                direct=direct,
                edit_message_id=edit_message_id,
                retry_message_id=retry_message_id,
                limits=limits,
                output=output,
            )

        return BlockingTurn(self, self._call(start))

    def replay(self, *, task_id: str | None = None, after: int = 0) -> Iterator[Event]:
        """What is kept of a task's events after a cursor, then the live turn to its end."""

        async def start() -> Replay:  # async, because it must be made in the engine's loop
            return self._engine.replay(task_id=task_id, after=after)

        return self._events(self._call(start).__aiter__)

    def cancel(self, task_id: str) -> bool:
        """Stop the running turn and wait for its end; True if there was one."""
        return self._call(lambda: self._engine.cancel(task_id))

    def pending(self) -> Requests:
        """Every request that waits for a person: a list that a notebook can show."""
        return self._call(self._engine.pending)

    def respond(
        self,
        task_id: str,
        answer: str,
        *,
        request_id: str | None = None,
        feedback: str | None = None,
        content_blocks: Sequence[Media] = (),
        remember: bool = False,
    ) -> str:
        """Answer a request; returns its id. Raises what `Engine.respond` raises."""
        return self._call(
            lambda: self._engine.respond(
                task_id,
                answer,
                request_id=request_id,
                feedback=feedback,
                content_blocks=content_blocks,
                remember=remember,
            )
        )

    def tasks(self, *, before: str | None = None, limit: int = 50) -> list[Task]:
        """Tasks, newest first."""
        return self._call(lambda: self._engine.tasks(before=before, limit=limit))

    def task(self, task_id: str) -> TaskDetail:
        """One task with its branches."""
        return self._call(lambda: self._engine.task(task_id))

    def messages(
        self, task_id: str, *, before: str | None = None, limit: int = 100, branch: str | None = None
    ) -> list[Message]:
        """The last messages of the branch the thread stands on, or of another one, oldest first."""
        return self._call(lambda: self._engine.messages(task_id, before=before, limit=limit, branch=branch))

    def plan(self, task_id: str) -> list[PlanStep]:
        """The plan that the thread has now; [] where there is none."""
        return self._call(lambda: self._engine.plan(task_id))

    @property
    def notes(self) -> BlockingNotes:
        """Working memory: what is noted, by task and key."""
        return BlockingNotes(self, self._engine.notes)

    @property
    def memory(self) -> BlockingMemory:
        """Long-term memory, where the engine was made with it."""
        return BlockingMemory(self._call, lambda: self._engine.memory)

    def remembered(self) -> None:
        """Wait until what turns that have ended leave is in long-term memory."""
        self._call(self._engine.remembered)

    def media(self, task_id: str, sha256: str) -> Content:
        """The content of an image or document by the `sha256` in its block."""
        return self._call(lambda: self._engine.media(task_id, sha256))

    def delete(self, task_id: str) -> bool:
        """Remove a task with everything in it."""
        return self._call(lambda: self._engine.delete(task_id))

    def health(self) -> Health:
        """Whether a turn could be taken now."""
        return self._call(self._engine.health)


async def _host(started: Future[BlockingPortal]) -> None:
    async with BlockingPortal() as portal:
        started.set_result(portal)
        await portal.sleep_until_stopped()


async def _next(stream: AsyncIterator[Event]) -> Event | None:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None
