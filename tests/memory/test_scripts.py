"""Words of every script: what was remembered in one form is found by another, as the first of all."""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from september_engine._memory.rows import row_of
from september_engine._memory.words import RULES, spoken
from september_engine.errors import StoreFull
from september_engine.memory import longterm
from september_engine.memory.base import Episode, Memories, Source
from september_engine.memory.inprocess import InProcessMemories
from september_engine.memory.longterm import INDEXED, LongTermMemory
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
    sources = [Source(origin="person", task_id=str(number)) for number in range(len(CASES))]  # no neighbours
    await memory.remember(
        *(Episode(text=case.remembered, at=1, source=source) for case, source in zip(CASES, sources, strict=True))
    )
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


async def test_how_the_letters_are_encoded_makes_no_difference(memories: Memories) -> None:
    memory = await remembering(memories)
    asked = {case: unicodedata.normalize("NFD", case.asked) for case in CASES}
    missed = [case for case in CASES if await first(memory, asked[case]) != case.remembered]
    assert missed == []


async def test_it_is_found_wherever_trigrams_find_it(memories: Memories) -> None:
    memory = await remembering(memories)
    better = by_trigrams()
    assert 20 < sum(better.values()) < len(CASES)
    missed = [case for case in CASES if better[case] and await first(memory, case.asked) != case.remembered]
    assert missed == []


async def indexed_as_before(memories: Memories, texts: list[str]) -> None:
    """Memories as release 0.1.0 wrote them: with its words, and without a mark that says so."""
    episodes = [
        Episode(id=f"m{number}", text=text, at=1, source=Source(task_id=str(number)))
        for number, text in enumerate(texts)
    ]
    rows = [replace(row_of(episode), words=" ".join(spoken(episode.text))) for episode in episodes]
    await memories.put(rows, model="m", vectors={row.id: b"abcd" for row in rows})


def a_new_process(memories: Memories) -> LongTermMemory:
    return LongTermMemory(memories, clock=FakeClock(), ids=FakeIds())


async def test_what_an_earlier_release_indexed_is_indexed_anew(memories: Memories) -> None:
    await indexed_as_before(memories, ["我用docker部署服务", "red house", "แมวชอบนอนบนโซฟา"])
    memory = a_new_process(memories)
    assert await first(memory, "docker") == "我用docker部署服务"
    assert await first(memory, "โซฟา") == "แมวชอบนอนบนโซฟา"
    assert await first(memory, "house") == "red house"
    assert len(await memories.vectors("m", after=0, limit=9)) == 3
    assert await memories.marked(INDEXED) == RULES


async def test_indexing_anew_goes_on_where_it_stopped(memories: Memories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longterm, "ANEW", 2)
    await indexed_as_before(memories, [f"我用docker{number}部署" for number in range(5)])
    await a_new_process(memories).recall("anything")
    assert await memories.marked(INDEXED) == f"{RULES} m1"
    assert len(await a_new_process(memories).recall("docker")) == 4
    memory = a_new_process(memories)
    await memory.warm()
    assert await memories.marked(INDEXED) == RULES
    assert len(await memory.recall("docker")) == 5


async def test_what_is_new_is_indexed_once(memories: Memories) -> None:
    memory = a_new_process(memories)
    await memory.remember(Episode(text="red house", at=1))
    assert await memories.marked(INDEXED) == RULES


async def test_a_recall_does_without_where_nothing_can_be_written(
    memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*args: object, **kwargs: object) -> None:
        raise StoreFull("The disk is full.")

    await indexed_as_before(memories, ["red house", "我用docker部署"])
    with monkeypatch.context() as patched:
        patched.setattr(memories, "index", full)
        memory = a_new_process(memories)
        assert await first(memory, "house") == "red house"
        assert await memories.marked(INDEXED) is None
    assert await first(memory, "docker") == "我用docker部署"


async def test_what_was_erased_is_no_longer_near_anything(memories: Memories) -> None:
    memory = a_new_process(memories)
    [secret] = await memory.remember(Episode(text="Haustürschlüssel", at=1))
    assert await first(memory, "Haustür") == "Haustürschlüssel"
    await memory.erase(secret.id, because="asked")
    assert await memory.recall("Haustür", past=True) == []
    assert "hausturschlussel" not in await memories.terms(after="", limit=99)
