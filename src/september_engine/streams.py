"""Turn and Replay: reading what an engine does. Leaving them stops the reading, never the turn.

Both are classes with `__anext__`, not async generators: they hold no task group, no timeout and no queue, so a `break`,
a dropped reference or a close from another task harms nobody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Self

import msgspec

from ._runtime.channel import Channel
from ._runtime.reader import Reader
from ._runtime.supervisor import Supervisor, Ticket
from ._runtime.threads import read_turn
from ._turn.facts import AssistantCut, AssistantReplied, Fact, TurnCompleted, TurnFailed, TurnStarted
from .errors import EngineClosed
from .errors import TurnFailed as TurnFailedError
from .events import Event, ReplayGap, decode, encode, name_of
from .messages import Block, Usage, text_of, tool_uses
from .store.base import EventRow

__all__ = ["EventStream", "Pages", "Replay", "Turn", "TurnResult"]


class TurnResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn came to.

    `text` is its whole answer; `message_id` that of the final assistant message and `user_message_id` that of the
    message it answers (both are what edit and retry take); `tool_calls` are the model's tool_use blocks in order.
    """

    text: str
    task_id: str
    turn_id: str
    user_message_id: str
    message_id: str
    stop_reason: str
    usage: Usage
    tool_calls: list[Block]


class Pages:
    """Rows as they were stored, a page at a time: rows that are ready together, or an empty page for a heartbeat."""

    def __init__(self, open_reader: Callable[[], Awaitable[Reader]]) -> None:
        self._open_reader = open_reader
        self._reader: Reader | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[EventRow]:
        """The next page. Cancelling loses nothing: the next call goes on from the same place."""
        if self._reader is None and not self._closed:
            self._reader = await self._open_reader()
        if self._reader is None or self._closed:
            raise StopAsyncIteration
        return await self._reader.__anext__()

    async def aclose(self) -> None:
        """Stop reading, from any task; a reader that waits ends at once."""
        self._closed = True
        if self._reader is not None:
            self._reader.stop()


class EventStream:
    """Events, one at a time. `cursor` is the `after` that continues behind the last one given (unix ms)."""

    def __init__(self, pages: Pages, *, cursor: int = 0) -> None:
        self._pages = pages
        self._ready: list[EventRow] = []
        self.cursor = cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event. Cancelling loses nothing."""
        while not self._ready:
            self._ready = list(reversed(await self._pages.__anext__()))
        row = self._ready.pop()
        self.cursor = row.ts or self.cursor
        return decode(row.type, row.body)

    async def aclose(self) -> None:
        """Stop reading, from any task."""
        self._ready.clear()
        await self._pages.aclose()


class _Stream(ABC):
    """What a turn and a replay share: each `async for` reads from the start; `anext` goes on with one reading."""

    def __init__(self) -> None:
        self._streams: list[EventStream] = []
        self._one: EventStream | None = None

    @abstractmethod
    def pages(self, *, heartbeat: float | None = None) -> Pages: ...

    def __aiter__(self) -> EventStream:
        stream = EventStream(self.pages())
        self._streams.append(stream)
        return stream

    async def __anext__(self) -> Event:
        """The next event of one reading that goes on across calls. Cancelling loses nothing."""
        if self._one is None:
            self._one = self.__aiter__()
        return await self._one.__anext__()

    @property
    def cursor(self) -> int:
        """The `after` that continues behind the last event that the latest reading gave; 0 before the first."""
        return self._streams[-1].cursor if self._streams else 0

    async def aclose(self) -> None:
        """Stop all reading, from any task. The turn goes on; `Engine.cancel` stops it."""
        for stream in self._streams:
            await stream.aclose()


class Turn(_Stream):
    """One turn, already under way. Iterate it for its events, or await it for its `TurnResult`.

    Iterating twice gives the events twice. What is known before the first event (`MessageNotFound`, `TaskBusy`,
    `StoreBusy`, …) is raised by the first use.
    """

    def __init__(self, supervisor: Supervisor, ticket: Ticket) -> None:
        super().__init__()
        self._supervisor = supervisor
        self._ticket = ticket
        self.task_id = ticket.task_id
        self.turn_id = ticket.turn_id

    def __repr__(self) -> str:
        return f"<Turn {self.turn_id} of task {self.task_id!r}>"

    async def started(self) -> None:
        """Wait until the turn's first event is durable; raise what kept it from starting. Cancelling stops the wait."""
        await self._ticket.opened.wait()
        if self._ticket.error is not None:
            raise self._ticket.error

    def pages(self, *, heartbeat: float | None = None) -> Pages:
        """The turn's rows from its first one on; with `heartbeat`, an empty page after so many silent seconds."""

        async def open_reader() -> Reader:
            await self.started()
            channel = self._ticket.channel
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

        return Pages(open_reader)

    def __await__(self) -> Generator[None, None, TurnResult]:
        return self.result().__await__()

    async def result(self) -> TurnResult:
        """Wait for the end. Raises `TurnFailed` with the code of the turn's `error` event, `EngineClosed` where the
        engine was closed first, or what kept the turn from starting. Cancelling stops the wait, not the turn.
        """
        await self.started()
        await self._ticket.closed.wait()
        channel = self._ticket.channel
        if channel is not None and channel.failure is not None:
            raise channel.failure
        facts = await read_turn(self._supervisor.store, self.task_id, self.turn_id)
        return _result(facts)


