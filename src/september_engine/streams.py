"""Turn and Replay: reading what an engine does. Leaving them stops the reading, never the turn.

Both are classes with `__anext__`, not async generators: they hold no task group, no timeout and no queue, so a `break`,
a dropped reference or a close from another task harms nobody.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self
from weakref import WeakSet

import msgspec
from msgspec.structs import force_setattr

from ._asking import Ask, OnRequest, asking, checked, give_answer, news, say_it_goes_on, until_closed, waiting
from ._display import Display, follow, in_kernel
from ._home import Home
from ._notebook import Card, summary_card, turn_card, turn_markdown
from ._output import Output
from ._runtime.channel import Channel
from ._runtime.listing import row_of
from ._runtime.reader import Reader
from ._runtime.supervisor import Supervisor
from ._runtime.tickets import Ticket
from ._turn.facts import AssistantCut, AssistantReplied, Fact, OutputRefused, TurnCompleted, TurnFailed, TurnStarted
from ._turn.present import failure_details, with_retry
from ._turn.state import TurnState
from .errors import EngineClosed, EngineError, TaskNotFound
from .errors import TurnFailed as TurnFailedError
from .events import Event, decode
from .messages import Block, Usage, shown_text, text_of, tool_uses
from .store.base import EventRow

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=None)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["EventStream", "Pages", "Replay", "Turn", "TurnResult"]


class TurnResult(msgspec.Struct, Generic[T], frozen=True, kw_only=True, dict=True):
    """What a turn came to.

    `text` is its whole answer as a reader sees it, with a blank line between what was said before and after a tool (the
    `text_delta` events have the same text without it). `message_id` is that of the final assistant message and
    `user_message_id` that of the message it answers (both are what edit and retry take); `tool_calls` are the model's
    tool_use blocks in order. `usage` and `cost_usd` (US dollars; None: unknown) are the whole turn's, attempts that
    failed too. `output` is the value that `execute(output=…)` asked for, checked; without that, None.
    """

    text: str
    task_id: str
    turn_id: str
    user_message_id: str
    message_id: str
    stop_reason: str
    usage: Usage
    cost_usd: float | None
    tool_calls: list[Block]
    output: T

    def _repr_html_(self) -> str:
        """The card that a notebook shows: the turn with its images, and what it cost. A copy shows the answer alone."""
        card: Card | None = vars(self).get(CARD)
        return summary_card(card, self.text, stop_reason=self.stop_reason, usage=self.usage, cost_usd=self.cost_usd)


CARD = "card"
"""What a result knows of its turn beside its fields, and no copy of it does."""


class Pages:
    """Rows as they were stored, a page at a time: rows that are ready together, or an empty page for a heartbeat."""

    def __init__(self, open_reader: Callable[[], Awaitable[Reader]], home: Home) -> None:
        self._open_reader = open_reader
        self._home = home
        self._reader: Reader | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[EventRow]:
        """The next page. Cancelling loses nothing: the next call goes on from the same place.

        Raises `WrongLoop` in another event loop than the engine's.
        """
        self._home.check_loop()
        if self._reader is None and not self._closed:
            self._reader = await self._open_reader()
        if self._reader is None or self._closed:
            raise StopAsyncIteration
        return await self._reader.__anext__()

    async def aclose(self) -> None:
        """Stop reading, from any task; a reader that waits ends at once."""
        if self._reader is not None and not self._home.loop_ended:
            self._home.check_loop()
            self._reader.stop()
        self._closed = True


class EventStream:
    """Events, one at a time. `cursor` is the `after` that continues behind the last one given (unix ms)."""

    def __init__(
        self, pages: Pages, *, cursor: int = 0, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._pages = pages
        self._waiting = waiting
        self._ready: list[EventRow] = []
        self.cursor = cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; those of a kind that only a later release knows are passed over. Cancelling loses nothing."""
        while True:
            while not self._ready:
                with self._waiting():
                    self._ready = list(reversed(await self._pages.__anext__()))
            row = self._ready.pop()
            self.cursor = row.ts or self.cursor
            with suppress(KeyError):
                return decode(row.type, row.body)

    async def aclose(self) -> None:
        """Stop reading, from any task."""
        self._ready.clear()
        await self._pages.aclose()


