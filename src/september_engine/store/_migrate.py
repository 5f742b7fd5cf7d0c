"""Migrations: numbered SQL files, forward only, each one whole or not at all.

What SQL cannot do (the body of a memory, its checksum) is a step in Python behind the last file, and done once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .._seams import CrashPoint
from ..errors import ConfigurationError, MigrationRequired
from . import _branches as branches

__all__ = ["APPLICATION_ID", "SCHEMA", "migrate"]

APPLICATION_ID = 0x53455054
"""What marks a SQLite file as ours: "SEPT"."""


ADOPTED = "turns of memories"
"""The mark that says that the memories of releases before 0.2 know the turns that they came from."""


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
        db.execute("INSERT INTO memory_marks VALUES (?, '1')", (ADOPTED,))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
