"""Channel: the one way from a running turn into the log, and from the log to its readers.

1. Durable before visible: a row is published only after `store.append` returned.
2. Natural batching: while one append runs, what comes next collects; adjacent deltas of a block become one.
3. Time only moves forward: `ts = max(now, last + 1)`, from the task's stored maximum.
4. Readers are cursors. The channel keeps a bounded tail for those who are close; the rest read the store.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

import attrs
from msgspec.structs import replace

from .._context.causes import kind_of
from .._seams import Clock, CrashPoint
from .._turn.facts import Fact, decode_fact, encode_fact, message_id_of
from .._turn.present import delta, with_retry
from .._turn.quotes import quoted_in
from .._turn.standing import Standing
from ..errors import EngineClosed, EngineError, Fenced
from ..events import Error, Event, ThreadLifecycle, encode, name_of, timestamp
from ..store.base import Batch, Blob, EventLog, EventRow, FactRow, TaskRow, TurnRow

__all__ = ["Channel"]

logger = logging.getLogger(__name__)

TAIL = 2048
TAIL_BYTES = 4 * 2**20
"""Rows, and bytes of them, kept in memory for readers that keep up: what a turn costs, whoever reads it."""

MOST_DELTA = 16 * 1024
"""Characters of one delta: more of them are merged up to about this, and a longer one is cut."""


@attrs.define
class _Delta:
    """Text of one block that nobody has seen yet."""

    block_type: Literal["text", "thinking"]
    parts: list[str]
    size: int


@attrs.define(kw_only=True)
class _Commit:
    """Facts and the events they present, waited for by the runner."""

    facts: Sequence[Fact]
    events: Sequence[Event]
    standing: Standing
    turn: TurnRow | None
    blobs: Sequence[Blob]
    landed: Callable[[], None] | None
    durable: asyncio.Event = attrs.field(factory=asyncio.Event)


class Channel:
    """The channel of one turn. `run` must be running while anything is appended."""

    def __init__(self, *, store: EventLog, clock: Clock, crash: CrashPoint, row: TaskRow, turn_id: str) -> None:
        self._store = store
        self._clock = clock
        self._crash = crash
        self._row = replace(row, epoch=row.epoch + 1)
        self._claimed = False
        self._pending: list[_Delta | Event | _Commit] = []
        self._wanted = asyncio.Event()
        self._tail: list[EventRow] = []
        self._tail_size = 0
        self._tail_begins = row.last_ts
        self.turn_id = turn_id
        """The message that the turn answers, once it is in the log."""
        self.begins = row.last_ts
        self.waiters: set[asyncio.Event] = set()
        self.ended = False
        self.failure: EngineError | None = None
        self.message_id = ""
        """The message that the turn answers, once it is in the log."""
        self.last_words: Sequence[EventRow] = ()

    @property
    def row(self) -> TaskRow:
        """The task's index as the last append left it."""
        return self._row

    def emit(self, event: Event) -> None:
        """Show an event that has no fact, such as the edge of a block. Seen once it is durable; never waits."""
        if not self.ended:
            self._pending.append(event)
            self._wanted.set()

    def show(self, block_type: Literal["text", "thinking"], text: str) -> None:
        """Show text of the block that is open, merged with what of it nobody has seen yet; never waits."""
        last = self._pending[-1] if self._pending else None
        if isinstance(last, _Delta) and last.block_type == block_type and last.size + len(text) <= MOST_DELTA:
            last.parts.append(text)
            last.size += len(text)
        elif not self.ended:
            pieces = [text[start : start + MOST_DELTA] for start in range(0, len(text), MOST_DELTA)]
            self._pending += [_Delta(block_type, [piece], len(piece)) for piece in pieces]
            self._wanted.set()

    async def append(
        self,
        facts: Sequence[Fact],
        events: Sequence[Event],
        *,
        standing: Standing,
        turn: TurnRow | None = None,
        blobs: Sequence[Blob] = (),
        landed: Callable[[], None] | None = None,
    ) -> None:
        """Make facts, the blobs they name and their events durable, after everything emitted before.

        Raises what the store raised, now or for something earlier, and `EngineClosed` after the end.

        `blobs` are what the facts refer to. `landed` is called when all of it is durable and before anybody sees it, so
        that whoever acts on an event finds everything else in step with it. Cancelling stops the wait, not the write.
        """
        if self.ended:
            raise self.failure or EngineClosed("This turn has ended.", turn_id=self.turn_id)
        commit = _Commit(facts=facts, events=events, standing=standing, turn=turn, blobs=blobs, landed=landed)
        self._pending.append(commit)
        self._wanted.set()
        await commit.durable.wait()
        if self.failure is not None:
            raise self.failure

    async def run(self) -> None:
        """Write what is pending until the turn has ended or the store fails; cancelling it is safe at any point."""
        while not self.ended:
            await self._wanted.wait()
            self._wanted.clear()
            await asyncio.sleep(0)  # what is ready in this very moment goes into the same transaction
            while self._pending and not self.ended:
                items, self._pending = self._pending, []
                await self._write(items)

    async def _write(self, items: list[_Delta | Event | _Commit]) -> None:
        try:
            batch, row = self._stamp(items)
            self._crash("channel.append.before")
            await self._store.append(batch)
            self._crash("channel.append.after")
        except EngineError as error:
            self._fail(error, items)
            return
        except Exception as error:  # a store that raises something else, or a fact or event that has no JSON form
            logger.error("The log of task %r could not be written.", self._row.task_id, exc_info=error)
            self._fail(EngineError(f"The log could not be written ({kind_of(error)})."), items)
            return
        self._row = row
        self._claimed = True
        commits = [item for item in items if isinstance(item, _Commit)]
        for commit in commits:
            if commit.landed is not None:
                commit.landed()
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
        blobs: list[Blob] = []
        quotes: list[str] = []
        row, turn, barrier = self._row, None, False
        for item in items:
            events: Sequence[Event]
            if isinstance(item, _Delta):
                events = (delta(item.block_type, "".join(item.parts)),)
            elif isinstance(item, _Commit):
                events, turn, barrier = item.events, item.turn or turn, True
                blobs += item.blobs
                for fact in item.facts:
                    last_seq += 1
                    quotes += quoted_in(fact)
                    facts.append(
                        FactRow(
                            seq=last_seq,
                            ts=max(now, last_ts + 1),
                            turn_id=self.turn_id,
                            body=_body(fact),
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
                blobs=blobs,
                quotes=quotes,
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
            spent_tokens=standing.tokens,
            spent_usd=standing.usd,
            created_at=row.created_at or now,
            updated_at=now,
        )

    def _publish(self, rows: Sequence[EventRow], *, ended: bool) -> None:
        self._tail += rows
        self._tail_size += sum(len(row.body) for row in rows)
        while len(self._tail) > TAIL or (self._tail_size > TAIL_BYTES and len(self._tail) > 1):
            cut = len(self._tail) // 2
            self._tail_begins = self._tail[cut - 1].ts
            self._tail_size -= sum(len(row.body) for row in self._tail[:cut])
            del self._tail[:cut]
        if ended:
            self.ended = True
        self._wake()

    def _fail(self, error: EngineError, items: list[_Delta | Event | _Commit]) -> None:
        """The log cannot be written: tell whoever waits, and whoever reads, by last words that have no number."""
        self.failure = error
        if not isinstance(error, Fenced) and self._claimed:
            now = timestamp(self._clock.now_ms())
            details = with_retry(error.details, self.message_id)
            events: tuple[Event, ...] = (
                ThreadLifecycle(phase="errored", task_id=self._row.task_id, turn_id=self.turn_id, timestamp=now),
                Error(error=error.code, message=error.message, details=details or None),
            )
            self.last_words = [
                EventRow(ts=0, turn_id=self.turn_id, type=name_of(event), body=encode(event)) for event in events
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
        return self._tail[bisect_right(self._tail, after, key=_ts) :]


def _body(fact: Fact) -> bytes:
    """The fact as it is written. Raises where it could not be read again, as with a count of tokens that is no integer.

    A Struct takes any value in, and models may be anybody's: one such fact would close its thread for good.
    """
    body = encode_fact(fact)
    decode_fact(body)
    return body


def _ts(row: EventRow) -> int:
    return row.ts
