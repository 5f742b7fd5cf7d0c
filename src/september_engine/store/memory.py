"""A store in memory: everything a store must do, but for surviving its process. For tests and experiments."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from weakref import WeakValueDictionary

import attrs
from msgspec.structs import replace

from ..errors import EngineClosed, Fenced, StoreInUse
from ..memory.inprocess import InProcessMemories
from .base import Batch, Blob, CompactReport, EventRow, FactRow, OnProgress, TaskRow, TurnRow, leaves_turns, stands_at

__all__ = ["MemoryStore"]


@attrs.define
class _Turn:
    row: TurnRow
    facts: list[FactRow] = attrs.field(factory=list)
    trimmed: bool = False


@attrs.define
class _Task:
    row: TaskRow
    turns: dict[str, _Turn] = attrs.field(factory=dict)
    events: list[EventRow] = attrs.field(factory=list)
    messages: dict[str, FactRow] = attrs.field(factory=dict)
    blobs: dict[str, Blob] = attrs.field(factory=dict)
    quotes: set[str] = attrs.field(factory=set)
    left: set[str] = attrs.field(factory=set)

    def line(self, turn_id: str | None) -> list[_Turn]:
        """A turn and its ancestors."""
        line: list[_Turn] = []
        while turn_id is not None and turn_id in self.turns:
            line.append(self.turns[turn_id])
            turn_id = line[-1].row.parent
        return line


class MemoryStore:
    """A `Store` that keeps everything until the object goes; closing it loses nothing, so that it can be reopened.

    `memories` is long-term memory, kept beside.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, _Task] = {}
        self._latest: list[tuple[str, str]] = []
        self._blobs: WeakValueDictionary[str, Blob] = WeakValueDictionary()
        self._open = False
        self._closed_because = "The store is closed."
        self.memories = InProcessMemories(is_left=self._is_left)

    def __repr__(self) -> str:
        return "MemoryStore()"

    @property
    def files(self) -> tuple[str, ...]:
        return ()

    # ── Lifecycle ────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        if self._open:
            raise StoreInUse(
                "This store is open in another engine. Give each engine a store of its own.", pid=os.getpid()
            )
        self._open = True

    async def aclose(self) -> None:
        self._open = False

    async def seize(self, because: str, /) -> None:
        self._open, self._closed_because = False, because

    async def check(self) -> str:
        return "ok" if self._open else "the store is closed"

    async def latest(self) -> str | None:
        return self._latest[-1][0] if self._latest else None

    async def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        """There is nothing to do: what is deleted is gone."""
        if not self._open:
            raise EngineClosed(self._closed_because)
        return CompactReport(bytes_before=0, bytes_after=0)

    # ── EventLog ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def append(self, batch: Batch, /) -> None:
        if not self._open:
            raise EngineClosed(self._closed_because)
        task = self._admit(batch)
        turn = batch.turn
        if turn is not None:
            if turn.turn_id not in task.turns:
                task.turns[turn.turn_id] = _Turn(turn)
                self._latest.append((batch.task_id, turn.turn_id))
            else:
                known = task.turns[turn.turn_id]
                known.row = replace(known.row, ended_at=turn.ended_at)
        for fact in batch.facts:
            task.turns[fact.turn_id].facts.append(fact)
            if fact.message_id is not None:
                task.messages[fact.message_id] = fact
        for blob in batch.blobs:
            task.blobs[blob.sha256] = self._blobs.setdefault(blob.sha256, blob)
        task.quotes.update(batch.quotes)
        task.events += batch.events
        stood = stands_at(task.row)
        if batch.task is not None:
            task.row = replace(batch.task, epoch=batch.epoch, trimmed_to=task.row.trimmed_to)
        elif batch.events:
            task.row = replace(task.row, epoch=batch.epoch, last_ts=batch.events[-1].ts)
        else:
            task.row = replace(task.row, epoch=batch.epoch)
        if leaves_turns(stood, batch):
            self._move(task)

    def _move(self, task: _Task) -> None:
        """Mark the turns that are not part of the conversation now, and what they say in memory."""
        stands, task_id = stands_at(task.row), task.row.task_id
        left = task.turns.keys() - {turn.row.turn_id for turn in task.line(stands)}
        marks = {(task_id, turn_id): turn_id in left for turn_id in sorted(left ^ task.left)}
        task.left = set(left)
        self.memories.move(marks, at=task.row.last_ts)

    def _is_left(self, turn: tuple[str, str]) -> bool | None:
        task_id, turn_id = turn
        task = self._tasks.get(task_id)
        return None if task is None or turn_id not in task.turns else turn_id in task.left

    def _admit(self, batch: Batch) -> _Task:
        """The batch's task, made where it is new. Raises `Fenced` before anything is changed."""
        task = self._tasks.get(batch.task_id)
        stored = 0 if task is None else task.row.epoch
        if stored != batch.epoch - batch.claim or (task is None and batch.task is None):
            raise Fenced(f"Epoch {batch.epoch} of this task is over; {stored} is stored.", epoch=stored)
        if task is None:
            assert batch.task is not None
            task = self._tasks[batch.task_id] = _Task(batch.task)
        return task

    async def events(self, task_id: str, /, *, after: int, limit: int = 500) -> list[EventRow]:
        task = self._tasks.get(task_id)
        if task is None:
            return []
        begin = bisect_right(task.events, after, key=_ts)
        return task.events[begin : begin + limit]

    async def trim(self, *, ended_before: int, limit: int = 100) -> int:
        trimmed = 0
        for task, turn in self._ended_before(ended_before):
            if trimmed == limit:
                break
            mine = [row.ts for row in task.events if row.turn_id == turn.row.turn_id]
            if mine:
                task.row = replace(task.row, trimmed_to=max(task.row.trimmed_to, mine[-1]))
                del task.events[
                    bisect_left(task.events, mine[0], key=_ts) : bisect_right(task.events, mine[-1], key=_ts)
                ]
            turn.trimmed = True
            trimmed += 1
        return trimmed

    def _ended_before(self, ended_before: int) -> Iterator[tuple[_Task, _Turn]]:
        for task in self._tasks.values():
            for turn in task.turns.values():
                if not turn.trimmed and turn.row.ended_at is not None and turn.row.ended_at < ended_before:
                    yield task, turn

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def task(self, task_id: str, /) -> TaskRow | None:
        task = self._tasks.get(task_id)
        return None if task is None else task.row

    async def tasks(self, *, before: str | None = None, limit: int = 50) -> list[TaskRow]:
        newest_first = [task.row for task in reversed(self._tasks.values())]
        if before is None:
            return newest_first[:limit]
        places = [place for place, row in enumerate(newest_first) if row.task_id == before]
        return newest_first[places[0] + 1 :][:limit] if places else []

    async def open_tasks(self) -> list[TaskRow]:
        return [task.row for task in self._tasks.values() if task.row.open_turn is not None]

    async def delete(self, task_id: str, /) -> bool:
        self._latest = [(task, turn) for task, turn in self._latest if task != task_id]
        return self._tasks.pop(task_id, None) is not None

    # ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def turn(self, task_id: str, turn_id: str, /) -> list[FactRow]:
        turn = self._turns(task_id).get(turn_id)
        return [] if turn is None else list(turn.facts)

    async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
        turns = self._turns(task_id)
        line: list[_Turn] = []
        at: str | None = turn_id
        while at is not None and at in turns:
            line.append(turns[at])
            at = None if at == since else turns[at].row.parent
        if since is not None and line and line[-1].row.turn_id != since:
            return []
        return [fact for turn in reversed(line) for fact in turn.facts]

    async def turns(self, task_id: str, /) -> list[TurnRow]:
        return [turn.row for turn in self._turns(task_id).values()]

    async def find(self, task_id: str, message_id: str, /) -> FactRow | None:
        task = self._tasks.get(task_id)
        return None if task is None else task.messages.get(message_id)

    async def quoting(self, memory_ids: Sequence[str], /) -> list[str]:
        return [task_id for task_id, task in self._tasks.items() if not task.quotes.isdisjoint(memory_ids)]

    async def rewrite(self, task_id: str, facts: Sequence[FactRow], /, *, no_longer: Sequence[str]) -> None:
        task = self._tasks.get(task_id)
        if task is None:
            return
        new = {(fact.turn_id, fact.seq): fact for fact in facts}
        for turn_id, turn in task.turns.items():
            turn.facts = [new.get((turn_id, fact.seq), fact) for fact in turn.facts]
            task.messages |= {fact.message_id: fact for fact in turn.facts if fact.message_id is not None}
        task.quotes -= set(no_longer)

    # ── Blobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def blob(self, task_id: str, sha256: str, /) -> bytes | None:
        task = self._tasks.get(task_id)
        found = None if task is None else task.blobs.get(sha256)
        return None if found is None else found.body

    def _turns(self, task_id: str) -> dict[str, _Turn]:
        task = self._tasks.get(task_id)
        return {} if task is None else task.turns


def _ts(row: EventRow) -> int:
    return row.ts
