"""Connections: one thread each, one hop per piece of work, and SQLite's errors in our words."""

from __future__ import annotations

import asyncio
import ctypes
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import aiosqlite
import anyio

from .._context.causes import reason_of
from .._forks import at_fork, not_at_fork
from ..errors import EngineError, StoreBusy, StoreCorrupt, StoreFull

__all__ = ["Connection", "connect", "error_of"]

P = ParamSpec("P")
T = TypeVar("T")


class Connection(aiosqlite.Connection):
    """An aiosqlite connection that runs a whole function in its thread.

    aiosqlite's own methods cost a hop per statement, and a transaction of such methods can be cut in the middle by a
    cancellation; a function in the thread always runs to its end. And the thread goes on where nobody can be told any
    more, because the event loop that asked has ended: another one may close the connection.
    """

    opened: Sequence[sqlite3.Connection] = ()

    async def run(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, …)` in the thread. Cancelling stops the wait, not the work."""
        if not self._running:
            raise ValueError("Connection closed")
        loop, db = asyncio.get_running_loop(), self._conn
        outcome: asyncio.Future[T] = loop.create_future()

        def answered() -> None:
            try:
                tell = partial(_settle, outcome.set_result, outcome, work(db, *args, **kwargs))
            except BaseException as error:
                tell = partial(_settle, outcome.set_exception, outcome, error)
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(tell)

        self._tx.put_nowait((None, answered))
        return await outcome

    def give_up(self) -> None:
        """In a child of a fork: SQLite's state is the parent's, so this connection must not even be closed here.

        So it is kept for good. `sqlite3_close` would take the parent's locks for its own, and remove its WAL.
        """
        for db in self.opened:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))
        self._running, self._connection = False, None

    async def close(self) -> None:
        """Do what was asked for, then close, and leave no thread behind. Harmless when repeated."""
        await super().close()
        self._thread.join()  # it has said its last word already
        not_at_fork(self)


def _settle(settle: Callable[[T], None], future: asyncio.Future[Any], value: T) -> None:
    if not future.done():
        settle(value)


async def connect(path: Path, *, timeout: float, read_only: bool) -> Connection:
    """Open one connection; `timeout` is how long it waits for another program's lock, in seconds."""
    uri = _uri(path, "ro" if read_only else "rw")
    opened: list[sqlite3.Connection] = []

    def connector() -> sqlite3.Connection:
        opened.append(sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False))
        return opened[0]

    connection = Connection(connector, 64)
    connection.opened = opened
    at_fork(connection)
    connection._thread.daemon = True  # a program that forgets to close must still be able to end
    try:
        await connection
    except BaseException:
        connection._thread.join()  # aiosqlite has stopped it, and forgets what it had just opened
        for db in opened:
            db.close()
        raise
    try:
        await connection.run(_prepare, read_only)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await connection.close()
        raise
    return connection


def _uri(path: Path, mode: str) -> str:
    return f"{path.resolve().as_uri()}?mode={mode}"


def _prepare(db: sqlite3.Connection, read_only: bool) -> None:
    db.execute("PRAGMA cell_size_check = ON")  # damage inside a page is found when the page is read
    if read_only:
        db.execute("PRAGMA query_only = ON")
        return
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, whatever SQLite was built with
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
    db.execute("PRAGMA checkpoint_fullfsync = ON")


def error_of(error: Exception) -> EngineError:
    """What an error of SQLite means to a caller. The primary codes are those of https://sqlite.org/rescode.html."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, UnicodeDecodeError):  # sqlite3 quotes a damaged schema in its own error's text
        return StoreCorrupt("The database file is damaged. Restore it from a backup.")
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # opening needs a few KiB for its shared memory
        code = sqlite3.SQLITE_FULL
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StoreBusy("Another program holds the database's write lock. Try again when it has finished.")
        case sqlite3.SQLITE_FULL:
            return StoreFull(
                "The disk is full. What was committed before is kept and can be read. Make room outside of the "
                "database (deleting a task needs room, too), then try again."
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StoreCorrupt(f"The database file is damaged ({error}). Restore it from a backup.")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return StoreBusy(f"The disk refused the database ({error}). Look at the disk; trying again is safe.")
        case _:
            return EngineError(f"The database failed ({reason_of(error)}).")
