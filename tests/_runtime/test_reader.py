from __future__ import annotations

import asyncio
from contextlib import suppress

import anyio
import pytest
from msgspec.structs import replace

from september_engine._runtime.channel import TAIL, Channel
from september_engine._runtime.reader import PULSE_SECONDS, Reader
from september_engine.errors import StoreFull
from september_engine.events import Error, Event, ReplayGap, TextDelta, decode
from september_engine.store.base import Batch, EventRow, TaskRow
from tests._runtime.test_channel import ENDED, MARK, Rig, rig
from tests.engines import FlakyStore, ticks


def reader_of(it: Rig, *, after: int = 0, live: bool = True, heartbeat: float | None = None) -> Reader:
    channel: Channel | None = it.channel if live else None
    return Reader(
        store=it.store, clock=it.clock, task_id="task", after=after, live=lambda: channel, heartbeat=heartbeat
    )


async def rest(reader: Reader) -> list[EventRow]:
    return [row async for page in reader for row in page]


async def lengths(reader: Reader, pages: list[int]) -> None:
    with suppress(StopAsyncIteration):
        while True:
            pages.append(len(await anext(reader)))


def shown(rows: list[EventRow]) -> list[Event]:
    return [decode(row.type, row.body) for row in rows]


async def test_history_then_live_then_the_end() -> None:
    async with rig() as it:
        await it.commit(MARK, MARK)
        pages: list[int] = []

        it.group.start_soon(lengths, reader_of(it), pages)
        await ticks(5)
        assert pages == [2]
        await it.commit(MARK)
        await ticks(5)
        await it.commit(MARK, MARK, MARK, standing=ENDED)
        await ticks(5)
        assert pages == [2, 1, 3]


async def test_a_reader_from_any_event_sees_exactly_the_rest() -> None:
    async with rig() as it:
        for number in range(7):
            it.channel.show("text", str(number))
            await it.commit(MARK)
        await it.commit(standing=ENDED)
        everything = await rest(reader_of(it))
        assert len(everything) == 14
        for live in (True, False):
            for place, row in enumerate(everything):
                assert await rest(reader_of(it, after=row.ts, live=live)) == everything[place + 1 :]
                assert await rest(reader_of(it, after=row.ts - 1, live=live)) == everything[place:]