def _result(facts: Sequence[Fact]) -> TurnResult:
    started, last = facts[0], facts[-1]
    assert isinstance(started, TurnStarted)
    if isinstance(last, TurnFailed):
        raise TurnFailedError(last.message, code=last.code, turn_id=started.turn_id, **last.details)
    if not isinstance(last, TurnCompleted):
        raise EngineClosed("The engine was closed before this turn ended.", turn_id=started.turn_id)
    replies = [fact for fact in facts if isinstance(fact, AssistantReplied)]
    cut = "".join(fact.text for fact in facts if isinstance(fact, AssistantCut))
    return TurnResult(
        text="".join(text_of(reply.content) for reply in replies) + cut,
        task_id=started.task_id,
        turn_id=started.turn_id,
        user_message_id=started.message_id,
        message_id=last.message_id,
        stop_reason=last.stop_reason,
        usage=sum((reply.usage for reply in replies), Usage()),
        tool_calls=[use for reply in replies for use in tool_uses(reply.content)],
    )


class Replay(_Stream):
    """What is kept of a task's events after a cursor, then the live turn to its end. Read-only, any number at once.

    `task_id` is None until `started`, when none was asked for: the task whose turn started last is meant.
    """

    def __init__(self, supervisor: Supervisor, *, task_id: str | None, after: int) -> None:
        super().__init__()
        self._supervisor = supervisor
        self._after = after
        self._resolved = False
        self.task_id = task_id

    async def started(self) -> None:
        """Find out which task is meant. Cancelling is harmless."""
        if self._resolved:
            return
        if self.task_id is None:
            self.task_id = await self._supervisor.store.latest()
        if self.task_id is not None and (ticket := self._supervisor.live.get(self.task_id)) is not None:
            await ticket.opened.wait()
        self._resolved = True

    def pages(self, *, heartbeat: float | None = None) -> Pages:
        """The rows; with `heartbeat`, an empty page after so many silent seconds."""

        async def open_reader() -> Reader:
            await self.started()
            task_id = self.task_id or ""
            live = self._supervisor.live

            def channel_of_task() -> Channel | None:
                ticket = live.get(task_id)
                return None if ticket is None else ticket.channel

            reader = Reader(
                store=self._supervisor.store,
                clock=self._supervisor.resources.world.clock,
                task_id=task_id,
                after=self._after,
                live=channel_of_task,
                heartbeat=heartbeat,
                first=await self._gap(task_id),
            )
            self._supervisor.readers.add(reader)
            return reader

        return Pages(open_reader)

    async def _gap(self, task_id: str) -> Sequence[EventRow]:
        """A gap is always announced. Asking for all that is kept (0) leaves none."""
        row = await self._supervisor.store.task(task_id)
        if row is None or self._after == 0 or self._after >= row.trimmed_to:
            return ()
        kept = await self._supervisor.store.events(task_id, after=row.trimmed_to, limit=1)
        gap = ReplayGap(oldest=kept[0].ts if kept else row.trimmed_to)
        return (EventRow(ts=0, turn_id="", type=name_of(gap), body=encode(gap)),)
