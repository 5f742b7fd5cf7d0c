"""Migrations: numbered SQL files, forward only, each one whole or not at all.

What SQL cannot do (the body of a memory, its checksum) is a step in Python behind the last file, and done once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from .._memory.records import Memory
from .._memory.rows import memory_of
from .._memory.rules import is_erased
from .._seams import CrashPoint
from .._turn.facts import decode_fact, encode_fact
from .._turn.quotes import unquoted
from ..errors import ConfigurationError, MigrationRequired, StoreCorrupt
from . import _branches as branches
from . import _memories as memories
from ._compact import owe_words
from ._reads import read_turn, read_turns
from ._writes import rewrite_facts

__all__ = ["APPLICATION_ID", "SCHEMA", "migrate"]

APPLICATION_ID = 0x53455054
"""What marks a SQLite file as ours: "SEPT"."""


ADOPTED = "turns of memories"
"""The mark that says that what releases before 0.2 wrote is as this one expects: memories know the turns that they came
from, and what was erased is quoted nowhere.
"""


def _scripts() -> list[str]:
    folder = Path(__file__).with_name("migrations") / "sqlite"
    return [file.read_text("utf-8") for file in sorted(folder.glob("*.sql"))]


SCRIPTS = _scripts()
SCHEMA = len(SCRIPTS)
"""The schema version that this release writes."""


def migrate(db: sqlite3.Connection, crash: CrashPoint) -> None:
    """Bring the schema up to `SCHEMA`. Raises `MigrationRequired` for a newer one and `ConfigurationError` for a file
    that is not ours.
    """
    [(owner,)] = db.execute("PRAGMA application_id")
    [(version,)] = db.execute("PRAGMA user_version")
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_master")
    if owner != APPLICATION_ID and (owner or version or tables):
        raise ConfigurationError("This database belongs to another program. Give the engine a file of its own.")
    if version > SCHEMA:
        raise MigrationRequired(
            f"The database has schema {version}; this release knows up to {SCHEMA}. Update September Engine.",
            found=version,
            known=SCHEMA,
        )
    for number, script in enumerate(SCRIPTS[version:], start=version + 1):
        _apply(db, number, script, crash)
    _adopt(db)


def _apply(db: sqlite3.Connection, number: int, script: str, crash: CrashPoint) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in _statements(script):
            db.execute(statement)
            crash("store.migrate.statement")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {number}")
        crash("store.migrate.before")
        db.execute("COMMIT")
        crash("store.migrate.after")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _adopt(db: sqlite3.Connection) -> None:
    if db.execute("SELECT 1 FROM memory_marks WHERE name = ?", (ADOPTED,)).fetchone() is not None:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        branches.adopt(db)
        _forget_erased(db)
        db.execute("INSERT INTO memory_marks VALUES (?, '1')", (ADOPTED,))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _forget_erased(db: sqlite3.Connection) -> None:
    """Take what releases before 0.2 erased out of the logs that quote it, and have it taken out of the index of words.

    They did neither. A log that is damaged, or of no release of ours, is left alone.
    """
    if db.execute("SELECT 1 FROM memories").fetchone() is not None:
        owe_words(db)
    quoted = (
        "SELECT tasks.task_id, memory_id FROM quotes JOIN tasks USING (task) "
        "JOIN memories ON memories.id = memory_id AND NOT memories.current"
    )
    tasks: dict[str, list[str]] = {}
    for task_id, memory_id in db.execute(quoted).fetchall():
        tasks.setdefault(task_id.decode(), []).append(memory_id)
    for task_id, ids in tasks.items():
        with suppress(StoreCorrupt, msgspec.MsgspecError):
            gone = [memory for row in memories.readable(db, ids) if is_erased(memory := memory_of(row))]
            if gone:
                _unquote(db, task_id, gone)


def _unquote(db: sqlite3.Connection, task_id: str, gone: Sequence[Memory]) -> None:
    rows = [row for turn in read_turns(db, task_id) for row in read_turn(db, task_id, turn.turn_id)]
    rows.sort(key=lambda row: row.seq)
    facts = [decode_fact(row.body) for row in rows]
    changed = [
        replace(row, body=encode_fact(clean))
        for row, fact, clean in zip(rows, facts, unquoted(facts, gone), strict=True)
        if clean is not fact
    ]
    rewrite_facts(db, task_id, changed, [memory.id for memory in gone])


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
