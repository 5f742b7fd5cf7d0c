"""What an edit or retry leaves is not current in any place for memories, and is again where the thread goes back."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from september_engine._memory.rules import LEFT
from september_engine.memory.base import Episode, Knowledge, Memory, Mention, Person, Relation, Source, Trait
from september_engine.memory.longterm import LongTermMemory
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.fakes import FakeClock, FakeIds
from september_engine.testing.store_writer import Writer
from tests.store.test_migrate import BEFORE_LEFT_BRANCHES

Place = Callable[[], Any]


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Makes a store; of a file always the same one."""
    kept = MemoryStore()
    return lambda: kept if request.param == "memory" else SQLiteStore(tmp_path / "brain.sqlite")


class Lengths:
    name, dimensions = "lengths", 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embed(self, texts: list[str], /) -> list[list[float]]:
        self.asked += texts
        return [[1.0, float(len(text))] for text in texts]


class Thread:
    """A task whose turns begin and end, and a memory beside it."""

    def __init__(self, store: Any, **more: Any) -> None:
        self.memory = LongTermMemory(store.memories, clock=FakeClock(), ids=FakeIds(), **more)
        self.writer = Writer(store)

    async def turn(
        self, turn_id: str, *, parent: str | None, counts: bool = True, says: tuple[Memory, ...] = ()
    ) -> None:
        await self.writer.begin(turn_id, parent=parent)
        await self.say(turn_id, *says)
        await self.writer.end(ended_at=2_000, head=counts)

    async def say(self, turn_id: str, *says: Memory) -> list[Memory]:
        return await self.memory.remember(*(self.of(turn_id, each) for each in says))

    def of(self, turn_id: str, memory: Memory) -> Memory:
        source = Source(origin="agent", trust="inferred", task_id="task", message_id=f"m-{turn_id}")
        return replace(memory, mentions=(Mention(task_id="task", turn_id=turn_id),), source=source)

    async def now(self) -> list[str]:
        return sorted(str(getattr(each, "content", getattr(each, "text", ""))) for each in await self.memory.page())


@asynccontextmanager
async def thread(store: Any, **more: Any) -> AsyncIterator[Thread]:
    await store.open()
    try:
        yield Thread(store, **more)
    finally:
        await store.aclose()


def home(content: str) -> Knowledge:
    return Knowledge(subject="user", attribute="home town", content=content)


# ── what comes back, and what stays ──────────────────────────────────────────────────────────────────────────────────


async def test_what_a_left_turn_superseded_is_current_until_the_turn_comes_back(
    place: Place,
) -> None:
    async with thread(place()) as one:
        [bergen] = await one.memory.remember(home("Bergen"))
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        assert await one.now() == ["Oslo"]
        await one.turn("t2", parent=None)
        assert await one.now() == ["Bergen"]
        assert (await one.memory.get(bergen.id)).superseded_by is None
        [left] = [each for each in await one.memory.page(past=True) if each.retired_at is not None]
        assert left.retired_because == LEFT
        await one.turn("t3", parent="t1")
        assert await one.now() == ["Oslo"]


async def test_what_took_the_place_of_what_is_left_stays(place: Place) -> None:
    async with thread(place()) as one:
        await one.memory.remember(home("Bergen"))
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        await one.memory.remember(home("Rome"))
        await one.turn("t2", parent=None)
        assert await one.now() == ["Rome"]


async def test_what_came_while_a_turn_was_left_still_holds_when_the_turn_comes_back(place: Place) -> None:
    async with thread(place()) as one:
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        await one.turn("t2", parent=None)
        [rome] = await one.memory.remember(home("Rome"))
        await one.turn("t3", parent="t1")
        assert await one.now() == ["Rome"]
        assert len((await one.memory.get(rome.id)).supersedes) == 1


