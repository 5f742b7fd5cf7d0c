"""Engine: the public face. It wires the parts together and checks what callers say; the rules are in the core."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
import msgspec

from ._context.check import media_problems
from ._runtime.effects import AnyTool, Resources
from ._runtime.listing import detail_of, task_of
from ._runtime.people import pending, respond
from ._runtime.supervisor import Supervisor
from ._runtime.threads import Prefix, TurnRequest, read_thread
from ._runtime.world import World
from ._turn.limits import Limits
from ._turn.request import aim_of, check_limit, check_task_id, content_of
from ._turn.transcript import transcript
from .errors import (
    ConfigurationError,
    EngineClosed,
    InvalidRequest,
    MessageNotFound,
    TaskNotFound,
)
from .events import HitlRequest
from .messages import Block, Message, Task, TaskDetail
from .models.base import Model
from .models.choice import choose_fallback, choose_model
from .settings import Settings
from .store.base import Store, TaskRow
from .store.sqlite import SQLiteStore
from .streams import Replay, Turn
from .tools.tool import Tool

__all__ = ["Engine", "Health"]

THREADS = 64
DEFAULT_SYSTEM = (
    "You are a careful, friendly assistant. Use the tools you are given where they help, say what you found, and say "
    "so when you do not know."
)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the engine can take a turn now: `status` is "ok" only then. `subsystems` says "ok" or why not, each."""

    status: str
    uptime_seconds: float
    subsystems: dict[str, str]


