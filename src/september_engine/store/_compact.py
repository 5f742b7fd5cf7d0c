"""Compacting: what makes deleted content unreadable in the file itself. Plain functions in the connection's thread.

SQLite keeps deleted content in three places. The index of words holds the terms of a deleted memory until its segments
are merged. Pages may keep bytes that were moved or freed. The log file (`-wal`) holds old pages until it is emptied.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import EngineClosed, StoreBusy

__all__ = [
    "READERS_MS",
    "empty_log",
    "interruptible",
    "merge_words",
    "owe_words",
    "rewrite_file",
    "words_are_owed",
]

T = TypeVar("T")

OWED = "words.merge"
"""The mark that says that the index of words still holds terms of memories that were erased."""

PAGES_AT_ONCE = 256
"""Of the index, merged in one transaction: some 30 ms, while which no turn can write."""

READERS_MS = 250
"""How long emptying the log waits for readers of an older state, where nobody asked for it and turns cannot write."""

OPERATIONS = 50_000
"""Of SQLite's machine between two looks at whether to go on: some milliseconds."""


def owe_words(db: sqlite3.Connection) -> None:
    """Note, in the transaction that erases, that `merge_words` is to be called until it is done."""
    db.execute("INSERT OR IGNORE INTO memory_marks VALUES (?, '1')", (OWED,))


def words_are_owed(db: sqlite3.Connection) -> bool:
    """Whether terms of erased memories may still be in the index of words."""
    return db.execute("SELECT 1 FROM memory_marks WHERE name = ?", (OWED,)).fetchone() is not None


def merge_words(db: sqlite3.Connection, *, begin: bool) -> bool:
    """Merge a part of the index into one segment, which drops deleted terms; True when that is done.

    `begin` takes in all segments that there are now. FTS5's own 'secure-delete' would do this at each deletion, but
    needs SQLite 3.42, and older ones could not read the file any more.
    """
    before = db.total_changes
    pages = -PAGES_AT_ONCE if begin else PAGES_AT_ONCE  # negative: all segments, however few they are
    db.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('merge', ?)", (pages,))
    if db.total_changes - before >= 2:  # as the documentation of FTS5 says: fewer is nothing left to do
        return False
    db.execute("DELETE FROM memory_marks WHERE name = ?", (OWED,))
    return True


def rewrite_file(db: sqlite3.Connection) -> None:
    """Write every page anew, without free pages and unused space."""
    try:
        db.execute("VACUUM")
    except sqlite3.Error:
        with suppress(sqlite3.Error, StoreBusy):  # the log has grown meanwhile: on a full disk nobody could write
            empty_log(db, wait_ms=READERS_MS)
        raise


def interruptible(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], stopped: threading.Event) -> T:
    """Do one of these; `EngineClosed` once it is `stopped`, and nothing of it is done then."""
    db.set_progress_handler(stopped.is_set, OPERATIONS)
    try:
        return work(db)
    except sqlite3.OperationalError as error:
        if stopped.is_set():
            raise EngineClosed("Compacting was stopped; the database is as it was before.") from error
        raise
    finally:
        db.set_progress_handler(None, 0)


def empty_log(db: sqlite3.Connection, *, wait_ms: int) -> None:
    """Move what the log file holds into the database, and make the log file empty.

    Raises `StoreBusy` where somebody else still reads an older state after `wait_ms`.
    """
    [(before,)] = db.execute("PRAGMA busy_timeout")
    db.execute(f"PRAGMA busy_timeout = {wait_ms}")
    try:
        [(busy, _, _)] = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        db.execute(f"PRAGMA busy_timeout = {before}")
    if busy:
        raise StoreBusy(
            "Another program reads the database, so its log file (-wal) still holds what was deleted. End that program "
            "or its transaction, then compact again."
        )