class _Stream(ABC):
    """What a turn and a replay share: each `async for` reads from the start; `anext` goes on with one reading."""

    def __init__(self) -> None:
        self._streams: WeakSet[EventStream] = WeakSet()
        self._latest: EventStream | None = None
        self._one: EventStream | None = None

    @abstractmethod
    def pages(self, *, heartbeat: float | None = None) -> Pages: ...

    def _going_on(self) -> AbstractContextManager[None]:
        """Entered while a reading waits for its next events."""
        return nullcontext()

    def __aiter__(self) -> EventStream:
        stream = self._latest = EventStream(self.pages(), waiting=self._going_on)
        self._streams.add(stream)
        return stream

    async def __anext__(self) -> Event:
        """The next event of one reading that goes on across calls. Cancelling loses nothing."""
        if self._one is None:
            self._one = self.__aiter__()
        return await self._one.__anext__()

    @property
    def cursor(self) -> int:
        """The `after` that continues behind the last event that the latest reading gave; 0 before the first."""
        return 0 if self._latest is None else self._latest.cursor

    async def aclose(self) -> None:
        """Stop all reading, from any task. The turn goes on; `Engine.cancel` stops it."""
        for stream in list(self._streams):
            await stream.aclose()


class Turn(_Stream, Generic[T]):
    """One turn, already under way. Iterate it for its events, or await it for its `TurnResult`.

    Iterating twice gives the events twice. What is known before the first event (`MessageNotFound`, `TaskBusy`,
    `StoreBusy`, …) is raised by the first use. `T` is the type of the output that was asked for, None without one.
    `turn_id` is "" until `started` where `Engine.turn` must look in the store for the turn.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        task_id: str,
        ticket: Ticket | None,
        *,
        output: Output[T] | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        super().__init__()
        self._output = output
        self._on_request = on_request
        self._supervisor = supervisor
        self._ticket = ticket
        self._displays: list[Display] = []
        self._followers: set[asyncio.Task[None]] = set()
        self.task_id = task_id
        self.turn_id = "" if ticket is None else ticket.turn_id

    def __repr__(self) -> str:
        return f"<Turn {self.turn_id} of task {self.task_id!r}>"

    def _repr_html_(self) -> str:
        """The card that a notebook shows: the turn as far as it has come, with its images."""
        return turn_card(self._facts, self._peek)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """The turn as far as it has come, for a front end that takes its choice."""
        return {**self._bundle(), "text/html": self._repr_html_()}

    def _ipython_display_(self) -> None:
        """Show it in the cell that runs, and keep that up to date until the turn ends; in a kernel only."""
        shell = in_kernel()
        if shell is None:
            raise NotImplementedError  # which has IPython show it in another form
        display = Display(shell, lambda request_id, answer: self._spawn(self._clicked(request_id, answer)))
        self._displays.append(display)
        if not self._update(display):
            self._spawn(follow(lambda: self._update(display), self._moved, self._supervisor.resources.world.clock))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run it in the engine's event loop, from any thread; what cannot be done there any more is nobody's."""
        loop = self._supervisor.home.loop

        async def quietly() -> None:
            with suppress(EngineError):
                await work

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(quietly())
            self._followers.add(task)
            task.add_done_callback(self._followers.discard)

        try:
            assert loop is not None
            loop.call_soon_threadsafe(begin, context=Context())
        except RuntimeError:  # it has ended
            work.close()

    def _update(self, display: Display) -> bool:
        """Bring it up to date; True where the turn is over."""
        ticket = self._ticket
        over = ticket is not None and ticket.closed.is_set()
        requests = [] if ticket is None or ticket.runner is None else list(waiting(ticket.runner).values())
        display.update(self._bundle(), requests, over=over)
        return over

    def _bundle(self) -> dict[str, str]:
        ticket = self._ticket
        runner = None if ticket is None else ticket.runner
        requests = [] if runner is None else list(waiting(runner).values())
        saying = "" if runner is None else runner.saying
        if ticket is not None and ticket.error is not None:
            saying = ticket.error.message
        markdown = turn_markdown(self._facts, saying, requests, self._peek)
        return {"text/plain": repr(self), "text/markdown": markdown}

    async def _moved(self) -> None:
        """Wait until there may be more to show than at the call."""
        ticket = await self._seated()
        if not ticket.opened.is_set():
            await ticket.opened.wait()
        elif ticket.runner is not None:  # nothing is awaited before that, so nothing is missed
            await news(ticket, ticket.runner)

    async def _clicked(self, request_id: str, answer: str) -> None:
        await give_answer(self._supervisor, self.task_id, request_id, answer)

    @property
    def _facts(self) -> Sequence[Fact]:
        runner = None if self._ticket is None else self._ticket.runner
        return () if runner is None else tuple(runner.facts)

    def _peek(self, sha256: str) -> str | None:
        return self._supervisor.resources.attachments.peek(self.task_id, sha256)

    async def _seated(self) -> Ticket:
        """The turn's place, where it is known or found to be open. Raises `TaskNotFound`."""
        if self._ticket is None:
            self._supervisor.home.check()
            self._ticket = await open_turn(self._supervisor, self.task_id)
            self.turn_id = self._ticket.turn_id
        return self._ticket

    async def started(self) -> None:
        """Wait until the turn's first event is durable; raise what kept it from starting. Cancelling stops the wait."""
        ticket = await self._seated()
        if not ticket.closed.is_set():
            self._supervisor.home.check_process()
        if not ticket.opened.is_set():
            self._supervisor.home.check_loop()
            await ticket.opened.wait()
        if ticket.error is not None:
            raise ticket.error

    async def _stop(self) -> None:
        """Cancel this turn, and no other one of its task, and wait for its end."""
        ticket = await self._seated()
        await ticket.opened.wait()
        if ticket.runner is not None and not ticket.closed.is_set():
            ticket.runner.cancel()
            await ticket.closed.wait()

    def pages(self, *, heartbeat: float | None = None) -> Pages:
        """The turn's rows from its first one on; with `heartbeat`, an empty page after so many silent seconds."""

        async def open_reader() -> Reader:
            await self.started()
            channel = (await self._seated()).channel
            assert channel is not None
            reader = Reader(
                store=self._supervisor.store,
                clock=self._supervisor.resources.world.clock,
                task_id=self.task_id,
                after=channel.begins,
                live=lambda: channel,
                heartbeat=heartbeat,
            )
            self._supervisor.readers.add(reader)
            return reader

        return Pages(open_reader, self._supervisor.home)

    def __await__(self) -> Generator[None, None, TurnResult[T]]:
        return self.result().__await__()

    async def result(self, *, on_request: OnRequest | None = None) -> TurnResult[T]:
        """Wait for the end. Raises `TurnFailed` with the code of the turn's `error` event, `EngineClosed` where the
        engine was closed first, or what kept the turn from starting. Cancelling stops the wait, not the turn.

        Where an `output` was asked for and no answer was it, the code is `INVALID_OUTPUT`.

        While the turn waits for a person, `on_request` is called once with each request, also with those that came
        before. It may be async; a plain function is called in the event loop and must not block it. It returns the
        answer, or None where somebody else answers, and what it raises is raised here. Without one, that of `execute`
        is called; without that, a line on stderr (in a notebook: in the cell) says what is asked and how to answer.

        A turn that has ended gives its result after the engine was closed, too.
        """
        with self._going_on():
            return await self._result(asking(checked(on_request) or self._on_request))

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Who is cancelled while this waits may learn that the turn is not."""
        try:
            yield
        except asyncio.CancelledError:
            if self._ticket is not None and self._ticket.runner is not None and not self._ticket.closed.is_set():
                say_it_goes_on(self.task_id)
            raise

    async def _result(self, ask: Ask) -> TurnResult[T]:
        await self.started()
        ticket = await self._seated()
        if not ticket.closed.is_set():
            self._supervisor.home.check_loop()
            await until_closed(self._supervisor, ticket, ask)
        for display in self._displays:  # what a notebook keeps is whole when the cell that waits ends
            self._update(display)
        runner = ticket.runner
        assert runner is not None  # what has started has one
        failure = runner.channel.failure
        if isinstance(failure, EngineClosed):
            raise EngineClosed(self._supervisor.home.because or failure.message, **failure.details) from None
        if failure is not None:
            details = with_retry(failure.details, runner.state.message_id)
            raise TurnFailedError(failure.message, code=failure.code, turn_id=self.turn_id, **details)
        result = _summed(runner.facts, runner.state, self._output or runner.output)
        force_setattr(result, CARD, partial(turn_card, tuple(runner.facts), self._peek))
        return result


async def open_turn(supervisor: Supervisor, task_id: str) -> Ticket:
    """The place of a task's open turn. Raises `TaskNotFound`, where there is none, too."""
    ticket = await supervisor.attend(task_id)
    if ticket is None or ticket.runner is None:
        await row_of(supervisor.store, task_id)
        raise TaskNotFound(
            f"No turn is open on task {task_id!r}. What was said is in engine.messages({task_id!r}), and what happened "
            f"in engine.replay(task_id={task_id!r})."
        )
    return ticket


