"""The store on one SQLite file: the default. Nothing to set up, one process, everything durable before it is seen.

The file is in WAL mode with `synchronous = FULL`. One connection writes and checkpoints; another one, read-only,
reads. A lock beside the file keeps a second engine away and is freed by the kernel when the process ends. Before and
after each write it is looked whether the file is still in its place; a child of a fork keeps nothing of all this.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import anyio

from .._forks import at_fork, blank, not_at_fork
from .._seams import CrashPoint, no_crash
from ..errors import ConfigurationError, EngineClosed, EngineError, StoreBusy, StoreFull, StoreInUse
from ..memory.sqlite import SQLiteMemories
from . import _compact as compacting
from . import _reads as reads
from . import _writes as writes
from ._connection import Connection, connect, error_of
from ._lock import FileLock, file_error
from ._migrate import migrate
from ._watch import Watch
from ._writer import Job, Writer
from .base import Batch, CompactProgress, CompactReport, EventRow, FactRow, OnProgress, TaskRow, TurnRow

__all__ = ["SQLiteStore"]

P = ParamSpec("P")
T = TypeVar("T")

CLOSED = "The store is closed."

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
        self._path = os.path.abspath(self.path)
        self._relaxed = durability == "relaxed"
        self._busy_timeout = busy_timeout
        self._crash = crash
        self._lock = FileLock(self._path)
        self._watch = Watch(self._path)
        self._closed_because = CLOSED
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
        return (self._path, *(f"{self._path}{suffix}" for suffix in ("-wal", "-shm", "-journal", ".lock")))

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
        self._closed_because = CLOSED
        at_fork(self)
        self._writer = Writer(
            connection,
            reopen=self._reconnect,
            undone=self._open_turns.forget,
            before=self._before_write,
            after=self._watch.check,
            relaxed=self._relaxed,
            crash=self._crash,
        )
        self._writer.start()

    def _make_file(self) -> None:
        """For the owner only, and never through a link that somebody else may have put there.

        A file that exists is not opened: closing it would drop the locks of whoever in this process has it open.
        """
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            if os.path.lexists(self._path):
                _check_file(self._path)
            else:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise file_error(self.path, error) from error
        except ValueError as error:  # no path at all, such as one with a NUL in it
            raise ConfigurationError(f"The database {str(self.path)!r} cannot be opened: {error}.") from error

    async def _connect(self) -> Connection:
        path = Path(self._path)
        self._write_connection = await connect(path, timeout=self._busy_timeout, read_only=False)
        await self._write_connection.run(migrate, self._crash)
        self._read_connection = await connect(path, timeout=self._busy_timeout, read_only=True)
        await self._read_connection.run(reads.latest_task)  # the first read makes the files that are to be watched
        self._watch.begin()
        if not self._watch.settled:  # a WAL that a crash left
            await self._write_connection.run(_checkpoint)
            self._watch.begin()
        return self._write_connection

    def _before_write(self) -> None:
        self._watch.look()
        if not self._lock.keep():
            self._open_turns.forget()  # another engine may have written meanwhile

    async def _reconnect(self) -> Connection:
        await self._disconnect()
        if self._writer is None:
            raise EngineClosed(self._closed_because)
        self._watch.same_file()
        return await self._connect()

    async def _disconnect(self) -> None:
        """Close both connections so that the file is whole, wherever it is now, and nothing of it is put elsewhere."""
        reader, writer = self._read_connection, self._write_connection
        self._read_connection = self._write_connection = None
        state, ours = self._watch.state(), self._watch.holds_wal
        useless = state == "overwritten" and ours and not self._watch.fits_wal
        if state == "overwritten":
            # the last one to close copies the WAL into the file; one that only reads cannot
            await _close(writer, reader)
        else:
            await _close(reader)
            if state == "moved" and ours and writer is not None:
                # SQLite would leave the WAL beside a file that it does not belong to
                with suppress(sqlite3.Error):
                    await writer.run(_fold_wal)
            await _close(writer)
        if useless:
            with suppress(OSError):
                os.replace(f"{self._path}-wal", f"{self._path}-wal.unusable")
        self._watch.pause()

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

    async def seize(self, because: str, /) -> None:
        writer, self._writer = self._writer, None
        self._closed_because = because
        if writer is not None:
            writer.abandon(because)
        await self._free()

    async def _free(self) -> None:
        """Close, then unlock, even where the caller is cancelled: a file left locked is lost to the process."""
        try:
            with anyio.CancelScope(shield=True):
                await self._disconnect()
        finally:
            self._watch.forget()
            self._lock.release()
            not_at_fork(self)

    def give_up(self) -> None:
        """In a child of a fork: nothing of the parent's database stays open here, and using the store says why."""
        if self._writer is not None:
            blank(self._watch.descriptors)
            self._watch.forget()
            self._writer = self._read_connection = self._write_connection = None
            self._closed_because = (
                "This store was opened before the process forked, and is open in the parent alone. Open a store in "
                "each process, on a file of its own."
            )

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
        except OSError as error:
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
            raise EngineClosed(self._closed_because)
        return self._writer

    async def _read(
        self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        connection = self._read_connection
        if connection is None:
            if self._writer is None:
                raise EngineClosed(self._closed_because)
            raise StoreBusy("The database is being opened again after a write that failed. Try again in a moment.")
        try:
            return await connection.run(_at_one_moment, lambda db: work(db, *args, **kwargs), self._watch.look)
        except (sqlite3.Error, ValueError) as error:
            if self._writer is None:
                raise EngineClosed(self._closed_because) from error
            raise error_of(error) from error


def _at_one_moment(db: sqlite3.Connection, read: Callable[[sqlite3.Connection], T], look: Callable[[], object], /) -> T:
    """One read, all of it in one snapshot: what is trimmed or deleted between two statements is not damage."""
    look()
    db.execute("BEGIN")
    try:
        return read(db)
    finally:
        if db.in_transaction:  # some errors end it
            db.execute("ROLLBACK")


def _check_file(path: str) -> None:
    """Raise the `OSError` that opening it for writing, not through a link, would raise."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, "it is a symbolic link; give the path of the file itself")
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not os.access(path, os.R_OK | os.W_OK):
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))  # says why not


async def _close(*connections: Connection | None) -> None:
    for connection in connections:
        if connection is not None:
            await connection.close()


def _checkpoint(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _fold_wal(db: sqlite3.Connection) -> None:
    """Copy the WAL into the database file, wherever that is, and remove the WAL. Fails where another has it open."""
    db.execute("PRAGMA journal_mode = DELETE").fetchall()


def _nothing(db: sqlite3.Connection) -> None:
    """Taking the write lock was the question."""


def _touch(db: sqlite3.Connection) -> None:
    [(version,)] = db.execute("PRAGMA user_version")
    db.execute(f"PRAGMA user_version = {version}")


def _lost(db: sqlite3.Connection) -> bool:
    """Whether it is there or not, it is done again."""
    return False
