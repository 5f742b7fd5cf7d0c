"""Channel: the one way from a running turn into the log, and from the log to its readers.

1. Durable before visible: a row is published only after `store.append` returned.
2. Natural batching: while one append runs, what comes next collects; adjacent deltas of a block become one.
3. Time only moves forward: `ts = max(now, last + 1)`, from the task's stored maximum.
4. Readers are cursors. The channel keeps a bounded tail for those who are close; the rest read the store.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import anyio
import attrs
from msgspec.structs import replace

from .._seams import Clock, CrashPoint
from .._turn.facts import Fact, encode_fact, message_id_of
from .._turn.state import Standing
from ..errors import EngineClosed, EngineError, Fenced
from ..events import Error, Event, TextDelta, ThinkingDelta, ThreadLifecycle, encode, name_of, timestamp
from ..store.base import Batch, EventLog, EventRow, FactRow, TaskRow, TurnRow

__all__ = ["Channel"]

TAIL = 2048
"""Rows kept in memory for readers that keep up: what bounds a turn's memory, whoever reads it."""

MOST_DELTA = 16 * 1024
"""Characters of merged deltas in one event."""


@attrs.define
class _Delta:
    """Text of one block that nobody has seen yet."""

    kind: type[TextDelta] | type[ThinkingDelta]
    parts: list[str]
    size: int


@attrs.define(kw_only=True)
class _Commit:
    """Facts and the events they present, waited for by the runner."""

    facts: Sequence[Fact]
    events: Sequence[Event]
    standing: Standing
    turn: TurnRow | None
    durable: anyio.Event = attrs.field(factory=anyio.Event)


