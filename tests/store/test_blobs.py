"""Blobs in a file: stored once, found damaged before they are shown, and made whole by who sends them again."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from september_engine.errors import StoreCorrupt, StoreFull
from september_engine.store._migrate import SCRIPTS, migrate
from september_engine.store.base import Blob
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.store_writer import Writer

from .test_migrate import BEFORE_BLOBS
from .test_sqlite import Failing

PICTURE = Blob(sha256=hashlib.sha256(b"a picture").hexdigest(), body=b"a picture")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "brain.sqlite"


async def refer(path: Path, *task_ids: str) -> None:
    """One turn in each task, which refers to the picture."""
    store = SQLiteStore(path)
    await store.open()
    for task_id in task_ids:
        row = await store.task(task_id)
        writer = Writer(store, task_id)
        writer.row = row or writer.row
        await writer.begin(f"turn {writer.row.epoch}")
        await writer.more("a", blobs=[PICTURE])
        await writer.end(ended_at=5_000)
    await store.aclose()


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        [(count,)] = db.execute(f"SELECT count(*) FROM {table}")
        return int(count)


async def test_one_content_is_one_row(path: Path) -> None:
    await refer(path, "one", "two", "one")
    assert (rows(path, "blobs"), rows(path, "blob_uses")) == (1, 2)


async def test_the_row_goes_with_the_last_task(path: Path) -> None:
    await refer(path, "one", "two")
    store = SQLiteStore(path)
    await store.open()
    assert await store.delete("one")
    assert rows(path, "blobs") == 1
    assert await store.delete("two")
    await store.aclose()
    assert (rows(path, "blobs"), rows(path, "blob_uses")) == (0, 0)


async def test_memory_frees_what_no_task_refers_to() -> None:
    store = MemoryStore()
    await store.open()
    for task_id in ("one", "two"):
        writer = Writer(store, task_id)
        await writer.begin("t")
        await writer.more("a", blobs=[Blob(sha256="s", body=bytes(1000))])
    assert await store.blob("one", "s") is await store.blob("two", "s")
    await store.delete("one")
    assert len(store._blobs) == 1
    await store.delete("two")
    assert len(store._blobs) == 0


@pytest.mark.parametrize("damage", ["body = x'00'", "sha256 = replace(sha256, 'a', 'b')", "crc = 1", "body = 'text'"])
async def test_damage_is_found_and_what_is_sent_again_makes_it_whole(path: Path, damage: str) -> None:
    await refer(path, "task")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE blobs SET {damage}")
        db.commit()
    store = SQLiteStore(path)
    await store.open()
    if damage.startswith("sha256"):
        assert await store.blob("task", PICTURE.sha256) is None
    else:
        with pytest.raises(StoreCorrupt, match="attachment"):
            await store.blob("task", PICTURE.sha256)
    await store.aclose()
    await refer(path, "task")
    await store.open()
    assert await store.blob("task", PICTURE.sha256) == b"a picture"
    await store.aclose()


async def test_a_database_from_before_there_were_blobs_is_migrated(path: Path) -> None:
    await refer(path, "task")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(BEFORE_BLOBS)
        migrate(db, lambda name: None)
        assert db.execute("PRAGMA user_version").fetchone() == (len(SCRIPTS),)
    await refer(path, "task")
    assert (rows(path, "facts"), rows(path, "blobs")) == (6, 1)


async def test_a_commit_that_fails_leaves_neither_the_fact_nor_what_it_refers_to(path: Path) -> None:
    failing = Failing("store.commit.before", sqlite3.SQLITE_FULL, after=1)
    store = SQLiteStore(path, crash=failing)
    await store.open()
    writer = Writer(store)
    await writer.begin("t")
    with pytest.raises(StoreFull):
        await writer.more("a", blobs=[PICTURE])
    await store.aclose()
    assert (rows(path, "facts"), rows(path, "blobs"), rows(path, "blob_uses")) == (1, 0, 0)