@pytest.mark.parametrize("ahead", [0, 1, 700, TAIL + 10, 4 * TAIL])
async def test_a_reader_that_crosses_from_the_store_to_memory_skips_and_repeats_nothing(ahead: int) -> None:
    """The channel goes on writing, and dropping its tail, between any two steps of the reader."""
    async with rig() as it:
        for _ in range(ahead):
            it.channel.emit(MARK)
        await it.commit()
        seen: list[int] = []
        reader = reader_of(it)
        for round in range(30):
            for _ in range(ahead // 20 + round % 3):
                it.channel.emit(MARK)
            await it.commit(MARK)
            seen += [row.ts for row in await anext(reader)]
        await it.commit(standing=ENDED)
        seen += [row.ts for row in await rest(reader)]
        assert seen == [row.ts for row in await it.store.events("task", after=0, limit=100_000)]
        assert len(seen) > ahead + 30


async def test_cancelling_a_read_loses_nothing() -> None:
    async with rig() as it:
        reader = reader_of(it)
        for number in range(20):
            with anyio.CancelScope() as scope:
                it.group.start_soon(_cancel_after, number % 4, scope)
                await anext(reader)
        it.channel.show("text", "kept")
        await it.commit(standing=ENDED)
        assert shown(await rest(reader)) == [TextDelta(text="kept")]
        assert it.channel.waiters == set()


async def test_a_stopped_reader_ends_at_once_even_while_it_waits() -> None:
    async with rig() as it:
        reader = reader_of(it)
        ended = anyio.Event()

        async def read() -> None:
            assert await rest(reader) == []
            ended.set()

        it.group.start_soon(read)
        await ticks(5)
        assert not ended.is_set()
        reader.stop()
        await ended.wait()


async def test_the_end_is_the_end_even_when_more_is_written_later() -> None:
    async with rig() as it:
        reader = reader_of(it, live=False)
        await it.commit(MARK)
        assert len(await rest(reader)) == 1
        await it.commit(MARK)
        with pytest.raises(StopAsyncIteration):
            await anext(reader)


async def test_every_reader_gets_the_last_words_of_a_log_that_failed_after_what_is_stored() -> None:
    async with rig() as it:
        it.channel.show("text", "stored")
        await it.commit()
        late, waiting = reader_of(it), reader_of(it)
        pages = [await anext(waiting)]
        it.store.failing = StoreFull("The disk is full.")
        with pytest.raises(StoreFull):
            await it.commit(MARK)
        for rows in (await rest(late), [*pages[0], *await rest(waiting)]):
            told = shown(rows)
            assert told[0] == TextDelta(text="stored")
            assert isinstance(told[-1], Error)
            assert told[-1].error == "STORE_FULL"
            assert len(told) == 3
        assert late.cursor == waiting.cursor == rows[0].ts


# ── heartbeats ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_more_than_the_heartbeat_is_ever_silent_wherever_the_pulse_falls() -> None:
    async with rig() as it:
        await it.clock.advance(0.7)
        reader = reader_of(it, heartbeat=15.0)
        beats: list[float] = []

        async def read() -> None:
            async for page in reader:
                assert page == () or list(page) == []
                beats.append(it.clock.monotonic())

        it.group.start_soon(read)
        for _ in range(100):
            await it.clock.advance(PULSE_SECONDS)
            reader.pulse()
            await ticks(5)
        assert len(beats) == 7
        gaps = [later - earlier for earlier, later in zip([0.7, *beats], beats, strict=False)]
        assert all(15.0 - PULSE_SECONDS <= gap <= 15.0 for gap in gaps)


async def test_an_event_puts_the_heartbeat_off() -> None:
    async with rig() as it:
        reader = reader_of(it, heartbeat=10.0)
        pages: list[int] = []

        it.group.start_soon(lengths, reader, pages)
        for _ in range(4):
            await it.clock.advance(6)
            reader.pulse()
            await it.commit(MARK)
            await ticks(5)
        assert pages == [1, 1, 1, 1]
        await it.clock.advance(9)
        reader.pulse()
        await ticks(5)
        assert pages == [1, 1, 1, 1, 0]


async def test_without_a_heartbeat_a_pulse_is_nothing() -> None:
    async with rig() as it:
        reader = reader_of(it)
        with anyio.CancelScope() as scope:
            it.group.start_soon(_cancel_after, 30, scope)
            it.group.start_soon(_pulse, it, reader)
            await anext(reader)
        assert scope.cancelled_caught


async def _pulse(it: Rig, reader: Reader) -> None:
    await it.clock.advance(3600)
    reader.pulse()


# ── gaps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def ended_turn(it: Rig, count: int) -> list[int]:
    for _ in range(count):
        it.channel.emit(MARK)
    await it.commit(standing=ENDED)
    return [row.ts for row in await it.store.events("task", after=0, limit=10_000)]


async def test_a_cursor_before_what_is_kept_is_told_of_the_gap_first() -> None:
    async with rig() as it:
        numbers = await ended_turn(it, 3)
        _forget(it, numbers)
        assert shown(await rest(reader_of(it, after=numbers[0], live=False))) == [ReplayGap(oldest=numbers[-1])]
        assert shown(await rest(reader_of(it, after=numbers[-1], live=False))) == []
        assert shown(await rest(reader_of(it, after=0, live=False))) == []


async def test_a_gap_is_followed_by_what_is_kept() -> None:
    async with rig() as it:
        numbers = await ended_turn(it, 3)
        _forget(it, numbers, keep=1)
        told = shown(await rest(reader_of(it, after=numbers[0], live=False)))
        assert told == [ReplayGap(oldest=numbers[-1]), MARK]


async def test_events_trimmed_in_the_middle_of_a_reading_leave_an_announced_gap() -> None:
    async with rig() as it:
        numbers = await ended_turn(it, 1200)
        reader = reader_of(it, live=False)
        first = await anext(reader)
        assert len(first) == 500
        _forget(it, numbers)
        assert shown(await rest(reader)) == [ReplayGap(oldest=numbers[-1])]


async def test_what_was_trimmed_behind_the_reader_is_no_gap() -> None:
    async with rig() as it:
        numbers = await ended_turn(it, 1200)
        reader = reader_of(it, live=False)
        read = [*await anext(reader), *await anext(reader), *await anext(reader)]
        assert len(read) == 1200
        _forget(it, numbers)
        assert await rest(reader) == []


async def test_events_trimmed_just_after_they_were_read_are_no_gap() -> None:
    class Trims(FlakyStore):
        async def task(self, task_id: str, /) -> TaskRow | None:
            if self.appended[-1].task is not None and self.appended[-1].task.open_turn is None:
                _forget(it, numbers)
            return await super().task(task_id)

    numbers: list[int] = []
    async with rig(Trims()) as it:
        await it.commit(MARK)
        numbers += await ended_turn(it, 3)
        assert [row.ts for row in await rest(reader_of(it, after=numbers[0], live=False))] == numbers[1:]


# ── between the store and the memory ─────────────────────────────────────────────────────────────────────────────────


async def test_what_is_published_while_the_store_says_that_there_is_nothing_is_not_skipped() -> None:
    class Slow(FlakyStore):
        async def events(self, task_id: str, /, *, after: int, limit: int = 500) -> list[EventRow]:
            rows = await super().events(task_id, after=after, limit=limit)
            await gate.wait()
            return rows

    gate = asyncio.Event()
    async with rig(Slow(), row=TaskRow(task_id="task", epoch=0, last_ts=5_000, last_seq=0)) as it:
        seen: list[EventRow] = []

        async def read() -> None:
            seen.extend(await rest(reader_of(it)))

        it.group.start_soon(read)
        await ticks(5)
        await it.commit(MARK)
        gate.set()
        await it.commit(MARK, standing=ENDED)
        await ticks(10)
        assert shown(seen) == [MARK, MARK]


async def test_what_is_stored_and_not_yet_acknowledged_is_not_shown() -> None:
    """Who acts on an event must find the turn in step with it: a request that is seen can be answered."""

    class Late(FlakyStore):
        async def append(self, batch: Batch, /) -> None:
            await super().append(batch)
            if batch.events:
                await gate.wait()

    gate = asyncio.Event()
    async with rig(Late(), row=TaskRow(task_id="task", epoch=0, last_ts=5_000, last_seq=0)) as it:
        it.group.start_soon(it.commit, MARK)
        await ticks(5)
        assert len(await it.store.events("task", after=0)) == 1
        seen: list[int] = []
        it.group.start_soon(lengths, reader_of(it), seen)
        await ticks(10)
        assert seen == []
        gate.set()
        await ticks(10)
        assert seen == [1]


def _forget(it: Rig, numbers: list[int], *, keep: int = 0) -> None:
    """What a trim leaves, done by hand: a test may keep what no real trim would."""
    task = it.store.inner._tasks["task"]  # type: ignore[attr-defined]
    cut = len(numbers) - keep
    task.row = replace(task.row, trimmed_to=numbers[cut - 1])
    del task.events[:cut]


async def _cancel_after(count: int, scope: anyio.CancelScope) -> None:
    await ticks(count)
    scope.cancel()
