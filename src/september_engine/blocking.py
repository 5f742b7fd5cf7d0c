"""BlockingEngine: the engine for code that does not await, a script or a notebook cell.

One thread with an event loop lives as long as the engine does, so it works where a loop is already running, such as a
notebook's kernel, and a turn goes on between two calls. The thread is a daemon: a program that forgets to close the
engine still ends, and what was seen is in the log.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, nullcontext, suppress
from inspect import isawaitable, iscoroutinefunction
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, overload

import anyio
from anyio.from_thread import BlockingPortal

from ._asking import OnRequest, asking, checked, say_who_waits
from ._blocking_memory import BlockingMemory
from ._forks import LoopFiles, at_fork
from ._home import FORKED
from ._notebook import Requests
from ._runtime.resources import AnyTool
from ._runtime.world import World
from ._turn.limits import Limits
from ._wiring import DEFAULT_SYSTEM
from .engine import Engine, Health
from .errors import EngineClosed, EngineError, InvalidRequest
from .events import Event, HitlRequest, PlanStep
from .memory.base import Embedder
from .messages import JSON, Content, Media, Message, Task, TaskDetail
from .models.base import Model
from .models.prices import Prices
from .notes import Notes
from .permissions import Policy
from .settings import Settings
from .store.base import CompactReport, OnProgress, Store
from .streams import EventStream, Replay, T, Turn, TurnResult

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["BlockingEngine", "BlockingMemory", "BlockingNotes", "BlockingTurn"]

R = TypeVar("R")


class BlockingTurn(Generic[T]):
    """One turn, already under way. Iterate it for its events, as often as you like; `result` waits for its end.

    Ctrl-C (in a notebook: interrupting the cell) while one of them waits cancels the turn, so that the next message is
    answered. To watch a turn that shall go on whatever you do, read `BlockingEngine.replay`.
    """

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

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {**self._turn._repr_mimebundle_(), "text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        """Show it in the cell that runs, and keep that up to date until the turn ends."""
        self._turn._ipython_display_()

    def __iter__(self) -> Iterator[Event]:
        """The events from the first on. Leaving the loop stops the reading, not the turn."""
        with self._engine._giving_up([self._turn]):
            yield from self._engine._events(self._turn.__aiter__)

    def result(self, *, on_request: OnRequest | None = None) -> TurnResult[T]:
        """Wait for the end. Raises what `Turn.result` raises.

        A plain `on_request` is called in this thread, so it may ask at the keyboard (`input`); an async one in the
        engine's event loop. Any other thread may answer, too.
        """
        with self._engine._giving_up([self._turn]):
            return self._engine._served(self._turn, checked(on_request) or self._turn._on_request or say_who_waits)

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

    Opened on a store that another engine of this process has open, it takes over: the other one is closed and says so.
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
        self._started: Future[BlockingPortal] = Future()
        self._portal: BlockingPortal | None = None
        self._closed: str | None = None
        self._engine._host_ends, self._engine._host_gone = self._give_way, self._gone

    def __repr__(self) -> str:
        return f"<Blocking{repr(self._engine)[1:]}"

    def open(self) -> Self:
        """Start the engine's thread and open the engine. Raises what `Engine.open` raises."""
        self._running()
        return self

    def _running(self) -> BlockingPortal:
        self._check_caller()
        with self._gate:
            if self._closed is not None:
                raise EngineClosed(self._closed)
            if self._portal is None:
                started = self._started = Future()
                self._thread = threading.Thread(
                    target=anyio.run, args=(_host, started), name="september-engine", daemon=True
                )
                self._pid = os.getpid()
                self._thread.start()
                try:
                    self._portal = self._opened(started.result())
                    if self._closed is not None:
                        raise EngineClosed(self._closed)
                except BaseException:  # Ctrl-C too, which may come when the engine is open already
                    self._portal, self._closed = None, self._closed or self._engine._host.because
                    self._stop(started.result())
                    raise
            return self._portal

    def _opened(self, portal: BlockingPortal) -> BlockingPortal:
        opening = portal.start_task_soon(self._engine.open)
        try:
            opening.result()
        except BaseException:
            opening.cancel()
            with suppress(RuntimeError, CancelledError):  # the thread has ended: another engine took over
                portal.call(self._aclose, 0.0)
            raise
        return portal

    def _check_caller(self) -> None:
        """Where a call could only wait for itself, or for a thread that is not there, it says so."""
        if self._thread is None:
            return
        if self._pid != os.getpid():
            raise EngineClosed(FORKED)
        if threading.current_thread() is self._thread:
            raise InvalidRequest(
                "An async tool runs in this engine's own event loop and cannot wait for it. Make the tool sync "
                "(`def` instead of `async def`), or use Engine and await it."
            )

    def close(self, *, drain: float | None = None) -> None:
        """Wait for running turns, at most `drain` seconds, and close. Harmless when repeated."""
        self._check_caller()
        with self._gate:
            self._closed = self._closed or "This engine was closed. Make a new one."
            portal, self._portal = self._portal, None
        if portal is not None:
            try:
                with suppress(RuntimeError, CancelledError) if self._engine._host.because else nullcontext():
                    portal.call(self._aclose, drain)
            finally:
                self._stop(portal)

    def _stop(self, portal: BlockingPortal) -> None:
        with suppress(RuntimeError):  # it has stopped already
            portal.start_task_soon(portal.stop, True)
        assert self._thread is not None
        self._thread.join()

    async def _give_way(self) -> None:
        """In the engine's loop, which ends: another engine has taken over."""
        self._closed = self._engine._host.because
        self._portal = None
        await self._started.result().stop(cancel_remaining=True)

    def _gone(self, seconds: float) -> None:
        """Wait for the end of the engine's thread; not in it, nor where it is waited for already."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    async def _aclose(self, drain: float | None) -> None:
        await self._engine.aclose(drain=drain)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=None if kind is None else 0.0)

    def _call(self, work: Callable[[], Awaitable[R]]) -> R:
        return self._wait(work, Future.result)

    def _wait(self, work: Callable[[], Awaitable[R]], wait: Callable[[Future[R]], R]) -> R:
        """Do it in the engine's thread and wait for it in this way. Where waiting ends early, the work is cancelled."""
        portal = self._running()
        try:
            future = portal.start_task_soon(work)
            try:
                return wait(future)
            finally:
                future.cancel()  # Ctrl-C; harmless to what is done
        except (CancelledError, RuntimeError) as error:
            if self._closed is None:
                raise
            raise EngineClosed(self._engine._host.because or "This engine was closed meanwhile.") from error

    def _served(self, turn: Turn[T], on_request: OnRequest) -> TurnResult[T]:
        """The turn's result; this thread asks meanwhile, where a function asks that is not async."""
        jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

        async def ask(request: HitlRequest) -> str | None:
            if iscoroutinefunction(on_request):
                return await asking(on_request)(request)
            loop = asyncio.get_running_loop()
            said: asyncio.Future[Any] = loop.create_future()

            def settle(value: object, error: Exception | None) -> None:
                if not said.done():
                    said.set_result(value) if error is None else said.set_exception(error)

            def job() -> None:
                value, raised = None, None
                try:
                    value = None if said.done() else on_request(request)
                except Exception as error:
                    raised = error
                with suppress(RuntimeError):  # the loop has ended: nobody waits for it
                    loop.call_soon_threadsafe(settle, value, raised)

            jobs.put(job)
            answer: Any = await said
            return await answer if isawaitable(answer) else answer  # type: ignore[no-any-return]  # it is checked

        def wait(future: Future[TurnResult[T]]) -> TurnResult[T]:
            future.add_done_callback(lambda _: jobs.put(None))
            while (job := jobs.get()) is not None:
                job()
            return future.result()

        return self._wait(lambda: turn._result(ask), wait)

    @contextmanager
    def _giving_up(self, turns: list[Turn[T]]) -> Iterator[None]:
        """Ctrl-C while these are waited for cancels them and waits for their end, so that the next message is answered.

        A second Ctrl-C ends that wait.
        """
        try:
            yield
        except KeyboardInterrupt as interrupt:
            for turn in turns:
                with suppress(EngineError):
                    self._call(turn._stop)
                interrupt.add_note(
                    f"The turn on task {turn.task_id!r} was cancelled. To watch one that goes on when you stop, read "
                    f"engine.replay(task_id={turn.task_id!r})."
                )
            raise

    def _events(self, read: Callable[[], EventStream]) -> Iterator[Event]:
        stream = read()
        while (event := self._call(lambda: _next(stream))) is not None:
            yield event

    @overload
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
        on_request: OnRequest | None = None,
    ) -> BlockingTurn[T]: ...

    @overload
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
        output: TypeForm[T],
        on_request: OnRequest | None = None,
    ) -> BlockingTurn[T]: ...

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
        output: Any = None,
        on_request: OnRequest | None = None,
    ) -> BlockingTurn[Any]:
        """Start one turn and return it for reading. Raises what `Engine.execute` raises."""
        made: list[Turn[Any]] = []

        async def start() -> None:  # async, because it must be made in the engine's loop
            made.append(
                self._engine.execute(
                    message,
                    task_id=task_id,
                    media=media,
                    direct=direct,
                    edit_message_id=edit_message_id,
                    retry_message_id=retry_message_id,
                    limits=limits,
                    output=output,
                    on_request=on_request,
                )
            )

        with self._giving_up(made):
            self._call(start)
        return BlockingTurn(self, made[0])

    def turn(self, task_id: str) -> BlockingTurn[Any]:
        """The open turn of a task, whoever started it. Raises `TaskNotFound` where it has none."""

        async def attach() -> list[Turn[Any]]:  # in a list, because a portal would await the turn itself
            turn = self._engine.turn(task_id)
            await turn._seated()
            return [turn]

        return BlockingTurn(self, self._call(attach)[0])

    def replay(self, *, task_id: str | None = None, after: int = 0) -> Iterator[Event]:
        """What is kept of a task's events after a cursor, then the live turn to its end. Ctrl-C only stops reading."""

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
        """Remove a task with everything in it; see `Engine.delete` for what remains of it."""
        return self._call(lambda: self._engine.delete(task_id))

    def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        """Remove what was deleted or erased from the store's files. The engine's thread calls `progress`."""
        return self._call(lambda: self._engine.compact(progress=progress))

    def health(self) -> Health:
        """Whether a turn could be taken now."""
        return self._call(self._engine.health)


async def _host(started: Future[BlockingPortal]) -> None:
    files = LoopFiles(asyncio.get_running_loop())
    at_fork(files)
    async with BlockingPortal() as portal:
        started.set_result(portal)
        await portal.sleep_until_stopped()


async def _next(stream: AsyncIterator[Event]) -> Event | None:
    try:
        return await stream.__anext__()
    except StopAsyncIteration:
        return None
