"""A database of an older schema goes on as it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from september_engine.errors import StoreCorrupt
from september_engine.store._migrate import SCHEMA
from september_engine.store.base import Batch, TaskRow
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.store_writer import Writer

BEFORE_LEFT_BRANCHES = """
ALTER TABLE turns DROP COLUMN left_behind;
ALTER TABLE memories DROP COLUMN left_behind;
DROP TABLE memory_turns;
DROP INDEX memories_by_slot;
CREATE INDEX memories_by_slot ON memories (slot) WHERE slot IS NOT NULL AND current = 1;
DELETE FROM memory_marks;
PRAGMA user_version = 5;
"""
BEFORE_MEMORIES = f"""
{BEFORE_LEFT_BRANCHES}
DROP TABLE memory_marks;
DROP TABLE memory_terms;
DROP TABLE memory_words;
DROP TABLE memory_totals;
DROP TABLE memory_names;
DROP TABLE memory_vectors;
DROP TABLE memories;
"""
BEFORE_BLOBS = f"""
{BEFORE_MEMORIES}
DROP TABLE blob_uses;
DROP TABLE blobs;
PRAGMA user_version = 2;
"""
BEFORE_SPENT = f"""
{BEFORE_BLOBS}
ALTER TABLE tasks DROP COLUMN spent_usd;
ALTER TABLE tasks DROP COLUMN spent_tokens;
PRAGMA user_version = 1;
"""
"""Each takes a database back to an older schema, the last one to the first."""


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database with one task whose turn has ended, at no cost."""
    path = tmp_path / "brain.sqlite"
    store = SQLiteStore(path)
    await store.open()
    writer = Writer(store)
    await writer.begin("t1", texts=["one"])
    await writer.end(ended_at=2_000)
    await store.aclose()
    await spend(path, 0, 0.0)
    return path


async def row_of(path: Path) -> TaskRow:
    store = SQLiteStore(path)
    await store.open()
    try:
        row = await store.task("task")
        assert row is not None
        return row
    finally:
        await store.aclose()


async def spend(path: Path, tokens: int, usd: float | None) -> None:
    store = SQLiteStore(path)
    await store.open()
    row = await store.task("task")
    assert row is not None
    task = replace(row, spent_tokens=tokens, spent_usd=usd)
    await store.append(Batch(task_id="task", epoch=row.epoch, task=task))
    await store.aclose()


async def test_what_was_written_before_a_task_knew_what_it_had_spent_is_read_and_has_spent_nothing(path: Path) -> None:
    before = await row_of(path)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BEFORE_SPENT)
    assert await row_of(path) == before
    assert (before.spent_tokens, before.spent_usd) == (0, 0.0)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)


@pytest.mark.parametrize(("tokens", "usd"), [(5, 0.25), (5, None), (0, None), (5, 0.0), (0, 0.25), (0, 0.0)])
async def test_it_goes_on_and_spends(path: Path, tokens: int, usd: float | None) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BEFORE_SPENT)
    await spend(path, tokens, usd)
    row = await row_of(path)
    assert (row.spent_tokens, row.spent_usd) == (tokens, usd)


@pytest.mark.parametrize(
    "damage", ["spent_tokens = 0", "spent_usd = 0.5", "spent_usd = NULL", "spent_tokens = 0, spent_usd = 0"]
)
async def test_a_sum_that_was_damaged_is_found(path: Path, damage: str) -> None:
    await spend(path, 5, 0.25)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE tasks SET {damage}")
        db.commit()
    with pytest.raises(StoreCorrupt):
        await row_of(path)