@pytest.mark.parametrize("program", [False, True])
async def test_what_was_said_elsewhere_too_stays_with_the_sources_that_remain(place: Place, program: bool) -> None:
    async with thread(place()) as one:
        await one.turn("t0", parent=None)
        await one.turn("t1", parent="t0", says=(home("Oslo"),))
        again = home("Oslo") if program else one.of("t0", home("Oslo"))
        weaker = replace(again, source=replace(again.source, origin="agent", trust="inferred"))
        [kept] = await one.memory.remember(weaker)
        assert kept.source.message_id == "m-t1"
        await one.turn("t2", parent="t0")
        [kept] = await one.memory.page()
        assert kept.source.message_id == (None if program else "m-t0")
        [hit] = await one.memory.recall("home town", kinds=["knowledge"])
        assert hit.message_id == kept.source.message_id
        await one.turn("t3", parent="t1")
        [kept] = await one.memory.page()
        assert kept.source.message_id == "m-t1"
        await one.turn("t4", parent=None)
        assert await one.now() == (["Oslo"] if program else [])


async def test_what_a_left_turn_forgot_comes_back_but_not_what_the_program_forgot(place: Place) -> None:
    async with thread(place()) as one:
        kept = [Knowledge(id=id_, subject="user", content=id_) for id_ in ("a", "b", "c")]
        await one.memory.remember(*kept)
        await one.writer.begin("t1")
        await one.memory.forget("a", because="wrong", turn=("task", "t1"))
        await one.memory.forget("b", because="asked to")
        await one.writer.end(ended_at=2_000)
        assert await one.now() == ["c"]
        await one.turn("t2", parent=None)
        assert await one.now() == ["a", "c"]
        await one.turn("t3", parent="t1")
        assert await one.now() == ["c"]
        assert (await one.memory.get("a")).retired_because == "wrong"


async def test_what_the_program_forgets_while_it_is_not_current_does_not_come_back(place: Place) -> None:
    async with thread(place()) as one:
        [bergen] = await one.memory.remember(home("Bergen"))
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        await one.memory.forget(bergen.id, because="asked to")
        await one.turn("t2", parent=None)
        assert await one.now() == []
        assert (await one.memory.get(bergen.id)).retired_because == "asked to"
        [oslo] = [each for each in await one.memory.page(past=True) if each.id != bergen.id]
        await one.memory.forget(oslo.id, because="asked to")
        await one.turn("t3", parent="t1")
        assert await one.now() == []


async def test_a_turn_that_does_not_count_is_left_and_brings_back_what_it_left(
    place: Place,
) -> None:
    async with thread(place()) as one:
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        await one.turn("t2", parent="t1", counts=False, says=(home("Rome"),))
        assert await one.now() == ["Oslo"]
        await one.writer.begin("t3", parent=None)
        assert await one.now() == []
        await one.writer.end(ended_at=2_000, head=False)
        assert await one.now() == ["Oslo"]


@pytest.mark.parametrize(
    "memory",
    [
        Episode(text="oslo", at=1),
        Knowledge(subject="oslo", content="x"),
        Person(name="oslo"),
        Relation(subject="oslo", relation="near", object="x"),
        Trait(aspect="identity", text="oslo"),
        Trait(aspect="value", text="oslo"),
    ],
)
async def test_no_question_finds_what_is_left_but_one_that_asks_for_the_past(place: Place, memory: Memory) -> None:
    async with thread(place()) as one:
        await one.turn("t1", parent=None, says=(memory,))
        assert len(await one.memory.recall("oslo")) == 1
        await one.turn("t2", parent=None)
        assert await one.memory.recall("oslo") == []
        assert await one.memory.page() == []
        assert (await one.memory.soul()).identity == ""
        assert len(await one.memory.recall("oslo", past=True)) == 1


# ── what comes too late, moves and meanings ──────────────────────────────────────────────────────────────────────────


async def test_what_comes_of_a_turn_after_it_was_left_is_left_and_displaces_nothing(place: Place) -> None:
    async with thread(place()) as one:
        [bergen] = await one.memory.remember(home("Bergen"))
        await one.turn("t1", parent=None)
        await one.turn("t2", parent=None)
        await one.say("t1", home("Oslo"), Episode(text="I moved to Oslo.", at=5))
        await one.say("t1", home("Bergen"))
        await one.memory.forget(bergen.id, because="wrong", turn=("task", "t1"))
        assert await one.now() == ["Bergen"]
        await one.turn("t3", parent="t1")
        assert await one.now() == ["I moved to Oslo.", "Oslo"]


