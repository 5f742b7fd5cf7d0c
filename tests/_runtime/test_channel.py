from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine._runtime.channel import MOST_DELTA, TAIL, TAIL_BYTES, Channel
from september_engine._seams import no_crash
from september_engine._turn.facts import AssistantCut
from september_engine._turn.standing import Standing
from september_engine.errors import EngineClosed, EngineError, Fenced, StoreFull
from september_engine.events import (
    ContentBlockStart,
    Event,
    Heartbeat,
    TextDelta,
    ThinkingDelta,
    decode,
)
from september_engine.store.base import Batch, Blob, TaskRow, TurnRow
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock
from tests.engines import FlakyStore, ticks

OPEN = Standing(head=None, open_turn="turn", prefix=None, waiting_since=None)
ENDED = Standing(head="turn", open_turn=None, prefix="p", waiting_since=None)
BEGIN = TurnRow(turn_id="turn", parent=None, message_id="m", started_at=1)
MARK = Heartbeat(timestamp="mark")


class SlowStore(FlakyStore):
    """Each append waits until it is let go on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.gates: list[anyio.Event] = []

    async def append(self, batch: Batch, /) -> None:
        gate = anyio.Event()
        self.gates.append(gate)
        await gate.wait()
        await super().append(batch)

    def let_go(self) -> None:
        self.gates.pop(0).set()


@attrs.define
class Rig:
    channel: Channel
    store: FlakyStore
    clock: FakeClock
    group: anyio.abc.TaskGroup

    async def commit(self, *events: Event, standing: Standing = OPEN) -> None:
        await self.channel.append([fact("x")], events, standing=standing, turn=BEGIN)

    def read(self, after: int = 0) -> list[tuple[int, Event]]:
        rows = self.channel.read(after)
        assert rows is not None
        return [(row.ts, decode(row.type, row.body)) for row in rows]

    def events(self) -> list[Event]:
        return [event for _, event in self.read()]


def fact(text: str) -> AssistantCut:
    return AssistantCut(at=1, message_id=f"msg {text}", text=text)


@asynccontextmanager
async def rig(store: FlakyStore | None = None, *, row: TaskRow | None = None, begun: bool = True) -> AsyncIterator[Rig]:
    store, clock = store or FlakyStore(), FakeClock(wall=1_000)
    await store.open()
    row = row or TaskRow(task_id="task", epoch=0, last_ts=0, last_seq=0)
    channel = Channel(store=store, clock=clock, crash=no_crash, row=row, turn_id="turn")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(channel.run)
            made = Rig(channel, store, clock, group)
            if begun:
                await made.commit()
            yield made
            group.cancel_scope.cancel()


async def test_an_event_is_readable_only_once_it_is_stored() -> None:
    store = SlowStore()
    async with rig(store, begun=False) as it:
        it.group.start_soon(it.commit, MARK)
        await ticks(5)
        assert it.read() == []
        store.let_go()
        await ticks(5)
        assert it.events() == [MARK]
        assert len(await store.inner.events("task", after=0)) == 1


async def test_while_one_batch_is_written_the_deltas_of_a_block_become_one_event() -> None:
    store = SlowStore()
    async with rig(store, begun=False) as it:
        it.group.start_soon(it.commit, MARK)
        await ticks(5)
        it.channel.emit(ContentBlockStart(block_index=0, block_type="thinking"))
        for piece in ("a", "b", "c"):
            it.channel.show("thinking", piece)
        for piece in ("d", "e"):
            it.channel.show("text", piece)
        it.channel.emit(MARK)
        it.channel.show("text", "f")
        store.let_go()
        await ticks(5)
        store.let_go()
        await ticks(5)
        assert it.events() == [
            MARK,
            ContentBlockStart(block_index=0, block_type="thinking"),
            ThinkingDelta(text="abc"),
            TextDelta(text="de"),
            MARK,
            TextDelta(text="f"),
        ]
        assert [len(batch.events) for batch in store.appended] == [1, 5]
        assert [batch.barrier for batch in store.appended] == [True, False]


async def test_a_commit_comes_after_everything_emitted_before_it() -> None:
    async with rig() as it:
        it.channel.show("text", "before")
        await it.commit(MARK)
        it.channel.show("text", "after")
        await it.commit(standing=ENDED)
        assert it.events() == [TextDelta(text="before"), MARK, TextDelta(text="after")]
        assert [row.body for row in await it.store.turn("task", "turn")] != []


async def test_cancelling_the_wait_for_a_commit_takes_nothing_back() -> None:
    """Neither one that is being written nor one behind it."""
    store, later = SlowStore(), Heartbeat(timestamp="later")
    async with rig(store, begun=False) as it:
        async with anyio.create_task_group() as group:
            group.start_soon(it.commit, MARK)
            await ticks(5)
            group.start_soon(it.commit, later)
            await ticks(5)
            group.cancel_scope.cancel()
        for _ in range(2):
            store.let_go()
            await ticks(5)
        assert it.events() == [MARK, later]


@given(st.lists(st.integers(0, MOST_DELTA * 2), max_size=6))
async def test_no_delta_is_longer_than_the_most_and_no_text_is_lost(sizes: list[int]) -> None:
    async with rig() as it:
        pieces = [chr(ord("a") + number) * size for number, size in enumerate(sizes)]
        for piece in pieces:
            it.channel.show("text", piece)
        await it.commit(standing=ENDED)
        shown = [event.text for event in it.events() if isinstance(event, TextDelta)]
        assert "".join(shown) == "".join(pieces)
        assert all(0 < len(text) <= MOST_DELTA for text in shown)


@given(st.lists(st.tuples(st.integers(-10_000_000, 10_000_000), st.integers(1, 60)), max_size=10))
async def test_numbers_only_rise_whatever_the_wall_clock_does(steps: list[tuple[int, int]]) -> None:
    async with rig(row=TaskRow(task_id="task", epoch=0, last_ts=5_000, last_seq=0)) as it:
        for step, count in steps:
            it.clock.wall += step
            for _ in range(count):
                it.channel.emit(MARK)
            await it.commit()
        stored = [row.ts for row in await it.store.events("task", after=0, limit=10_000)]
        assert stored == [ts for ts, _ in it.read(5_000)]
        assert len(stored) == sum(count for _, count in steps)
        assert all(earlier < later for earlier, later in zip([5_000, *stored], stored, strict=False))


async def test_numbers_go_on_from_the_stored_maximum_in_the_next_turn() -> None:
    async with rig() as it:
        it.clock.wall = 9_000_000
        await it.commit(MARK, MARK, standing=ENDED)
        row = await it.store.task("task")
        assert row is not None
    later = Channel(store=it.store, clock=FakeClock(wall=1), crash=no_crash, row=row, turn_id="next")
    async with anyio.create_task_group() as group:
        group.start_soon(later.run)
        await later.append([fact("y")], [MARK], standing=ENDED, turn=BEGIN_NEXT)
    assert [row.ts for row in await it.store.events("task", after=0)] == [9_000_000, 9_000_001, 9_000_002]
    assert [row.seq for row in await it.store.turn("task", "next")] == [3]


BEGIN_NEXT = TurnRow(turn_id="next", parent="turn", message_id="n", started_at=2)


async def test_only_the_tail_stays_in_memory_and_reading_before_it_says_so() -> None:
    async with rig() as it:
        for _ in range(3 * TAIL):
            it.channel.emit(MARK)
        await it.commit()
        numbers = [row.ts for row in await it.store.events("task", after=0, limit=10 * TAIL)]
        assert len(numbers) == 3 * TAIL
        assert it.channel.read(0) is None
        begins = it.channel.tail_begins
        assert [ts for ts, _ in it.read(begins)] == [ts for ts in numbers if ts > begins]
        assert len(it.read(begins)) <= TAIL


async def test_the_tail_is_bounded_in_bytes_too() -> None:
    async with rig() as it:
        big = Heartbeat(timestamp="x" * (TAIL_BYTES // 4))
        for _ in range(12):
            await it.commit(big)
        rows = it.channel.read(it.channel.tail_begins)
        assert rows is not None
        assert 0 < sum(len(row.body) for row in rows) <= TAIL_BYTES
        assert it.channel.read(0) is None


async def test_a_store_that_fails_ends_the_channel_with_last_words_that_have_no_number() -> None:
    async with rig() as it:
        await it.commit(MARK)
        it.store.failing = StoreFull("The disk is full.")
        with pytest.raises(StoreFull):
            await it.commit(MARK)
        assert it.channel.ended
        assert it.events() == [MARK]
        assert [row.ts for row in it.channel.last_words] == [0, 0]
        lifecycle, error = [decode(row.type, row.body) for row in it.channel.last_words]
        assert (lifecycle.phase, error.error) == ("errored", "STORE_FULL")  # type: ignore[union-attr]


async def test_whoever_appends_after_a_failure_is_told_and_does_not_wait_for_ever() -> None:
    async with rig() as it:
        it.store.failing = StoreFull("The disk is full.")
        it.channel.show("text", "unseen")
        await ticks(5)
        assert it.channel.ended
        with pytest.raises(StoreFull):
            await it.commit(MARK)


async def test_everybody_who_waits_for_the_failed_batch_or_behind_it_is_told() -> None:
    store = SlowStore()
    failed: list[str] = []

    async def commit(it: Rig) -> None:
        try:
            await it.commit(MARK)
        except EngineError as error:
            failed.append(error.code)

    async with rig(store, begun=False) as it:
        it.group.start_soon(commit, it)
        await ticks(5)
        it.group.start_soon(commit, it)
        await ticks(5)
        store.failing = StoreFull("The disk is full.")
        store.let_go()
        await ticks(10)
        assert failed == ["STORE_FULL", "STORE_FULL"]


async def test_an_event_that_has_no_json_form_fails_its_channel_and_nothing_else() -> None:
    async with rig() as it:
        it.channel.show("text", "half a pair: \ud83d")
        await ticks(5)
        assert it.channel.failure is not None
        assert it.channel.failure.code == "INTERNAL_ERROR"
        assert len(it.channel.last_words) == 2


async def test_a_fact_that_could_not_be_read_again_is_not_written() -> None:
    """It would close its thread for good: nothing could be read past it."""
    wrong: Any = 1.5
    async with rig() as it:
        with pytest.raises(EngineError, match="could not be written"):
            await it.channel.append([AssistantCut(at=wrong, message_id="m", text="x")], [MARK], standing=OPEN)
        assert len(it.channel.last_words) == 2
        assert len(await it.store.turn("task", "turn")) == 1


async def test_a_fenced_channel_stops_without_another_word() -> None:
    async with rig() as it:
        thief = Channel(store=it.store, clock=it.clock, crash=no_crash, row=it.channel.row, turn_id="thief")
        it.group.start_soon(thief.run)
        await thief.append([fact("y")], [], standing=ENDED, turn=BEGIN_NEXT_OF_THIEF)
        with pytest.raises(Fenced):
            await it.commit(MARK)
        assert it.channel.ended
        assert it.channel.last_words == ()


BEGIN_NEXT_OF_THIEF = TurnRow(turn_id="thief", parent=None, message_id="t", started_at=2)


async def test_a_turn_that_never_got_into_the_log_has_no_last_words() -> None:
    async with rig(FlakyStore(failing=StoreFull("full")), begun=False) as it:
        with pytest.raises(StoreFull):
            await it.commit(MARK)
        assert it.channel.last_words == ()
        assert not it.channel.claimed


async def test_closing_ends_readers_without_a_word_and_wakes_them() -> None:
    async with rig() as it:
        waiter = asyncio.Event()
        it.channel.waiters.add(waiter)
        it.channel.close()
        assert waiter.is_set()
        assert it.channel.last_words == ()
        assert isinstance(it.channel.failure, EngineClosed)
        it.channel.emit(MARK)
        with pytest.raises(EngineClosed):
            await it.commit(MARK)
        assert it.events() == []


async def test_each_publication_wakes_the_readers_once() -> None:
    async with rig() as it:
        first, second = asyncio.Event(), asyncio.Event()
        it.channel.waiters |= {first, second}
        await it.commit(MARK)
        assert first.is_set()
        assert second.is_set()
        assert it.channel.waiters == set()


async def test_nothing_is_written_after_the_end() -> None:
    store = MemoryStore()
    async with rig(FlakyStore(inner=store)) as it:
        await it.commit(MARK, standing=ENDED)
        it.channel.show("text", "too late")
        with pytest.raises(EngineClosed):
            await it.commit(MARK)
        assert len(await store.events("task", after=0)) == 1


async def test_blobs_are_stored_in_the_transaction_of_the_facts_that_refer_to_them() -> None:
    async with rig() as it:
        blob = Blob(sha256="s", body=b"a picture")
        await it.channel.append([fact("y")], [], standing=OPEN, blobs=[blob])
        assert [(list(batch.blobs), len(batch.facts)) for batch in it.store.appended] == [([], 1), ([blob], 1)]
