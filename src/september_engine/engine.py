"""Engine: the public face. It wires the parts together and checks what callers say; the rules are in the core."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from ._asking import OnRequest, checked
from ._home import Home, running_loop
from ._notebook import Requests
from ._output import Output
from ._plain import plain_flag, plain_number, plain_text, plain_text_or_none, shown
from ._runtime.health import Health
from ._runtime.host import Host
from ._runtime.isolation import to_its_end
from ._runtime.listing import detail_of, facts_at, facts_now, last_of, row_of, task_of
from ._runtime.people import pending, respond
from ._runtime.resources import AnyTool
from ._runtime.supervisor import Supervisor
from ._runtime.threads import TurnRequest
from ._runtime.world import World
from ._takeover import Tenancy, take_over
from ._turn.limits import Limits
from ._turn.plan import plan_of
from ._turn.request import aim_of, check_answer, check_cursor, check_limit, check_media, check_task_id, content_of
from ._turn.transcript import transcript
from ._wiring import (
    DEFAULT_SYSTEM,
    LongTerms,
    Models,
    attachments_of,
    check_prices,
    checked_limits,
    checked_notes,
    checked_patience,
    checked_settings,
    checked_system,
    checked_world,
    limits_of_turn,
    make_supervisor,
    policy_of,
    prices_of,
    store_of,
    tools_by_name,
)
from .errors import InvalidRequest
from .events import PlanStep
from .memory.base import Embedder
from .memory.longterm import LongTermMemory
from .messages import Content, Media, Message, Task, TaskDetail
from .models.base import Model
from .models.prices import Prices
from .notes import Notes
from .permissions import Policy
from .settings import Settings
from .store.base import CompactReport, OnProgress, Seizable, Store
from .streams import Replay, T, Turn

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["Engine", "Health"]


class Engine:
    """An agent engine on one store.

    Use it as an async context manager, or call `open` and `aclose` (any task may call either). Turns run in the engine,
    not in who reads them.

    Args:
        store: A path (SQLite), ":memory:", a `Store`, or None for `SQLITE_DB_PATH` or `./brain.sqlite`.
        model: A `Model`, the name of a Claude model, or None: Claude where there is a key, else the offline model.
        fallback: Takes over for the rest of a turn when the model keeps failing; None for `FALLBACK_MODEL`.
        planner: Says before a turn whether it is worth a plan; None for `PLANNER_MODEL`, without which nobody plans.
        light: Summarises threads that grow too long; None for `LIGHT_MODEL`, else the model itself does.
        tools: Tools made with `@tool`. With any, there is also `read_result`, for outputs too large to be given whole.
        notes: What the agent may note in working memory: types by key, or "any"; None gives it no `note` tool.
        memory: Remember across tasks: turns leave what was said, each turn is told what fits, and the agent gets the
            tools `remember` and `forget`.
        embedder: Lets memory recall by meaning, such as `MiniLMEmbedder`; None: by words, names and times.
        distil: Draw facts from what was said, in the background, with `LIGHT_MODEL` or this model; None for
            `SEPTEMBER_DISTIL`.
        policy: What calls may do without a person's leave; None for the defaults inside `ALLOWED_ROOTS`.
        system: The system prompt. It and the tools begin every prompt of a thread; changing them starts a new prefix.
        limits: What a turn and its task may spend; None for the defaults.
        prices: What model calls cost; None for Claude's prices, where the extra `prices` is installed.
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
        self.settings = checked_settings(settings)
        self._store = store_of(store, self.settings)
        self._models = Models(model, fallback, planner, light)
        keys, noting = checked_notes(notes)
        self._memory = LongTerms(memory, embedder, distil, self._store)
        self._tools = tools_by_name(tools, self._store, own=[*noting, *self._memory.tools])
        self._notes = Notes(lambda: self._running, keys)
        self._attachments = attachments_of(self._store, self.settings)
        self._policy = policy_of(policy, self._tools, self.settings)
        self._system = checked_system(system)
        self._limits = checked_limits(limits, self.settings)
        self._prices = prices_of(prices)
        self._progress_timeout = checked_patience(progress_timeout)
        self._world = checked_world(world)
        self._host = Host()
        self._tenancy: Tenancy | None = None
        self._holds_store = False
        self._host_ends: Callable[[], Awaitable[None]] | None = None
        self._host_gone: Callable[[float], object] | None = None

    def __repr__(self) -> str:
        return f"<Engine on {self._store!r}, {'closed' if self._host.supervisor is None else 'open'}>"

    # ── opening and closing ──────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> Self:
        """Open the store, settle what the last process left, and take turns. Cancelling leaves the engine closed.

        Where another engine of this process has the store open, that one is closed first, as by `aclose(drain=0)`; it
        says so when it is used. Another process that has it open keeps it.

        Harmless when repeated; it opens again after `aclose`, and where its event loop has ended. Raises `StoreInUse`,
        `StoreFull`, `StoreCorrupt`, `MigrationRequired`, `ConfigurationError`; `WrongLoop` in a second event loop.
        """
        if self._host.because is not None and self._host.home is not None:
            await self._end(self._host.home)
        async with self._host.settling():
            if self._host.gone:
                await self._free()
            if self._host.supervisor is None:
                try:
                    await self._start()
                except BaseException:
                    await to_its_end(self._free())
                    raise
        return self

    async def _start(self) -> None:
        home = Home(running_loop())
        models = await self._models.make(self.settings, self._world.clock)
        await check_prices(self._prices, self._limits, models)
        supervisor = make_supervisor(
            store=self._store,
            models=models,
            prices=self._prices,
            tools=self._tools,
            policy=self._policy,
            system=self._system,
            limits=self._limits,
            settings=self.settings,
            progress_timeout=self._progress_timeout,
            world=self._world,
            attachments=self._attachments,
            home=home,
            memory=self._memory.make(self._world, home),
            distiller=await self._memory.distiller(self._models, self.settings),
        )
        self._host.home = home
        self._tenancy = tenancy = Tenancy(
            self._store,
            home,
            close=partial(self._yield, home),
            let_go=partial(self._let_go, home),
            gone=self._host_gone,
        )
        await take_over(tenancy, repr(self._store))
        await self._store.open()
        self._holds_store = True
        await self._host.start(supervisor, keeps=self)
        tenancy.check()

    async def aclose(self, *, drain: float | None = None) -> None:
        """Take no more turns, wait for those that run, then close everything. Harmless when repeated.

        A turn that has not ended after `drain` seconds (None: `SEPTEMBER_DRAIN_SECONDS`) is left in the log as it is;
        the next start closes or resumes it. Cancelling ends the wait for turns, not the closing. Where the event loop
        of the engine has ended, what is left is closed; in a second loop `WrongLoop` is raised.
        """
        self._host.check_loop()
        seconds = self.settings.drain_seconds if drain is None else plain_number(drain, "drain", least=0)
        try:
            await self.drain(seconds)
        finally:
            await to_its_end(self._close())

    async def drain(self, seconds: float) -> None:
        """Take no more turns (`EngineClosed`) and give those that run so long to end; then stop them and all streams.

        Turns that wait for a person are stopped at once: they need no process. Cursors stay valid. Cancelling ends the
        wait.
        """
        await self._host.drain(plain_number(seconds, "seconds", least=0))

    def stop_streams(self) -> None:
        """End every open stream after what is committed; cursors stay valid and turns go on. Any thread may call it."""
        self._host.stop_readers()

    async def _close(self, home: Home | None = None) -> None:
        """Close what is open, or only what was opened as this, if it still is."""
        async with self._host.settling():
            if home is None or home is self._host.home:
                await self._free()

    async def _yield(self, home: Home) -> None:
        """Close, because another engine of this process takes the store over."""
        try:
            await self._end(home)
        finally:
            if self._host_ends is not None:
                await self._host_ends()

    async def _end(self, home: Home) -> None:
        if home is self._host.home:  # else it was closed, and opened again, before its event loop came to this
            try:
                await self._host.drain(0)
            finally:
                await to_its_end(self._close(home))

    def _let_go(self, home: Home) -> None:
        """The store is taken away, from any thread: it is not ours to close any more."""
        if home is self._host.home:
            self._holds_store = False

    async def _free(self) -> None:
        gone = self._host.gone
        await self._host.stop()
        held, self._holds_store = self._holds_store, False
        try:
            if held:  # a store that another engine has open is not ours to close
                await self._store.aclose()
                if self._host.because is not None and isinstance(self._store, Seizable):
                    await self._store.seize(self._host.because)  # what was handed out tells why
        finally:
            if self._tenancy is not None:
                self._tenancy.leave()
            with suppress(RuntimeError) if gone else nullcontext():  # a connection of a loop that has ended
                await self._models.aclose()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.aclose(drain=None if kind is None else 0.0)

    @property
    def _running(self) -> Supervisor:
        return self._host.running

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────

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
    ) -> Turn[T]: ...

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
    ) -> Turn[T]: ...

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
    ) -> Turn[Any]:
        """Start one turn on a thread, at once, and return it for reading.

        Args:
            message: What the person says; not blank. With `retry_message_id` the stored text is used instead.
            task_id: The thread: any string of 1 to 512 bytes. Reuse it to go on, change it to start afresh.
            media: Images and documents, which stand before the text: a `Path`, the content as `bytes`, or a block in
                the Messages API's shape. A file is read once, before the turn begins.
            direct: Go without planning.
            edit_message_id: Replace this message of a person; what followed stops counting.
            retry_message_id: Run again from this message (for an answer: from the message it answers).
            limits: What this turn may spend, in place of the engine's limits; None for those.
            output: A type that the final answer must be, as JSON: a Struct, a dataclass, a pydantic model, `list[int]`,
                `Literal["yes", "no"]`, `A | None`, … The result's `output` is such a value.
            on_request: Called when the turn waits for a person while its result is waited for: see `Turn.result`.

        Raises `InvalidRequest`, `EngineClosed` (`WrongLoop` where no event loop runs), and `TaskBusy` or `HitlRequired`
        for a turn that is live, at once.
        `MessageNotFound`, `HitlRequired` for a turn that an earlier process left waiting, `InvalidRequest` for a file
        that cannot be used, and what the store raises come from the first use of the turn.
        """
        supervisor = self._host.accepting
        task_id = check_task_id(task_id)
        content, media = content_of(message), check_media(media, "media", shrinks=self._attachments.shrinks)
        kind, target = aim_of(edit_message_id, retry_message_id)
        on_request = checked(on_request)
        request = TurnRequest(
            task_id=task_id,
            turn_id=self._world.ids("turn_"),
            message_id=self._world.ids("msg_"),
            content=content,
            media=() if kind == "retry" else media,
            direct=plain_flag(False if direct is None else direct, "direct"),
            kind=kind,
            target=target,
            limits=limits_of_turn(limits, self.settings, supervisor.resources),
            output=None if output is None else Output(output),
        )
        ticket = supervisor.begin(request)
        return Turn(supervisor, task_id, ticket, output=request.output, on_request=on_request)

    def turn(self, task_id: str) -> Turn[Any]:
        """The open turn of a task, for reading from its first event or awaiting its result, whoever started it.

        One that waits for a person since an earlier process is found too. Raises `InvalidRequest` and `EngineClosed`;
        `TaskNotFound` comes from the first use where the task has no open turn: what it said is in `messages` then.
        """
        task_id = check_task_id(task_id)
        supervisor = self._running
        ticket = supervisor.live.get(task_id)
        if ticket is not None and (ticket.over or ticket.quiet or not ticket.turn_id):
            ticket = None
        return Turn(supervisor, task_id, ticket)

    def replay(self, *, task_id: str | None = None, after: int = 0) -> Replay:
        """The stored events of a task after a cursor (unix ms; 0 for all that is kept), then the live turn to its end.

        Without `task_id` it is the task whose turn started last. Raises `EngineClosed` and `InvalidRequest`.
        """
        after = check_cursor(after)
        if task_id is not None:
            task_id = check_task_id(task_id)
        return Replay(self._running, task_id=task_id, after=after)

    async def cancel(self, task_id: str) -> bool:
        """Stop the open turn and wait for its end; True if there was one. What was shown stays.

        Raises `TaskNotFound`, and what the store raises. Cancelling this call stops the wait.
        """
        task_id = plain_text(task_id, "task_id")
        if await self._running.cancel(task_id):
            return True
        await row_of(self._running.store, task_id)
        return False

    # ── people ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def pending(self) -> Requests:
        """Every request that waits for a person, over all tasks, oldest first: a list that a notebook can show."""
        return Requests(await pending(self._running))

    async def respond(
        self,
        task_id: str,
        answer: str,
        *,
        request_id: str | None = None,
        feedback: str | None = None,
        content_blocks: Sequence[Media] = (),
        remember: bool = False,
    ) -> str:
        """Answer a request (the oldest open one of the task, unless named); returns its id. The turn goes on.

        A permission is answered "yes" or "no", a question with any text; the model gets `feedback` and `content_blocks`
        as well. With `remember`, a "yes" counts for the same call in the rest of the task. Raises `HitlNotPending`,
        `HitlAlreadyAnswered`, `InvalidRequest`, `EngineClosed`, and what the store raises; the request stays open then.
        Cancelling stops the wait; the answer may count all the same.
        """
        task_id = check_task_id(task_id)
        answer, feedback = check_answer(answer, feedback)
        blocks = check_media(content_blocks, "content_blocks", text=True, shrinks=self._attachments.shrinks)
        return await respond(
            self._running,
            task_id,
            answer,
            request_id=plain_text_or_none(request_id, "request_id"),
            feedback=feedback,
            content_blocks=blocks,
            remember=plain_flag(remember, "remember"),
        )

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def tasks(self, *, before: str | None = None, limit: int = 50) -> list[Task]:
        """Tasks, newest first; `before` is the last task id of the page before.

        Raises `InvalidRequest`, and `TaskNotFound` where that task was deleted meanwhile: begin again then.
        """
        before, limit = plain_text_or_none(before, "before"), check_limit(limit)
        rows = await self._running.store.tasks(before=before, limit=limit)
        if before is not None and not rows:
            await row_of(self._running.store, before)
        return [task_of(row) for row in rows]

    async def task(self, task_id: str) -> TaskDetail:
        """One task with its branches. Raises `TaskNotFound`."""
        row = await row_of(self._running.store, plain_text(task_id, "task_id"))
        return detail_of(row, await self._running.store.turns(row.task_id))

    async def messages(
        self, task_id: str, *, before: str | None = None, limit: int = 100, branch: str | None = None
    ) -> list[Message]:
        """The last `limit` messages of the branch the thread stands on, oldest first.

        `before` is the id of the first message of the page after; `branch` the id of the turn in which another branch
        ends, as `task` lists it. Raises `TaskNotFound`, `MessageNotFound`, `InvalidRequest`.
        """
        task_id, before, limit = (
            plain_text(task_id, "task_id"),
            plain_text_or_none(before, "before"),
            check_limit(limit),
        )
        facts = await facts_at(self._running.store, task_id, plain_text_or_none(branch, "branch"))
        return last_of(transcript(facts), before=before, limit=limit)

    async def plan(self, task_id: str) -> list[PlanStep]:
        """The plan that the thread has now; [] where there is none. Raises `TaskNotFound`."""
        return plan_of(await facts_now(self._running.store, plain_text(task_id, "task_id")))

    @property
    def notes(self) -> Notes:
        """Working memory: what is noted, by task and key."""
        return self._notes

    @property
    def memory(self) -> LongTermMemory:
        """Long-term memory, for the engine's event loop. Raises `NoMemory` where it is off, and `EngineClosed`."""
        _ = self._host.opened
        return self._memory.now

    async def remembered(self) -> None:
        """Wait until what turns that have ended leave is in long-term memory. Cancelling stops the wait."""
        if (remembering := self._running.resources.remembering) is not None:
            await remembering.settled()

    async def media(self, task_id: str, sha256: str) -> Content:
        """The content of an image or document, by the `sha256` in its block.

        Raises `TaskNotFound`, `MessageNotFound` where no message of the task has it, and what the store raises.
        """
        row = await row_of(self._running.store, plain_text(task_id, "task_id"))
        return await self._attachments.content(row.task_id, plain_text(sha256, "sha256"))

    async def delete(self, task_id: str) -> bool:
        """Remove a task with everything in it; a running turn is cancelled first. False where there was none.

        What was said in it goes from long-term memory, too, and from what other tasks were told of it, as with
        `memory.erase`; what was learned from it stays (`memory.of_task`). Bytes of it may be left in unused space of
        the file until `compact`.
        """
        return await self._running.delete(plain_text(task_id, "task_id"))

    async def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        """Make the store's files hold nothing but what can be read: no byte of what was deleted or erased before.

        Turns go on, but wait to write while the file is written anew: about a second for 100 MB. `progress` is called
        with a `CompactProgress` when a stage begins and twice a second. Cancelling stops it, and leaves the file as it
        was; so does a crash. Returns the size before and after. Raises `StoreBusy` where another program reads the file
        and keeps its log from being emptied, `StoreFull` where there is no room for a second copy, `EngineClosed`.
        """
        if progress is not None and not callable(progress):
            raise InvalidRequest(f"progress={shown(progress)} must be a function of a CompactProgress, or None.")
        return await self._running.store.compact(progress=progress)

    async def health(self) -> Health:
        """Whether a turn could be taken now. Never raises."""
        return await self._host.health()

    @property
    def model_name(self) -> str:
        """The name of the model that answers. Raises `EngineClosed`."""
        return self._host.opened.resources.model.name