class Engine:
    """An agent engine on one store.

    Use it as an async context manager, or call `open` and `aclose` (any task may call either). Turns run in the engine,
    not in who reads them.

    Args:
        store: A path (SQLite), a `Store`, or None for `SQLITE_DB_PATH` or `./brain.sqlite`.
        model: A `Model`, the name of a Claude model, or None: Claude where there is a key, else the offline model.
        fallback: Takes over for the rest of a turn when the model keeps failing; None for `FALLBACK_MODEL`.
        tools: Tools made with `@tool`.
        system: The system prompt. It and the tools begin every prompt of a thread; changing them starts a new prefix.
        limits: What a turn may spend.
        settings: Everything else; None reads the environment and `.env`.
        progress_timeout: Seconds a model may be silent before the attempt counts as failed.
        world: Time, ids and chance, for tests.

    Raises `ConfigurationError` for settings that cannot be used.
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
        progress_timeout: float = 120.0,
        world: World | None = None,
    ) -> None:
        self.settings = Settings.from_env() if settings is None else settings
        self._store = _store(store, self.settings)
        self._asked_for = (model, fallback)
        self._tools = _by_name(tools)
        self._system = system
        self._limits = limits or Limits(max_tokens=self.settings.max_tokens)
        self._progress_timeout = progress_timeout
        self._world = world or World()
        self._owned: list[Model] = []
        self._supervisor: Supervisor | None = None
        self._host: asyncio.Task[None] | None = None
        self._opened_at = 0.0

    # ── opening and closing ──────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> Self:
        """Open the store, settle what the last process left, and take turns. Cancelling leaves the engine closed.

        Raises `StoreInUse`, `MigrationRequired` and `ConfigurationError`.
        """
        if self._supervisor is not None:
            return self
        try:
            supervisor = self._supervisor = await self._make_supervisor()
            await self._store.open()
            ready = anyio.Event()
            self._host = asyncio.create_task(supervisor.run(ready=ready), name="september-engine")
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait((self._host, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._host.done():
                await self._host
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._close()
            raise
        self._opened_at = self._world.clock.monotonic()
        return self

    async def aclose(self, *, drain: float | None = None) -> None:
        """Take no more turns, wait for those that run, then close everything. Harmless when repeated.

        A turn that has not ended after `drain` seconds (None: `SEPTEMBER_DRAIN_SECONDS`) is left in the log as it is;
        the next start closes or resumes it. Cancelling ends the wait for turns, not the closing.
        """
        try:
            await self.drain(self.settings.drain_seconds if drain is None else drain)
        finally:
            with anyio.CancelScope(shield=True):
                await self._close()

    async def drain(self, seconds: float) -> None:
        """Take no more turns (`EngineClosed`) and give those that run so long to end; then stop them and all streams.

        Cursors stay valid. Cancelling ends the wait.
        """
        if self._supervisor is not None:
            await self._supervisor.drain(seconds)
            self._supervisor.stop_readers()

    def stop_streams(self) -> None:
        """End every open stream after what is committed; cursors stay valid and turns go on."""
        if self._supervisor is not None:
            self._supervisor.stop_readers()

    async def _close(self) -> None:
        host, self._host, self._supervisor = self._host, None, None
        if host is not None:
            host.cancel()
            with suppress(asyncio.CancelledError):
                await host
        await self._store.aclose()
        for model in self._owned:
            await model.aclose()
        self._owned.clear()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(drain=None if kind is None else 0.0)

    async def _make_supervisor(self) -> Supervisor:
        settings = self.settings
        model, fallback = self._asked_for
        tools = [tool.definition() for tool in self._tools.values()]
        resources = Resources(
            world=self._world,
            model=await self._model(model),
            fallback=await self._fallback(fallback),
            tools=self._tools,
            threads=anyio.CapacityLimiter(THREADS),
            concurrency=settings.tool_use_concurrency,
            progress_timeout=self._progress_timeout,
        )
        return Supervisor(
            store=self._store,
            resources=resources,
            limits=self._limits,
            prefix=Prefix.of(self._system, tools),
            recovery=settings.recovery,
            ttl_active=settings.channel_state_ttl_active,
            ttl_hitl=settings.channel_state_ttl_hitl,
        )

    async def _model(self, asked_for: Model | str | None) -> Model:
        """What the caller made stays the caller's to close; what is made here is ours."""
        if asked_for is not None and not isinstance(asked_for, str):
            return asked_for
        made = await anyio.to_thread.run_sync(choose_model, asked_for, self.settings)
        self._owned.append(made)
        return made

    async def _fallback(self, asked_for: Model | str | None) -> Model | None:
        if asked_for is not None and not isinstance(asked_for, str):
            return asked_for
        made = await anyio.to_thread.run_sync(choose_fallback, asked_for, self.settings)
        if made is not None:
            self._owned.append(made)
        return made

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise EngineClosed(
                "The engine is not open: use `async with Engine(…) as engine:` or `await engine.open()`."
            )
        return self._supervisor

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    def execute(
        self,
        message: str,
        *,
        task_id: str,
        media: Sequence[Block] = (),
        direct: bool = False,
        edit_message_id: str | None = None,
        retry_message_id: str | None = None,
    ) -> Turn:
        """Start one turn on a thread, at once, and return it for reading.

        Args:
            message: What the person says; not blank. With `retry_message_id` the stored text is used instead.
            task_id: The thread: any string of 1 to 512 bytes. Reuse it to go on, change it to start afresh.
            media: Image and document blocks in the Messages API's shape; they stand before the text.
            direct: Go without planning.
            edit_message_id: Replace this message of a person; what followed stops counting.
            retry_message_id: Run again from this message (for an answer: from the message it answers).

        Raises `InvalidRequest`, `TaskBusy`, `HitlRequired` and `EngineClosed` at once; `MessageNotFound` and what the
        store raises come from the first use of the turn.
        """
        supervisor = self._running
        if not supervisor.accepting:
            raise EngineClosed("The engine is shutting down and takes no new turns. Send the message again later.")
        check_task_id(task_id)
        content = content_of(message, _checked(media))
        kind, target = aim_of(edit_message_id, retry_message_id)
        ids = self._world.ids
        request = TurnRequest(
            task_id=task_id,
            turn_id=ids("turn"),
            message_id=ids("msg"),
            content=content,
            direct=direct,
            kind=kind,
            target=target,
        )
        return Turn(supervisor, supervisor.begin(request))

    def replay(self, *, task_id: str | None = None, after: int = 0) -> Replay:
        """The stored events of a task after a cursor (unix ms; 0 for all that is kept), then the live turn to its end.

        Without `task_id` it is the task whose turn started last. Raises `EngineClosed`.
        """
        return Replay(self._running, task_id=task_id, after=after)

    async def cancel(self, task_id: str) -> bool:
        """Stop the running turn and wait for its end; True if there was one. What was shown stays.

        Raises `TaskNotFound`. Cancelling this call stops the wait.
        """
        supervisor = self._running
        ticket = supervisor.live.get(task_id)
        if ticket is None or ticket.over:
            row = await self._row(task_id)
            if row.open_turn is None or task_id in supervisor.live:
                return False
            await supervisor.wake(task_id, None)
            ticket = supervisor.live.get(task_id)
        if ticket is None:
            return False
        await ticket.opened.wait()
        if ticket.runner is None or ticket.over:
            return False
        ticket.runner.cancel()
        await ticket.closed.wait()
        return True

    # ── people ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def pending(self) -> list[HitlRequest]:
        """Every request that waits for a person, over all tasks, oldest first."""
        return await pending(self._running)

    async def respond(
        self,
        task_id: str,
        answer: str,
        *,
        request_id: str | None = None,
        feedback: str | None = None,
        content_blocks: Sequence[Block] = (),
    ) -> str:
        """Answer a request (the oldest open one of the task, unless named); returns its id. The turn goes on.

        A permission is answered "yes" or "no"; with "no" the model is told `feedback`. Raises `HitlNotPending`,
        `HitlAlreadyAnswered`, `InvalidRequest`. Cancelling stops the wait; the answer may count all the same.
        """
        return await respond(
            self._running,
            task_id,
            answer,
            request_id=request_id,
            feedback=feedback,
            content_blocks=list(content_blocks),
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def tasks(self, *, before: str | None = None, limit: int = 50) -> list[Task]:
        """Tasks, newest first; `before` is the last task id of the page before. Raises `InvalidRequest`."""
        check_limit(limit)
        return [task_of(row) for row in await self._running.store.tasks(before=before, limit=limit)]

    async def task(self, task_id: str) -> TaskDetail:
        """One task with its branches. Raises `TaskNotFound`."""
        row = await self._row(task_id)
        return detail_of(row, await self._running.store.turns(task_id))

    async def messages(self, task_id: str, *, before: str | None = None, limit: int = 100) -> list[Message]:
        """The last `limit` messages of the branch the thread stands on, oldest first.

        `before` is the id of the first message of the page after. Raises `TaskNotFound`, `MessageNotFound`,
        `InvalidRequest`.
        """
        check_limit(limit)
        row = await self._row(task_id)
        messages = transcript(await read_thread(self._running.store, task_id, row.open_turn or row.head))
        if before is not None:
            places = [place for place, message in enumerate(messages) if message.id == before]
            if not places:
                raise MessageNotFound(f"This branch has no message {before!r}.")
            messages = messages[: places[0]]
        return messages[-limit:]

    async def delete(self, task_id: str) -> bool:
        """Remove a task with everything in it; a running turn is cancelled first. False where there was none."""
        with suppress(TaskNotFound):
            await self.cancel(task_id)
        return await self._running.store.delete(task_id)

    async def health(self) -> Health:
        """Whether a turn could be taken now. Never raises."""
        supervisor = self._supervisor
        if supervisor is None:
            return Health(status="closed", uptime_seconds=0.0, subsystems={})
        database = await supervisor.store.check()
        provider = supervisor.resources.provider
        status = "ok" if supervisor.accepting else "shutting_down"
        if database != "ok" or provider == "LLM_AUTH":
            status = "degraded"
        return Health(
            status=status,
            uptime_seconds=round(self._world.clock.monotonic() - self._opened_at, 3),
            subsystems={"database": database, "llm_provider": provider},
        )

    @property
    def model_name(self) -> str:
        """The name of the model that answers. Raises `EngineClosed`."""
        return self._running.resources.model.name

    async def _row(self, task_id: str) -> TaskRow:
        row = await self._running.store.task(task_id)
        if row is None:
            raise TaskNotFound(f"There is no task {task_id!r}.")
        return row


def _store(store: Store | str | os.PathLike[str] | None, settings: Settings) -> Store:
    if store is None:
        return SQLiteStore(settings.sqlite_db_path, durability=settings.durability)
    if isinstance(store, str | os.PathLike):
        return SQLiteStore(store, durability=settings.durability)
    return store


def _by_name(tools: Iterable[AnyTool]) -> dict[str, AnyTool]:
    named: dict[str, AnyTool] = {}
    for tool in tools:
        if not isinstance(tool, Tool):
            raise ConfigurationError(f"{tool!r} is not a tool. Decorate the function with @tool.")
        if tool.name in named:
            raise ConfigurationError(f"Two tools are called {tool.name!r}. Give one another name: @tool(name=…).")
        named[tool.name] = tool
    return named


def _checked(media: Sequence[Block]) -> Sequence[Block]:
    """Nothing unusable enters the log. Raises `InvalidRequest` with the block's index."""
    for index, problem in media_problems(list(media)):
        raise InvalidRequest(f"media[{index}]: {problem}", index=index)
    return media