async def test_an_embedder_is_not_shown_what_is_left_and_meanings_follow_the_branches(place: Place) -> None:
    pytest.importorskip("numpy")
    embedder = Lengths()
    async with thread(place(), embedder=embedder) as one:
        await one.memory.remember(home("Bergen"))
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        await one.memory.warm()
        await one.turn("t2", parent=None)
        [hit] = await one.memory.recall("zzz")
        assert getattr(hit.memory, "content", "") == "Bergen"
        await one.say("t1", Episode(text="Late.", at=5))
        assert await one.memory.embed_missing() == 0
        assert not [text for text in embedder.asked if "Late" in text]
        await one.turn("t3", parent="t1")
        assert await one.memory.embed_missing() == 1
        assert [getattr(hit.memory, "content", "") for hit in await one.memory.recall("zzz", kinds=["knowledge"])] == [
            "Oslo"
        ]


async def test_an_export_and_an_import_keep_what_was_left_as_it_is(place: Place, tmp_path: Path) -> None:
    async with thread(place()) as one:
        await one.memory.remember(home("Bergen"))
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        before = await one.memory.export_bundle()
        await one.turn("t2", parent=None)
        after = await one.memory.export_bundle()
        await one.memory.import_bundle(before)
        assert await one.memory.export_bundle() == after
    for there in (MemoryStore(), SQLiteStore(tmp_path / "other.sqlite")):
        async with thread(there) as other:
            await other.memory.import_bundle(after)
            assert await other.now() == ["Bergen"]
            assert await other.memory.export_bundle() == after


async def test_a_deleted_task_keeps_what_was_left_where_it_is(place: Place) -> None:
    async with thread(place()) as one:
        await one.turn("t1", parent=None, says=(home("Oslo"),))
        await one.turn("t2", parent=None, says=(Knowledge(subject="user", content="Kind."),))
        await one.writer.store.delete("task")
        assert await one.now() == ["Kind."]


async def test_a_memory_that_is_damaged_does_not_keep_a_turn_from_beginning(tmp_path: Path) -> None:
    path = tmp_path / "brain.sqlite"
    async with thread(SQLiteStore(path)) as one:
        await one.turn("t1", parent=None, says=(home("Oslo"), Episode(id="e", text="Hello.", at=5)))
        row = one.writer.row
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE memories SET body = x'00' WHERE kind = 'knowledge'")
        db.commit()
    async with thread(SQLiteStore(path)) as one:
        one.writer.row = row
        await one.turn("t2", parent=None)
        assert (await one.memory.get("e")).retired_because == LEFT


async def test_erased_stays_erased_whatever_branch_it_was_on(place: Place) -> None:
    async with thread(place()) as one:
        await one.turn("t1", parent=None, says=(replace(home("Oslo"), id="a"), Episode(id="b", text="Hello.", at=5)))
        await one.memory.erase("a", "b", because="asked to")
        await one.turn("t2", parent=None)
        await one.turn("t3", parent="t1")
        assert await one.now() == []
        assert {each.retired_because for each in await one.memory.page(past=True)} == {"asked to"}


# ── files of 0.1 ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_of_before_knows_its_branches_once_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "brain.sqlite"
    async with thread(SQLiteStore(path)) as one:
        await one.memory.remember(replace(home("Bergen"), id="mem_host"))
        await one.turn("t1", parent=None)
        await one.turn("t2", parent=None)
        row = one.writer.row
        made: list[tuple[str, Memory]] = [
            ("t1", home("Oslo")),
            ("t2", Person(name="Ana")),
            ("t1", Person(name="Ben")),
        ]
        for number, (turn_id, memory) in enumerate(made):
            ours = replace(one.of(turn_id, memory), id=f"mem_{number:024x}", mentions=())
            await one.memory.remember(ours)
        await one.memory.remember(replace(one.of("t1", Person(name="Eva")), id="mem_x", mentions=()))  # the program's
        assert len(await one.memory.page()) == 4
    with closing(sqlite3.connect(path)) as db:
        db.executescript(BEFORE_LEFT_BRANCHES)
    async with thread(SQLiteStore(path)) as one:
        one.writer.row = row
        assert [getattr(each, "name", "Bergen") for each in await one.memory.page()] == ["Bergen", "Ana", "Eva"]
        await one.turn("t3", parent="t1")
        assert {getattr(each, "name", "Oslo") for each in await one.memory.page()} == {"Oslo", "Ben", "Eva"}