def _summed(facts: Sequence[Fact], state: TurnState, output: Output[T] | None) -> TurnResult[T]:
    started, last = facts[0], facts[-1]
    assert isinstance(started, TurnStarted)
    if isinstance(last, TurnFailed):
        details = failure_details(last, message_id=started.message_id, turn_id=started.turn_id)
        raise TurnFailedError(last.message, code=last.code, turn_id=started.turn_id, **details)
    assert isinstance(last, TurnCompleted)  # a turn ends in one of the two, or its channel says why not
    replies = [fact for fact in facts if isinstance(fact, AssistantReplied)]
    refused = {fact.message_id for fact in facts if isinstance(fact, OutputRefused)}
    said = [reply.content for reply in replies if reply.message_id not in refused]
    cut = [[{"type": "text", "text": fact.text}] for fact in facts if isinstance(fact, AssistantCut)]
    none: Any = None
    return TurnResult(
        text=shown_text([*said, *cut]),
        task_id=started.task_id,
        turn_id=started.turn_id,
        user_message_id=started.message_id,
        message_id=last.message_id,
        stop_reason=last.stop_reason,
        usage=state.usage,
        cost_usd=state.cost_usd,
        tool_calls=[use for reply in replies for use in tool_uses(reply.content)],
        output=none if output is None else output.read(text_of(said[-1])),
    )


