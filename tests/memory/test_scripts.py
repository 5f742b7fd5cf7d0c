"""Words of every script: what was remembered in one form is found by another, as the first of all."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from september_engine.memory.base import Episode, Memories, Source
from september_engine.memory.inprocess import InProcessMemories
from september_engine.memory.longterm import LongTermMemory
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.fakes import FakeClock, FakeIds


class Case(NamedTuple):
    language: str
    remembered: str
    asked: str


LINES = Path(__file__).with_name("scripts.tsv").read_text("utf-8").splitlines()
CASES = [Case(*line.split("\t")) for line in LINES if not line.startswith("#")]


@pytest.fixture(params=["in the process", "SQLite"])
async def memories(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Memories]:
    if request.param == "in the process":
        yield InProcessMemories()
        return
    store = SQLiteStore(tmp_path / "brain.sqlite")
    await store.open()
    try:
        yield store.memories
    finally:
        await store.aclose()


async def remembering(memories: Memories) -> LongTermMemory:
    """A memory that holds all that is remembered in any case: each is a distractor for the others."""
    memory = LongTermMemory(memories, clock=FakeClock(), ids=FakeIds())
    source = Source(origin="person")
    talks = [Episode(text=case.remembered, at=1, source=source.__class__(origin="person", task_id=str(number)))
             for number, case in enumerate(CASES)]
    await memory.remember(*talks)
    return memory


async def first(memory: LongTermMemory, query: str) -> str | None:
    hits = await memory.recall(query, limit=3)
    assert isinstance(hits[0].memory, Episode) if hits else True
    return hits[0].memory.text if hits else None  # type: ignore[union-attr]


def by_trigrams() -> dict[Case, bool]:
    """Whether FTS5's trigrams give what was remembered first: all of the query as a part of it, or any trigram."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE VIRTUAL TABLE grams USING fts5 (text, tokenize = 'trigram')")
    db.executemany("INSERT INTO grams VALUES (?)", [(case.remembered,) for case in CASES])

    def found(wanted: str) -> str | None:
        row = db.execute("SELECT text FROM grams WHERE grams MATCH ? ORDER BY rank LIMIT 1", (wanted,)).fetchone()
        return None if row is None else str(row[0])

    def quoted(part: str) -> str:
        return '"' + part.replace('"', '""') + '"'

    result: dict[Case, bool] = {}
    for case in CASES:
        words = [word for word in case.asked.split() if len(word) > 2]
        grams = [word[place : place + 3] for word in words for place in range(len(word) - 2)]
        queries = [quoted(case.asked), " OR ".join(map(quoted, grams))]
        result[case] = any(found(query) == case.remembered for query in queries if query)
    db.close()
    return result


def test_there_are_cases_enough() -> None:
    assert len(CASES) >= 60
    assert len({case.language for case in CASES}) >= 15


async def test_what_was_remembered_is_the_first_that_is_found(memories: Memories) -> None:
    memory = await remembering(memories)
    missed = [case for case in CASES if await first(memory, case.asked) != case.remembered]
    assert missed == []


async def test_it_is_found_wherever_trigrams_find_it(memories: Memories) -> None:
    memory = await remembering(memories)
    better = by_trigrams()
    assert 20 < sum(better.values()) < len(CASES)
    missed = [case for case in CASES if better[case] and await first(memory, case.asked) != case.remembered]
    assert missed == []
