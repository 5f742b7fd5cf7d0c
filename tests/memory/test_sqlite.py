"""Memories in the file: what only a file has to fear."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from september_engine.errors import EngineClosed, StoreCorrupt
from september_engine.memory.base import KINDS
from september_engine.store import _memories as memories
from september_engine.store._migrate import SCRIPTS, migrate
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.memories_contract import a_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "brain.sqlite"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


async def test_what_was_put_survives_its_process(path: Path) -> None:
    async with opened(path) as store:
        await store.memories.put([a_row("a", "tea")], model="m", vectors={"a": b"aaaa"})
    async with opened(path) as store:
        found = await store.memories.match(["tea"], kinds=KINDS, past=False, limit=1)
        assert [row.id for row in found.rows] == ["a"]
        assert len(await store.memories.vectors("m", after=0, limit=9)) == 1


async def test_a_commit_that_failed_but_is_there_counts_as_done(path: Path) -> None:
    """The worst answer of a disk: the commit is in the file, and its error says that it is not."""

    def crash(name: str, /) -> None:
        if name == "store.commit.before" and fails:
            fails.clear()
            assert store._write_connection is not None
            assert store._write_connection._connection is not None
            store._write_connection._connection.execute("COMMIT")  # the writer's own now fails

    fails: list[bool] = []
    store = SQLiteStore(path, crash=crash)
    await store.open()
    try:
        fails.append(True)
        await store.memories.put([a_row("a")], model="m", vectors={"a": b"aaaa"})
        assert fails == []
        assert len(await store.memories.vectors("m", after=0, limit=9)) == 1
    finally:
        await store.aclose()


async def test_a_closed_store_has_no_memories(path: Path) -> None:
    store = SQLiteStore(path)
    with pytest.raises(EngineClosed):
        await store.memories.put([a_row("a")])
    with pytest.raises(EngineClosed):
        await store.memories.get(["a"])


def test_a_file_of_the_first_release_is_brought_up_to_date(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in SCRIPTS[0].split(";\n"):
            db.execute(statement)
        db.execute("PRAGMA application_id = 0x53455054")
        db.execute("PRAGMA user_version = 1")
        migrate(db, lambda name: None)
        memories.put_memories(db, [a_row("a", "tea")], "", {})
        assert [row.id for row in memories.get(db, ["a"])] == ["a"]


@pytest.mark.parametrize("column", ["body", "speaker", "at", "current", "words"])
async def test_a_damaged_memory_is_not_shown(path: Path, column: str) -> None:
    async with opened(path) as store:
        await store.memories.put([a_row("a", "tea"), a_row("b", "coffee")])
    with closing(sqlite3.connect(path)) as db:
        value = {"body": b"other", "speaker": "Eve", "at": 7, "current": 2, "words": "x"}[column]
        db.execute(f"UPDATE memories SET {column} = ? WHERE id = 'a'", (value,))
        db.commit()
    async with opened(path) as store:
        with pytest.raises(StoreCorrupt, match="a memory"):
            await store.memories.get(["a"])
        assert [row.id for row in await store.memories.get(["b"])] == ["b"]


async def test_a_damaged_vector_is_not_used(path: Path) -> None:
    async with opened(path) as store:
        await store.memories.put([a_row("a")], model="m", vectors={"a": b"aaaa"})
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE memory_vectors SET vector = x'00000000'")
        db.commit()
    async with opened(path) as store:
        with pytest.raises(StoreCorrupt, match="vector"):
            await store.memories.vectors("m", after=0, limit=9)


def test_common_words_bring_in_only_the_newest_that_hold_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "MOST_SCORED", 20)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, lambda name: None)
        rows = [a_row(f"m{number}", "tea" if number % 2 else "tea milk") for number in range(100)]
        memories.put_memories(db, [*rows, a_row("rare", "tea cardamom")], "", {})

        def found(*terms: str, limit: int = 5) -> list[str]:
            matches = memories.match(db, terms, KINDS, False, limit, memories.TermCounts())
            assert matches.about.holding["tea"] == 101
            return [row.id for row in matches.rows]

        assert found("tea", "milk") == ["m98", "m96", "m94", "m92", "m90"]
        assert found("tea", "cardamom") == ["rare", "m99", "m98", "m97", "m96"]
        assert found("tea", limit=2) == ["rare", "m99"]


def test_the_count_of_a_common_term_is_kept_while_it_is_about_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "MANY", 2)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, lambda name: None)
        memories.put_memories(db, [a_row(str(number), "tea") for number in range(5)], "", {})
        counts = memories.TermCounts()
        assert counts.of(db, "tea", 500) == 5
        memories.put_memories(db, [a_row("more", "tea")], "", {})
        assert counts.of(db, "tea", 504) == 5
        assert counts.of(db, "tea", 600) == 6
        assert counts.of(db, "none", 600) == 0


async def test_no_read_of_a_recall_looks_at_every_memory(path: Path) -> None:
    statements: list[str] = []
    async with opened(path) as store:
        await store.memories.put([a_row("a", "tea", slot="s")], model="m", vectors={"a": b"aaaa"})
        assert store._read_connection is not None
        await store._read_connection.run(lambda db: db.set_trace_callback(statements.append))
        await store.memories.match(["tea"], kinds=KINDS, past=False, limit=9)
        await store.memories.get(["a"])
        await store.memories.at([("task", 0)])
        await store.memories.between(0, 2_000, kinds=KINDS, past=False, limit=9)
        await store.memories.filling("s")
        await store.memories.about(["Ana", "Ben"], past=False, limit=9)
        await store.memories.page(kinds=KINDS, past=True, after="a")
        await store.memories.vectors("m", after=0, limit=9)
    with closing(sqlite3.connect(path)) as db:
        for statement in statements:
            if statement.startswith(("SELECT", "WITH")):
                plan = [line[3] for line in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
                scans = [line for line in plan if line.startswith("SCAN") and not HARMLESS.intersection(line.split())]
                assert scans == [], statement


HARMLESS = {"VIRTUAL", "memory_totals", "p", "CONSTANT"}
"""FTS5's index, the table of one row, and the list of places."""
