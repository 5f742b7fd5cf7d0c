"""SIGKILL in the middle of a summary, of distilling, of an import and of a large picture."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from september_engine.events import CompactionEvent, encode, name_of
from september_engine.memory.base import Episode, Memory
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.log_checker import check_task
from tests.faults.forkserver import passes_of, spread, survives
from tests.faults.growing import BUNDLE, IMPORTED, TASK, engine_on, growing, picture

pytestmark = pytest.mark.campaign

EACH = 2
POINTS = (
    "channel.append.before",
    "channel.append.after",
    "store.begin",
    "store.written",
    "store.commit.before",
    "store.commit.after",
    "workload.summary",
    "workload.distilling",
    "workload.import",
)


def test_a_kill_while_memory_grows_and_a_thread_is_told_in_brief_loses_nothing(tmp_path: Path) -> None:
    passes = passes_of(growing, tmp_path / "whole")
    assert passes.keys() >= set(POINTS)
    kills = Counter[str]()
    for name in POINTS:
        # what runs behind the turns is not always done by the same time: the last passes may not come
        for nth in spread(max(passes[name] - 3, 1), EACH):
            folder = tmp_path / f"{name}.{nth}"
            kills[name] += not survives(growing, folder, name, nth)
            asyncio.run(examine(folder))
    assert all(kills[name] for name in POINTS)


async def examine(folder: Path) -> None:
    """The next process goes on, and what was seen, said, learned and imported is there once."""
    seen = [line.split("\t") for line in (folder / "seen").read_text().splitlines()]
    async with engine_on(folder) as engine:
        stream = engine.replay(task_id=TASK).__aiter__()
        events = [(stream.cursor, event) async for event in stream]
        assert [[str(ts), name_of(event), encode(event).decode()] for ts, event in events[: len(seen)]] == seen
        for number in range(3):
            await engine.execute(f"Once more {number}.", task_id=TASK)
        await engine.remembered()
        kept = await memories(engine)
        imported = [each.id for each in kept if each.id.startswith("mem_in_")]
        assert len(imported) % 500 == 0 or len(imported) == IMPORTED
        assert await engine.memory.import_bundle(BUNDLE) == IMPORTED - len(imported)
        assert await engine.memory.import_bundle(BUNDLE) == 0
        said = [each for each in kept if isinstance(each, Episode) and each.speaker == "user"]
        people = [each for each in await engine.messages(TASK, limit=1_000) if each.role == "user"]
        assert sorted(str(each.source.message_id) for each in said) == sorted(each.id for each in people)
        for message in people:
            for block in message.content:
                if block["type"] == "image":
                    content = await engine.media(TASK, block["source"]["sha256"])
                    assert content.data == picture()
    store = SQLiteStore(folder / "brain.sqlite")
    await store.open()
    assert await check_task(store, TASK, every_prefix=False) == []
    await store.aclose()
    with closing(sqlite3.connect(folder / "brain.sqlite")) as db:
        blobs = [hashlib.sha256(body).hexdigest() for (body,) in db.execute("SELECT body FROM blobs")]
    assert len(blobs) == len(set(blobs)) <= 1
    assert any(isinstance(event, CompactionEvent) for _, event in events) or len(seen) < 100


async def memories(engine: object) -> list[Memory]:
    found: list[Memory] = []
    while page := await engine.memory.page(after=found[-1].id if found else None, limit=1_000):  # type: ignore[attr-defined]
        found += page
    return found
