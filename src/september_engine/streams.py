"""Turn and Replay: reading what an engine does. Leaving them stops the reading, never the turn.

Both are classes with `__anext__`, not async generators: they hold no task group, no timeout and no queue, so a `break`,
a dropped reference or a close from another task harms nobody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self
from weakref import WeakSet

import msgspec
from msgspec.structs import force_setattr

from ._notebook import Card, summary_card, turn_card
from ._output import Output
from ._runtime.channel import Channel
from ._runtime.reader import Reader
from ._runtime.supervisor import Supervisor
from ._runtime.tickets import Ticket
from ._turn.facts import AssistantCut, AssistantReplied, Fact, OutputRefused, TurnCompleted, TurnFailed, TurnStarted
from ._turn.present import failure_details
from ._turn.state import TurnState
from .errors import EngineClosed
from .errors import TurnFailed as TurnFailedError
from .events import Event, decode
from .messages import Block, Usage, text_of, tool_uses
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

    `text` is its whole answer; `message_id` that of the final assistant message and `user_message_id` that of the
    message it answers (both are what edit and retry take); `tool_calls` are the model's tool_use blocks in order.
    `usage` and `cost_usd` (US dollars; None: unknown) are the whole turn's, attempts that failed too. `output` is the
    value that `execute(output=…)` asked for, checked; without that, None.
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
        """The next event; those of a kind that only a later release knows are passed over. Cancelling loses nothing."""
        while True:
            while not self._ready:
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

    def __aiter__(self) -> EventStream:
        stream = self._latest = EventStream(self.pages())
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
    """

    def __init__(self, supervisor: Supervisor, ticket: Ticket, output: Output[T] | None = None) -> None:
        super().__init__()
        self._output = output
        self._supervisor = supervisor
        self._ticket = ticket
        self.task_id = ticket.task_id
        self.turn_id = ticket.turn_id

    def __repr__(self) -> str:
        return f"<Turn {self.turn_id} of task {self.task_id!r}>"

    def _repr_html_(self) -> str:
        """The card that a notebook shows: the turn as far as it has come, with its images."""
        runner = self._ticket.runner
        return turn_card(() if runner is None else tuple(runner.facts), self._peek)

    def _peek(self, sha256: str) -> str | None:
        return self._supervisor.resources.attachments.peek(self.task_id, sha256)

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

    def __await__(self) -> Generator[None, None, TurnResult[T]]:
        return self.result().__await__()

    async def result(self) -> TurnResult[T]:
        """Wait for the end. Raises `TurnFailed` with the code of the turn's `error` event, `EngineClosed` where the
        engine was closed first, or what kept the turn from starting. Cancelling stops the wait, not the turn.

        Where an `output` was asked for and no answer was it, the code is `INVALID_OUTPUT`.

        A turn that has ended gives its result after the engine was closed, too.
        """
        await self.started()
        await self._ticket.closed.wait()
        runner = self._ticket.runner
        assert runner is not None  # what has started has one
        failure = runner.channel.failure
        if isinstance(failure, EngineClosed):
            raise failure
        if failure is not None:
            raise TurnFailedError(failure.message, code=failure.code, turn_id=self.turn_id, **failure.details)
        result = _result(runner.facts, runner.state, self._output)
        force_setattr(result, CARD, partial(turn_card, tuple(runner.facts), self._peek))
        return result


def _result(facts: Sequence[Fact], state: TurnState, output: Output[T] | None) -> TurnResult[T]:
    started, last = facts[0], facts[-1]
    assert isinstance(started, TurnStarted)
    if isinstance(last, TurnFailed):
        details = failure_details(last, message_id=started.message_id, turn_id=started.turn_id)
        raise TurnFailedError(last.message, code=last.code, turn_id=started.turn_id, **details)
    assert isinstance(last, TurnCompleted)  # a turn ends in one of the two, or its channel says why not
    replies = [fact for fact in facts if isinstance(fact, AssistantReplied)]
    refused = {fact.message_id for fact in facts if isinstance(fact, OutputRefused)}
    texts = [text_of(reply.content) for reply in replies if reply.message_id not in refused]
    cut = "".join(fact.text for fact in facts if isinstance(fact, AssistantCut))
    none: Any = None
    return TurnResult(
        text="".join(texts) + cut,
        task_id=started.task_id,
        turn_id=started.turn_id,
        user_message_id=started.message_id,
        message_id=last.message_id,
        stop_reason=last.stop_reason,
        usage=state.usage,
        cost_usd=state.cost_usd,
        tool_calls=[use for reply in replies for use in tool_uses(reply.content)],
        output=none if output is None else output.read(texts[-1]),
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
        if self._found:
            return
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

        return Pages(open_reader)
