"""The store on one SQLite file: the default. Nothing to set up, one process, everything durable before it is seen.

The file is in WAL mode with `synchronous = FULL`. One connection writes and checkpoints; another one, read-only,
reads. A lock beside the file keeps a second engine away and is freed by the kernel when the process ends.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import anyio

from .._seams import CrashPoint, no_crash
from ..errors import ConfigurationError, EngineClosed, EngineError, StoreBusy, StoreFull, StoreInUse
from ..memory.sqlite import SQLiteMemories
from . import _compact as compacting
from . import _reads as reads
from . import _writes as writes
from ._connection import Connection, connect, error_of
from ._lock import FileLock, file_error
from ._migrate import migrate
from ._writer import Job, Writer
from .base import Batch, CompactProgress, CompactReport, EventRow, FactRow, OnProgress, TaskRow, TurnRow

__all__ = ["SQLiteStore"]

P = ParamSpec("P")
T = TypeVar("T")

LEAST_SPACE = 4 * 1024 * 1024
"""Below this many free bytes a turn cannot be expected to fit."""

PULSE_SECONDS = 0.5
"""How often whoever compacts hears that it goes on."""

MERGED_AT_CLOSE = 64
"""Steps of merging the index of words that closing may take, some 30 ms each; the rest is done after the next start."""


class SQLiteStore:
    """A `Store` in one file.

    Args:
        path: The database file; it and its folder are made where they are missing, for their owner only. `~` is home.
        durability: "full" flushes every commit to the disk. "relaxed" lets the deltas of an answer that is being
            written wait for the next other commit: a power cut may take its last words, a crash of the process none.
        busy_timeout: Seconds to wait for another program that holds the database's lock, such as a backup.
        crash: Called at named points, for tests.

    Attributes:
        memories: Long-term memory, kept in the same file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["full", "relaxed"] = "full",
        busy_timeout: float = 5.0,
        crash: CrashPoint = no_crash,
    ) -> None:
        self.path = Path(os.path.expanduser(path))
        self._relaxed = durability == "relaxed"
        self._busy_timeout = busy_timeout
        self._crash = crash
        self._lock = FileLock(self.path)
        self._open_turns = writes.OpenTurns()
        self._writer: Writer | None = None
        self._write_connection: Connection | None = None
        self._read_connection: Connection | None = None
        self._compacting: set[threading.Event] = set()
        self.memories = SQLiteMemories(read=self._read, write=lambda job: self._running.put(job))

    def __repr__(self) -> str:
        return f"SQLiteStore({str(self.path)!r})"

    @property
    def files(self) -> tuple[str, ...]:
        path = os.path.abspath(self.path)
        return (path, *(f"{path}{suffix}" for suffix in ("-wal", "-shm", "-journal", ".lock")))

    # ── Lifecycle ────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Lock, create or migrate, and connect. Raises as the port says; cancelling leaves the store closed."""
        if self._writer is not None:
            raise StoreInUse(f"{self.path} is open in another engine of this process.", pid=os.getpid())
        self._make_file()
        self._lock.acquire()
        try:
            connection = await self._connect()
        except BaseException as error:
            await self._free()
            if isinstance(error, EngineError) or not isinstance(error, Exception):
                raise
            if isinstance(known := error_of(error), StoreFull):
                raise known from error
            raise ConfigurationError(f"{self.path} cannot be used as a database: {error}.") from error
        self._open_turns.forget()
        self._writer = Writer(
            connection,
            reopen=self._reconnect,
            undone=self._open_turns.forget,
            relaxed=self._relaxed,
            crash=self._crash,
        )
        self._writer.start()

    def _make_file(self) -> None:
        """For the owner only, and never through a link that somebody else may have put there."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise file_error(self.path, error) from error
        except ValueError as error:  # no path at all, such as one with a NUL in it
            raise ConfigurationError(f"The database {str(self.path)!r} cannot be opened: {error}.") from error

    async def _connect(self) -> Connection:
        self._write_connection = await connect(self.path, timeout=self._busy_timeout, read_only=False)
        await self._write_connection.run(migrate, self._crash)
        self._read_connection = await connect(self.path, timeout=self._busy_timeout, read_only=True)
        return self._write_connection

    async def _reconnect(self) -> Connection:
        await self._disconnect()
        return await self._connect()

    async def _disconnect(self) -> None:
        """The writing connection goes last: it is the one that checkpoints."""
        connections = (self._read_connection, self._write_connection)
        self._read_connection = self._write_connection = None
        for connection in connections:
            if connection is not None:
                await connection.close()

    async def aclose(self) -> None:
        for stopped in self._compacting:
            stopped.set()
        if self._writer is not None and self._writer.is_here:
            with anyio.CancelScope(shield=True), suppress(EngineError):
                await self.memories.tidy(most=MERGED_AT_CLOSE)
        writer, self._writer = self._writer, None
        if writer is None:
            return
        with anyio.CancelScope(shield=True):
            await writer.finish()
        await self._free()

    async def _free(self) -> None:
        """Close, then unlock, even where the caller is cancelled: a file left locked is lost to the process."""
        try:
            with anyio.CancelScope(shield=True):
                await self._disconnect()
        finally:
            self._lock.release()

    async def check(self) -> str:
        """Ask the disk and the lock; where the last write failed, write for real."""
        writer = self._writer
        if writer is None:
            return "the store is closed"
        if self._compacting:  # what is asked now would only wait for its end
            return "ok"
        try:
            if shutil.disk_usage(self.path).free < LEAST_SPACE:
                return "the disk is full"
        except OSError as error:  # a file that was removed takes what is written, and keeps it from everybody
            return f"the database file cannot be reached: {error.strerror}"
        probe = _touch if writer.trouble is not None else _nothing
        try:
            await writer.put(Job(write=probe, landed=_lost))
        except EngineError as error:
            return error.message
        return "ok"

    async def latest(self) -> str | None:
        return await self._read(reads.latest_task)

    async def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        """As the port says. It needs room for two more copies of the file, one of them in SQLite's temporary folder.

        Appends wait for the stage "file", about a second for 100 MB.
        """
        writer, before, begun = self._running, self._size(), time.monotonic()
        wait_ms = round(self._busy_timeout * 1000)
        stopped = threading.Event()
        self._compacting.add(stopped)

        def job(work: Callable[[sqlite3.Connection], object], *, alone: bool) -> Job:
            return Job(write=partial(compacting.interruptible, work=work, stopped=stopped), landed=_lost, alone=alone)

        told: tuple[str, float] = ("", 0.0)

        def tell(name: Literal["words", "file", "log"]) -> None:
            nonlocal told
            seconds = time.monotonic() - begun
            if progress is not None and (name != told[0] or seconds - told[1] >= PULSE_SECONDS):
                told = (name, seconds)
                progress(CompactProgress(stage=name, seconds=seconds))

        async def stage(name: Literal["words", "file", "log"], each: Job) -> object:
            writing = asyncio.ensure_future(writer.put(each))
            try:
                while not writing.done():
                    tell(name)
                    await asyncio.wait((writing,), timeout=PULSE_SECONDS)
            except BaseException:
                stopped.set()
                with anyio.CancelScope(shield=True):  # what was begun is at its end when this call is
                    await asyncio.wait((writing,))
                writing.exception()  # it is known why it stopped
                raise
            return await writing

        try:
            begin = True
            while not await stage("words", job(partial(compacting.merge_words, begin=begin), alone=False)):
                begin = False
            await stage("file", job(compacting.rewrite_file, alone=True))
            await stage("log", job(partial(compacting.empty_log, wait_ms=wait_ms), alone=True))
        finally:
            self._compacting.discard(stopped)
        return CompactReport(bytes_before=before, bytes_after=self._size())

    def _size(self) -> int:
        """The bytes of all files that are there."""
        sizes = 0
        for name in self.files:
            with suppress(OSError):
                sizes += os.path.getsize(name)
        return sizes

    # ── EventLog ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def append(self, batch: Batch, /) -> None:
        write = partial(writes.write_batch, batch=batch, open_turns=self._open_turns)
        landed = partial(writes.holds, batch=batch)
        await self._running.put(Job(write=write, landed=landed, barrier=batch.barrier))

    async def events(self, task_id: str, /, *, after: int, limit: int = 500) -> list[EventRow]:
        return await self._read(reads.read_events, task_id, after, limit)

    async def trim(self, *, ended_before: int, limit: int = 100) -> int:
        write = partial(writes.trim_events, ended_before=ended_before, limit=limit)
        trimmed = await self._running.put(Job(write=write, landed=_lost))
        assert isinstance(trimmed, int)
        return trimmed

    # ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def task(self, task_id: str, /) -> TaskRow | None:
        return await self._read(reads.read_task, task_id)

    async def tasks(self, *, before: str | None = None, limit: int = 50) -> list[TaskRow]:
        return await self._read(reads.read_tasks, before, limit)

    async def open_tasks(self) -> list[TaskRow]:
        return await self._read(reads.read_open_tasks)

    async def delete(self, task_id: str, /) -> bool:
        write = partial(writes.delete_task, task_id=task_id, open_turns=self._open_turns)
        return bool(await self._running.put(Job(write=write, landed=_lost)))

    # ── Turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def turn(self, task_id: str, turn_id: str, /) -> list[FactRow]:
        return await self._read(reads.read_turn, task_id, turn_id)

    async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
        return await self._read(reads.read_thread, task_id, turn_id, since)

    async def turns(self, task_id: str, /) -> list[TurnRow]:
        return await self._read(reads.read_turns, task_id)

    async def find(self, task_id: str, message_id: str, /) -> FactRow | None:
        return await self._read(reads.find_fact, task_id, message_id)

    async def quoting(self, memory_ids: Sequence[str], /) -> list[str]:
        return await self._read(reads.quoting_tasks, memory_ids)

    async def rewrite(self, task_id: str, facts: Sequence[FactRow], /, *, no_longer: Sequence[str]) -> None:
        write = partial(writes.rewrite_facts, task_id=task_id, facts=facts, no_longer=no_longer)
        await self._running.put(Job(write=write, landed=_lost))

    # ── Blobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def blob(self, task_id: str, sha256: str, /) -> bytes | None:
        return await self._read(reads.read_blob, task_id, sha256)

    # ── both ways ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _running(self) -> Writer:
        if self._writer is None:
            raise EngineClosed("The store is closed.")
        return self._writer

    async def _read(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if self._read_connection is None:
            if self._writer is None:
                raise EngineClosed("The store is closed.")
            raise StoreBusy("The database is being opened again after a write that failed. Try again in a moment.")
        try:
            return await self._read_connection.run(_at_one_moment, lambda db: work(db, *args, **kwargs))
        except (sqlite3.Error, ValueError) as error:
            raise error_of(error) from error


def _at_one_moment(db: sqlite3.Connection, read: Callable[[sqlite3.Connection], T]) -> T:
    """One read, all of it in one snapshot: what is trimmed or deleted between two statements is not damage."""
    db.execute("BEGIN")
    try:
        return read(db)
    finally:
        if db.in_transaction:  # some errors end it
            db.execute("ROLLBACK")


def _nothing(db: sqlite3.Connection) -> None:
    """Taking the write lock was the question."""


def _touch(db: sqlite3.Connection) -> None:
    [(version,)] = db.execute("PRAGMA user_version")
    db.execute(f"PRAGMA user_version = {version}")


def _lost(db: sqlite3.Connection) -> bool:
    """Whether it is there or not, it is done again."""
    return False