# ── any history ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Steps(msgspec.Struct, frozen=True):
    """Choices: which turn to go on from, whether it counts, and what is said or forgotten in it or by the program."""

    parent: int
    counts: bool
    says: tuple[tuple[int, bool, bool], ...]


any_steps = st.lists(
    st.builds(
        Steps,
        st.integers(0, 5),
        st.sampled_from([True, True, True, False]),
        st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.sampled_from([False, False, True])), max_size=3).map(
            tuple
        ),
    ),
    max_size=7,
)


class Model:
    """The same by another way: what was said and forgotten on the line of the task, played again from the beginning."""

    def __init__(self) -> None:
        self.log: list[tuple[str | None, str, str]] = []
        self.parents: dict[str, str | None] = {}
        self.stands: str | None = None

    def current(self) -> dict[str, str]:
        line: set[str | None] = {None}
        turn = self.stands
        while turn is not None:
            line.add(turn)
            turn = self.parents[turn]
        now: dict[str, str] = {}
        for said_in, slot, content in self.log:
            if said_in not in line:
                continue
            if slot:
                now[slot] = content
            else:
                now = {each: text for each, text in now.items() if text != content}
        return now


async def play(store: Any, steps: list[Steps], *, late: bool) -> None:
    """Each step is a turn. With `late`, what a turn says lands when the next one has begun."""
    model, number = Model(), 0
    waiting: list[tuple[str, str, str]] = []
    async with thread(store) as one:
        for count, step in enumerate(steps):
            turn_id = f"t{count}"
            turns = [None, *model.parents]
            head = model.stands
            parent = head if step.parent == 0 else turns[step.parent % len(turns)]
            await one.writer.begin(turn_id, parent=parent)
            model.parents[turn_id], model.stands = parent, turn_id
            for turn, content, about in waiting:
                await one.say(turn, Knowledge(subject="user", attribute=about, content=content))
            waiting = []
            for slot, by_program, forgets in step.says:
                said_in = None if by_program else turn_id
                current = model.current()
                if forgets and current and not late:
                    content = [*current.values()][number % len(current)]
                    [id_] = [each.id for each in await one.memory.page() if getattr(each, "content", "") == content]
                    await one.memory.forget(id_, because="wrong", turn=None if by_program else ("task", turn_id))
                    model.log.append((said_in, "", content))
                elif late and not by_program:
                    number += 1
                    waiting.append((turn_id, f"c{number}", f"slot {slot}"))
                elif not late:
                    number += 1
                    fact = Knowledge(subject="user", attribute=f"slot {slot}", content=f"c{number}")
                    await (one.memory.remember(fact) if by_program else one.say(turn_id, fact))
                    model.log.append((said_in, f"slot {slot}", f"c{number}"))
                assert sorted(model.current().values()) == await one.now() or late
            await one.writer.end(ended_at=2_000, head=step.counts)
            model.stands = turn_id if step.counts else head
            if late:
                for turn, content, about in waiting:
                    model.log.append((turn, about, content))
            else:
                assert sorted(model.current().values()) == await one.now()
        for turn, content, about in waiting:
            await one.say(turn, Knowledge(subject="user", attribute=about, content=content))
        assert sorted(model.current().values()) == await one.now()
        bundle = await one.memory.export_bundle()
    other = MemoryStore()
    async with thread(other) as there:
        await there.memory.import_bundle(bundle)
        assert await there.now() == sorted(model.current().values())


@given(steps=any_steps, late=st.booleans())
async def test_whatever_is_edited_only_what_was_said_on_the_line_is_current(steps: list[Steps], late: bool) -> None:
    await play(MemoryStore(), steps, late=late)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=any_steps, late=st.booleans())
async def test_so_it_is_in_a_file(steps: list[Steps], late: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    await play(SQLiteStore(tmp_path_factory.mktemp("brain") / "brain.sqlite"), steps, late=late)