class Channel:
    """The channel of one turn. `run` must be running while anything is appended."""

    def __init__(self, *, store: EventLog, clock: Clock, crash: CrashPoint, row: TaskRow, turn_id: str) -> None:
        self._store = store
        self._clock = clock
        self._crash = crash
        self._row = replace(row, epoch=row.epoch + 1)
        self._claimed = False
        self._pending: list[_Delta | Event | _Commit] = []
        self._wanted = anyio.Event()
        self._tail: list[EventRow] = []
        self._tail_begins = row.last_ts
        self.turn_id = turn_id
        self.begins = row.last_ts
        self.waiters: set[anyio.Event] = set()
        self.ended = False
        self.failure: EngineError | None = None

    @property
    def row(self) -> TaskRow:
        """The task's index as the last append left it."""
        return self._row

    def emit(self, event: Event) -> None:
        """Show an event that has no fact: a delta, or the edge of a block. Seen once it is durable; never waits."""
        if self.ended:
            return
        if isinstance(event, TextDelta | ThinkingDelta):
            last = self._pending[-1] if self._pending else None
            if isinstance(last, _Delta) and isinstance(event, last.kind) and last.size < MOST_DELTA:
                last.parts.append(event.text)
                last.size += len(event.text)
                return
            self._pending.append(_Delta(type(event), [event.text], len(event.text)))
        else:
            self._pending.append(event)
        self._wanted.set()

    async def append(
        self, facts: Sequence[Fact], events: Sequence[Event], *, standing: Standing, turn: TurnRow | None = None
    ) -> None:
        """Make facts and their events durable, after everything emitted before. Raises what the store raised.

        Cancelling stops the wait, not the write.
        """
        commit = _Commit(facts=facts, events=events, standing=standing, turn=turn)
        self._pending.append(commit)
        self._wanted.set()
        await commit.durable.wait()
        if self.failure is not None:
            raise self.failure

    async def run(self) -> None:
        """Write what is pending until the turn has ended or the store fails; cancelling it is safe at any point."""
        while not self.ended:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            while self._pending and not self.ended:
                items, self._pending = self._pending, []
                await self._write(items)

    async def _write(self, items: list[_Delta | Event | _Commit]) -> None:
        batch, row = self._stamp(items)
        try:
            self._crash("channel.append.before")
            await self._store.append(batch)
            self._crash("channel.append.after")
        except EngineError as error:
            self._fail(error, items)
            return
        except Exception as error:  # a store raises EngineError only; one that does not must not hang its turns
            self._fail(EngineError(f"The store failed: {type(error).__name__}: {error}"), items)
            return
        self._row = row
        self._claimed = True
        commits = [item for item in items if isinstance(item, _Commit)]
        ended = bool(commits) and commits[-1].standing.open_turn is None
        self._publish(batch.events, ended=ended)
        for commit in commits:
            commit.durable.set()

    def _stamp(self, items: list[_Delta | Event | _Commit]) -> tuple[Batch, TaskRow]:
        """Give every row its number. Nothing is remembered until the batch is durable."""
        now = self._clock.now_ms()
        last_ts, last_seq = self._row.last_ts, self._row.last_seq
        facts: list[FactRow] = []
        rows: list[EventRow] = []
        row, turn, barrier = self._row, None, False
        for item in items:
            events: Sequence[Event]
            if isinstance(item, _Delta):
                events = (item.kind(text="".join(item.parts)),)
            elif isinstance(item, _Commit):
                events, turn, barrier = item.events, item.turn or turn, True
                for fact in item.facts:
                    last_seq += 1
                    facts.append(
                        FactRow(
                            seq=last_seq,
                            ts=max(now, last_ts + 1),
                            turn_id=self.turn_id,
                            body=encode_fact(fact),
                            message_id=message_id_of(fact),
                        )
                    )
                row = self._index(row, item.standing, now)
            else:
                events = (item,)
            for event in events:
                last_ts = max(now, last_ts + 1)
                rows.append(EventRow(ts=last_ts, turn_id=self.turn_id, type=name_of(event), body=encode(event)))
        row = replace(row, last_ts=last_ts, last_seq=last_seq)
        return (
            Batch(
                task_id=row.task_id,
                epoch=row.epoch,
                facts=facts,
                events=rows,
                task=row if barrier else None,
                turn=turn,
                claim=not self._claimed,
                barrier=barrier,
            ),
            row,
        )

    def _index(self, row: TaskRow, standing: Standing, now: int) -> TaskRow:
        return replace(
            row,
            head=standing.head,
            open_turn=standing.open_turn,
            prefix=standing.prefix,
            waiting_since=standing.waiting_since,
            created_at=row.created_at or now,
            updated_at=now,
        )

    def _publish(self, rows: Sequence[EventRow], *, ended: bool) -> None:
        self._tail += rows
        if len(self._tail) > TAIL:
            cut = len(self._tail) - TAIL // 2
            self._tail_begins = self._tail[cut - 1].ts
            del self._tail[:cut]
        if ended:
            self.ended = True
        self._wake()

    def _fail(self, error: EngineError, items: list[_Delta | Event | _Commit]) -> None:
        """The log cannot be written: tell who waits, and who reads, by events that have no number."""
        self.failure = error
        if not isinstance(error, Fenced) and self._claimed:
            now = timestamp(self._clock.now_ms())
            last_words: tuple[Event, ...] = (
                ThreadLifecycle(phase="errored", task_id=self._row.task_id, turn_id=self.turn_id, timestamp=now),
                Error(error=error.code, message=error.message, details=dict(error.details) or None),
            )
            self._tail += [
                EventRow(ts=0, turn_id=self.turn_id, type=name_of(event), body=encode(event)) for event in last_words
            ]
        self.ended = True
        for item in (*items, *self._pending):
            if isinstance(item, _Commit):
                item.durable.set()
        self._wake()

    def close(self) -> None:
        """Stop without a word: the engine shuts down. Readers end with what is durable; their cursors stay good."""
        if not self.ended:
            self.failure = EngineClosed("The engine was closed before this turn ended.", turn_id=self.turn_id)
            self.ended = True
            self._wake()

    def _wake(self) -> None:
        waiters, self.waiters = self.waiters, set()
        for waiter in waiters:
            waiter.set()

    @property
    def claimed(self) -> bool:
        """Whether anything of this turn is in the log."""
        return self._claimed

    @property
    def tail_begins(self) -> int:
        """The cursor from which the memory suffices: what lies before is in the store."""
        return self._tail_begins

    def read(self, after: int) -> Sequence[EventRow] | None:
        """The rows after this cursor, or None where they reach further back than the tail."""
        if after < self._tail_begins:
            return None
        numbered = len(self._tail)
        while numbered and self._tail[numbered - 1].ts == 0:
            numbered -= 1
        return self._tail[bisect_right(self._tail, after, hi=numbered, key=_ts) :]


def _ts(row: EventRow) -> int:
    return row.ts
