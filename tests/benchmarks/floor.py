"""The floor: the least code that gives what the engine gives for a chat turn. What the engine's speed is measured by.

It keeps the same promises for the one thing it does: every event is a Struct and a row of its own with a checksum and
a strictly increasing time; facts and events of a turn are fenced by an epoch; nothing is seen before a FULL commit;
one thread writes, and what comes while it commits goes into the next transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias

import msgspec

from september_engine.messages import Prompt
from september_engine.models.base import Model, ModelRequest, Reply, TextChunk

__all__ = ["Floor"]

SCHEMA = """
CREATE TABLE tasks (task INTEGER PRIMARY KEY, id BLOB UNIQUE, epoch INTEGER, last_ts INTEGER);
CREATE TABLE facts (task INTEGER, seq INTEGER, body BLOB, crc INTEGER, PRIMARY KEY (task, seq)) WITHOUT ROWID;
CREATE TABLE events (task INTEGER, ts INTEGER, type TEXT, body BLOB, crc INTEGER, PRIMARY KEY (task, ts)) WITHOUT ROWID;
"""


class Started(msgspec.Struct, tag="thread_lifecycle"):
    phase: str
    task_id: str


class Delta(msgspec.Struct, tag="text_delta"):
    text: str


class Fact(msgspec.Struct, tag_field="type"):
    role: str
    text: str


Event: TypeAlias = Started | Delta
encode = msgspec.json.encode


class _Turn:
    """One turn: what waits to be written, and what may be seen."""

    def __init__(self, task_id: str, task: int, epoch: int, last_ts: int, seq: int) -> None:
        self.task_id, self.task, self.epoch, self.last_ts, self.seq = task_id, task, epoch, last_ts, seq
        self.events: list[Event] = []
        self.facts: list[Fact] = []
        self.seen: deque[Event] = deque()
        self.news = asyncio.Event()
        self.ended = False


class Floor:
    """Chat turns on one SQLite file. `facts` of every task stay in memory: the cheapest way to build a request."""

    def __init__(self, path: Path, model: Model) -> None:
        self._path, self._model = path, model
        self._queue: SimpleQueue[_Turn | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: dict[str, list[Fact]] = {}
        self._tasks: dict[str, _Turn] = {}

    async def __aenter__(self) -> Floor:
        self._loop = asyncio.get_running_loop()
        self._writer = threading.Thread(target=self._write)
        self._writer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._queue.put(None)
        await asyncio.to_thread(self._writer.join)

    async def execute(self, message: str, task_id: str) -> AsyncIterator[Event]:
        """Run one turn and yield what is durable of it."""
        before = self._tasks.get(task_id)
        task = len(self._tasks) + 1 if before is None else before.task
        epoch, last_ts, seq = (0, 0, 0) if before is None else (before.epoch, before.last_ts, before.seq)
        turn = self._tasks[task_id] = _Turn(task_id, task, epoch + 1, last_ts, seq)
        running = asyncio.create_task(self._run(turn, message))
        while True:
            await turn.news.wait()
            turn.news.clear()
            while turn.seen:
                yield turn.seen.popleft()
            if turn.ended:
                break
        await running

    async def _run(self, turn: _Turn, message: str) -> None:
        thread = self._threads.setdefault(turn.task_id, [])
        thread.append(Fact("user", message))
        self._put(turn, Started("started", turn.task_id), thread[-1])
        messages = [{"role": fact.role, "content": [{"type": "text", "text": fact.text}]} for fact in thread]
        request = ModelRequest(prompt=Prompt(system="", tools=[], messages=messages), max_tokens=1000)
        async for chunk in self._model.stream(request):
            if isinstance(chunk, TextChunk):
                self._put(turn, Delta(chunk.text))
            elif isinstance(chunk, Reply):
                thread.append(Fact("assistant", chunk.content[0]["text"]))
        self._put(turn, Started("completed", turn.task_id), thread[-1])

    def _put(self, turn: _Turn, event: Event, fact: Fact | None = None) -> None:
        with self._lock:  # or the writer takes what there was in between, and is never told of the rest
            if not turn.events:
                self._queue.put(turn)
            turn.events.append(event)
            if fact is not None:
                turn.facts.append(fact)

    def _write(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None)
        db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {SCHEMA}")
        while True:
            turns = [self._queue.get()]
            while not self._queue.empty():
                turns.append(self._queue.get())
            db.execute("BEGIN IMMEDIATE")
            written = [(turn, self._rows(db, turn)) for turn in turns if turn is not None]
            db.execute("COMMIT")
            if written:
                self._loop.call_soon_threadsafe(_publish, written)
            if None in turns:
                db.close()
                return

    def _rows(self, db: sqlite3.Connection, turn: _Turn) -> list[Event]:
        with self._lock:
            events, turn.events = turn.events, []
            facts, turn.facts = turn.facts, []
        now = time.time_ns() // 1_000_000
        rows = []
        for event in events:
            turn.last_ts = ts = max(now, turn.last_ts + 1)
            body = encode(event)
            rows.append((turn.task, ts, type(event).__struct_config__.tag, body, zlib.crc32(body, ts)))
        place = (turn.epoch, turn.last_ts, turn.task, turn.epoch)
        if not db.execute("UPDATE tasks SET epoch = ?, last_ts = ? WHERE task = ? AND epoch <= ?", place).rowcount:
            db.execute(
                "INSERT INTO tasks VALUES (?, ?, ?, ?)", (turn.task, turn.task_id.encode(), turn.epoch, turn.last_ts)
            )
        for fact in facts:
            turn.seq += 1
            body = encode(fact)
            db.execute("INSERT INTO facts VALUES (?, ?, ?, ?)", (turn.task, turn.seq, body, zlib.crc32(body, turn.seq)))
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)
        return events


def _publish(written: list[tuple[_Turn, list[Event]]]) -> None:
    for turn, events in written:
        turn.seen.extend(events)
        last = events[-1] if events else None
        turn.ended = isinstance(last, Started) and last.phase == "completed"
        turn.news.set()
