"""What was deleted or erased is in no file: found by searching their bytes."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine.errors import EngineClosed, StoreBusy, StoreFull
from september_engine.memory.base import KINDS
from september_engine.store import _compact as compacting
from september_engine.store import sqlite as store_module
from september_engine.store.base import Blob, CompactProgress
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.memories_contract import a_row
from september_engine.testing.store_writer import Writer

from .test_sqlite import opened

CANARY = "qx77431"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "brain.sqlite"


def holding(path: Path, *words: str) -> list[str]:
    """The files beside the database, and itself, in which one of these words stands."""
    files = sorted(file for file in path.parent.iterdir() if file.name.startswith(path.name))
    return [file.name for file in files if any(word.encode() in file.read_bytes() for word in words)]


async def a_task(store: SQLiteStore, task_id: str, word: str) -> None:
    """A task that holds the word in facts, events and blobs, some of them larger than a page."""
    writer = Writer(store, task_id)
    await writer.begin("t", texts=[word, word + "x" * 10_000])
    content = word.encode() * 3_000
    await writer.more(f"{word} more", blobs=[Blob(sha256=hashlib.sha256(content).hexdigest(), body=content)])
    await writer.end(ended_at=5_000)


async def test_nothing_of_a_deleted_task_is_left_after_compacting(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        for task_id, word in (("a", "kept"), ("b", CANARY), ("c", "kept")):
            await a_task(store, task_id, word)
        assert holding(path, CANARY)
        assert await store.delete("b")
        assert holding(path, CANARY)  # as the documentation says: until it is compacted
        stages: list[str] = []
        report = await store.compact(progress=lambda progress: stages.append(progress.stage))
        assert holding(path, CANARY) == []
        assert holding(path, "kept") == ["brain.sqlite"]
        assert list(dict.fromkeys(stages)) == ["words", "file", "log"]
        assert 0 < report.bytes_after < report.bytes_before
        assert len(await store.turn("a", "t")) == 4


async def test_trimmed_events_are_gone_after_compacting(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        writer = Writer(store)
        await writer.begin("t", texts=["plain"])
        await writer.deltas(CANARY)
        await writer.end(ended_at=5_000)
        assert await store.trim(ended_before=9_000) == 1
        await store.compact()
        assert holding(path, CANARY) == []


async def test_erased_words_are_in_no_file_once_it_is_tidied(path: Path) -> None:
    words = f"{CANARY} straße 東京 ñandú"
    async with opened(SQLiteStore(path)) as store:
        for number in range(50):  # so that there are segments to merge
            await store.memories.put([a_row(f"m{number}", f"word{number} common", speaker="Ben")])
        row = a_row("a", words, body=words.encode() * 500, speaker=CANARY, slot=CANARY)
        await store.memories.put([row], model="m", vectors={"a": CANARY.encode()})
        await store.memories.erase([a_row("a", "eras", current=False)])
        assert holding(path, CANARY)
        await store.memories.tidy()
        assert holding(path, *words.split()) == []
        found = await store.memories.match(["common"], kinds=KINDS, past=False, limit=99)
        assert len(found.rows) == 50
        with closing(sqlite3.connect(path)) as db:
            db.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('integrity-check', 1)")


@given(
    steps=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["put", "erase", "tidy"])), max_size=25),
    at_close=st.sampled_from([0, 64]),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_is_put_and_erased_in_whatever_order(
    steps: list[tuple[int, str]], at_close: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every memory that is put has words of its own; after closing, the files hold those of the ones that stand."""
    path = tmp_path_factory.mktemp("files") / "brain.sqlite"
    words: dict[int, str] = {}
    erased: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store_module, "MERGED_AT_CLOSE", at_close)
        async with opened(SQLiteStore(path)) as store:
            for place, (number, step) in enumerate(steps):
                if step == "tidy":
                    await store.memories.tidy()
                elif step == "put" and number not in words:
                    words[number] = f"zq{place}qz"
                    await store.memories.put([a_row(f"m{number}-{place}", words[number], body=words[number].encode())])
                elif step == "erase" and number in words:
                    page = await store.memories.page(kinds=KINDS, past=False)
                    [id_] = [row.id for row in page if row.words == words[number]]
                    erased.append(words.pop(number))
                    await store.memories.erase([a_row(id_, "eras", body=b"", current=False)])
    if at_close == 0:  # a close that had no time for it: it is owed still
        async with opened(SQLiteStore(path)) as store:
            await store.memories.tidy()
    assert holding(path, *erased) == [] if erased else True
    assert all(holding(path, word) for word in words.values())