class Replay(_Stream):
    """What is kept of a task's events after a cursor, then the live turn to its end. Read-only, any number at once.

    `task_id` is None until `started`, when none was asked for: the task whose turn started last is meant. A cursor
    beyond the last event means that one: what comes now is not missed because the caller's clock is ahead.
    """

    def __init__(self, supervisor: Supervisor, *, task_id: str | None, after: int) -> None:
        super().__init__()
        self._supervisor = supervisor
        self._after = after
        self._found = False
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"<Replay of {'the latest task' if self.task_id is None else f'task {self.task_id!r}'}>"

    async def started(self) -> None:
        """Find out which task is meant. Raises what the store raises. Cancelling is harmless."""
        self._supervisor.home.check_process()
        if self._found:
            return
        self._supervisor.home.check()
        if self.task_id is None:
            self.task_id = await self._supervisor.store.latest()
        if self.task_id is not None:
            await self._supervisor.attend(self.task_id)
        self._found = True

    def pages(self, *, heartbeat: float | None = None) -> Pages:
        """The rows; with `heartbeat`, an empty page after so many silent seconds."""

        async def open_reader() -> Reader:
            await self.started()
            task_id = self.task_id or ""
            row = await self._supervisor.store.task(task_id)
            live = self._supervisor.live

            def channel_of_task() -> Channel | None:
                ticket = live.get(task_id)
                return None if ticket is None else ticket.channel

            reader = Reader(
                store=self._supervisor.store,
                clock=self._supervisor.resources.world.clock,
                task_id=task_id,
                after=min(self._after, 0 if row is None else row.last_ts),
                live=channel_of_task,
                heartbeat=heartbeat,
            )
            self._supervisor.readers.add(reader)
            return reader

        return Pages(open_reader, self._supervisor.home)