async def test_a_file_of_before_that_keeps_erased_words_is_clean_after_compacting(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        await store.memories.put([a_row("a", CANARY), a_row("b", "other")])
        await store.memories.put([a_row("a", "eras")])  # as 0.1.0 erased: nothing is owed
        await store.memories.tidy()
        assert holding(path, CANARY)
        await store.compact()
        assert holding(path, CANARY) == []
        found = await store.memories.match(["other"], kinds=KINDS, past=False, limit=9)
        assert [row.id for row in found.rows] == ["b"]


async def test_turns_write_and_read_while_it_is_compacted(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        writer = Writer(store)
        await writer.begin("t")
        begun = anyio.Event()

        async def write() -> None:
            await begun.wait()
            for number in range(20):
                await writer.more(str(number))
                assert await store.turn("task", "t")

        async with anyio.create_task_group() as group:
            group.start_soon(write)
            await store.compact(progress=lambda progress: begun.set())
            assert await store.check() == "ok"
        assert len(await store.turn("task", "t")) == 21


async def test_somebody_who_reads_an_older_state_is_named_as_the_reason(path: Path) -> None:
    async with opened(SQLiteStore(path, busy_timeout=0.05)) as store:
        await a_task(store, "a", CANARY)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM tasks").fetchall()
            assert await store.delete("a")
            with pytest.raises(StoreBusy, match=r"reads the database.*compact again"):
                await store.compact()
        await store.compact()
        assert holding(path, CANARY) == []


@pytest.mark.parametrize("where", ["cancel", "raise", "close"])
async def test_what_is_stopped_leaves_the_file_as_it_was(path: Path, where: str) -> None:
    async with opened(SQLiteStore(path)) as store:
        for number in range(40):
            await a_task(store, str(number), f"word{number}")
        reached: list[str] = []

        def stop(progress: CompactProgress) -> None:
            if progress.stage != "file" or reached:
                return
            reached.append(progress.stage)
            if where == "raise":
                raise ZeroDivisionError
            if where == "cancel":
                scope.cancel()
            else:
                group.start_soon(store.aclose)

        kinds = {"raise": ZeroDivisionError, "close": EngineClosed}
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as scope:
                if where in kinds:
                    with pytest.raises(kinds[where]):
                        await store.compact(progress=stop)
                else:
                    await store.compact(progress=stop)
        assert reached
    async with opened(SQLiteStore(path)) as store:
        assert len(await store.tasks(limit=100)) == 40
        assert len(await store.turn("7", "t")) == 4
        await store.compact()


async def test_a_full_disk_is_said_and_the_store_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(db: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    async with opened(SQLiteStore(path)) as store:
        await a_task(store, "a", "word")
        with monkeypatch.context() as patched:
            patched.setattr(compacting, "rewrite_file", full)
            with pytest.raises(StoreFull):
                await store.compact()
        await a_task(store, "b", "word")
        await store.compact()


async def test_a_process_that_is_killed_in_the_middle_leaves_a_good_file(path: Path) -> None:
    program = textwrap.dedent(
        f"""
        import anyio, os
        from september_engine.store.sqlite import SQLiteStore
        async def main():
            store = SQLiteStore({str(path)!r})
            await store.open()
            os.write(1, b"open")
            while True:
                await store.compact(progress=lambda progress: os.write(1, b"x"))
        anyio.run(main)
        """
    )
    async with opened(SQLiteStore(path)) as store:
        for number in range(40):
            await a_task(store, str(number), f"word{number}")
    for after in (5, 8, 11):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read(after)
            os.kill(process.pid, signal.SIGKILL)
        async with opened(SQLiteStore(path)) as store:
            assert len(await store.tasks(limit=100)) == 40
            assert len(await store.turn("39", "t")) == 4
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_memories_that_turns_were_told_before_there_was_an_index_of_them_are_found(path: Path) -> None:
    async with opened(SQLiteStore(path)) as store:
        await Writer(store, "a").begin("t", texts=["plain"])
        await Writer(store, "b").begin("t")
    recalled = b'{"type":"recalled","at":1,"items":[{"id":"m1","text":"x","why":"y","score":0.5},{"id":"m2"}]}'
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE facts SET body = ? WHERE task = 2", (recalled,))
        db.execute("DROP TABLE quotes")
        db.execute("PRAGMA user_version = 6")
    async with opened(SQLiteStore(path)) as store:
        assert await store.quoting(["m1"]) == await store.quoting(["m2"]) == ["b"]
        assert await store.quoting(["m3"]) == []
