from __future__ import annotations

import pytest
from msgspec.structs import replace

from september_engine._runtime.threads import Prefix, RecentThreads, Thread, read_thread, read_turn, shown_blocks
from september_engine.errors import StoreCorrupt
from september_engine.events import ContentBlockStart, encode
from september_engine.models.scripted import ScriptedModel, say
from september_engine.store.base import Batch, EventRow, FactRow, TaskRow, TurnRow
from september_engine.store.memory import MemoryStore
from september_engine.testing.store_writer import Writer
from tests.engines import Bench, FlakyStore

TOOL = {"name": "look", "description": "", "input_schema": {"type": "object"}}


def test_a_prefix_is_known_by_its_content_whatever_the_order_of_keys() -> None:
    one = Prefix.of("Be kind.", [TOOL])
    assert one.id == Prefix.of("Be kind.", [dict(reversed(TOOL.items()))]).id
    assert len({one.id, Prefix.of("Be quick.", [TOOL]).id, Prefix.of("Be kind.", []).id}) == 3


async def test_a_turn_that_the_index_names_and_the_file_has_not_is_damage() -> None:
    bench = Bench()
    async with bench.running([say("Hello")]) as engine:
        await engine.execute("go", task_id="t")
        with pytest.raises(StoreCorrupt):
            await read_turn(bench.store, "t", "gone")
        with pytest.raises(StoreCorrupt):
            await read_thread(bench.store, "t", "gone")
        assert await read_thread(bench.store, "t", None) == []
        assert len(await read_turn(bench.store, "t", "turn_1")) == 4


async def test_a_fact_that_no_release_wrote_is_damage_and_not_a_crash() -> None:
    store = FlakyStore()
    await store.open()
    await Writer(store, "t").begin("turn", texts=["one"])
    with pytest.raises(StoreCorrupt, match="no release"):
        await read_turn(store, "t", "turn")


async def test_the_prefix_is_written_once_per_thread_and_again_only_where_it_changes() -> None:
    bench = Bench()

    async def prefixes() -> int:
        return sum(b"prefix_chosen" in row.body for row in await _facts(bench))

    for expected, system in ((1, "Be kind."), (1, "Be kind."), (2, "Be quick."), (3, "Be kind.")):
        async with bench.running(ScriptedModel([say("Yes.")], new_prefix=True), system=system) as engine:
            await engine.execute("go", task_id="t")
        assert await prefixes() == expected
    async with bench.running([say("Yes.")]) as engine:
        first = (await engine.messages("t"))[0]
        await engine.execute("edited", task_id="t", edit_message_id=first.id)
    # what an edit leaves behind may have held the prefix
    assert await prefixes() == 1


async def test_blocks_are_counted_though_the_clock_stepped_back_after_a_fact_that_shows_nothing() -> None:
    store = MemoryStore()
    await store.open()
    starts = [encode(ContentBlockStart(block_index=index, block_type="text")) for index in range(3)]
    batch = Batch(
        task_id="t",
        epoch=1,
        facts=[FactRow(seq=seq, ts=ts, turn_id="turn", body=b"{}") for seq, ts in ((1, 10), (2, 9_000), (3, 14))],
        events=[
            EventRow(ts=10, turn_id="turn", type="thread_lifecycle", body=b"{}"),
            *[
                EventRow(ts=ts, turn_id="turn", type="content_block_start", body=body)
                for ts, body in zip((11, 15, 16), starts, strict=True)
            ],
        ],
        task=TaskRow(task_id="t", epoch=1, last_ts=16, last_seq=3, open_turn="turn"),
        turn=TurnRow(turn_id="turn", parent=None, message_id="m", started_at=10),
        claim=True,
    )
    await store.append(batch)
    assert await shown_blocks(store, "t", "turn", 1) == 2
    assert await shown_blocks(store, "t", "turn", 3) == 0


async def _facts(bench: Bench) -> list[FactRow]:
    row = await bench.store.task("t")
    assert row is not None
    assert row.head is not None
    return await bench.store.thread("t", row.head)


async def test_a_row_of_a_task_is_not_changed_by_reading_it() -> None:
    bench = Bench()
    async with bench.running([say("Hello")]) as engine:
        await engine.execute("go", task_id="t")
        before = await bench.store.task("t")
        await engine.messages("t")
        await engine.task("t")
        async for _ in engine.replay(task_id="t"):
            pass
        assert before is not None
        assert await bench.store.task("t") == replace(before)


class Counting(FlakyStore):
    """A store that counts how often a whole thread was read."""

    threads = 0

    async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
        self.threads += 1
        return await self.inner.thread(task_id, turn_id, since=since)


async def test_going_on_with_a_thread_reads_it_once_per_process() -> None:
    store = Counting()
    bench = Bench(store=store)
    model = ScriptedModel(lambda request: say("Yes."))
    async with bench.running(model) as engine:
        for _ in range(4):
            await engine.execute("go", task_id="t")
    assert store.threads == 0
    async with bench.running(model) as engine:
        for _ in range(4):
            await engine.execute("go", task_id="t")
    assert store.threads == 1
    assert [len(request.prompt.messages) for request in model.requests] == [1, 3, 5, 7, 9, 11, 13, 15]


async def test_an_edit_reads_the_thread_as_it_was_before_the_edited_message() -> None:
    store = Counting()
    model = ScriptedModel(lambda request: say("Yes."))
    async with Bench(store=store).running(model) as engine:
        await engine.execute("one", task_id="t")
        second = await engine.execute("two", task_id="t")
        await engine.execute("two, better", task_id="t", edit_message_id=second.user_message_id)
        await engine.execute("three", task_id="t")
    sent = [request.prompt.messages for request in model.requests[2:]]
    said = [[block["text"] for message in messages for block in message["content"]] for messages in sent]
    assert said == [["one", "Yes.", "two, better"], ["one", "Yes.", "two, better", "Yes.", "three"]]
    assert store.threads == 1


async def test_threads_are_kept_up_to_so_many_bytes_and_the_oldest_goes_first() -> None:
    store, recent = Counting(), RecentThreads()
    await store.open()
    for task_id in "abc":
        await Writer(store, task_id).begin("turn", texts=["x"])
    recent.MOST_BYTES = 250
    for task_id in "abc":
        recent.keep(task_id, "turn", Thread(facts=[], size=100))
    assert (await recent.take(store, "c", "turn")).size == 100
    assert (await recent.take(store, "b", "turn")).size == 100
    with pytest.raises(StoreCorrupt, match="no release"):  # it is read, and what a `Writer` writes is no fact of ours
        await recent.take(store, "a", "turn")
    recent.keep("c", "turn", Thread(facts=[], size=251))
    with pytest.raises(StoreCorrupt, match="no release"):
        await recent.take(store, "c", "turn")


async def test_what_is_kept_is_for_the_turn_it_ended_with() -> None:
    recent = RecentThreads()
    recent.keep("t", "one", Thread(facts=[], size=1))
    recent.keep("t", "two", Thread(facts=[], size=2))
    assert (await recent.take(MemoryStore(), "t", None)).size == 0
    with pytest.raises(StoreCorrupt):
        await recent.take(MemoryStore(), "t", "one")
    assert (await recent.take(MemoryStore(), "t", "two")).size == 2
    with pytest.raises(StoreCorrupt):
        await recent.take(MemoryStore(), "t", "two")


async def test_a_deleted_task_leaves_memory_at_once() -> None:
    async with Bench().running(lambda request: say("Yes.")) as engine:
        for task_id in ("gone", "kept"):
            await engine.execute("go", task_id=task_id)
        await engine.delete("gone")
        await engine.delete("unknown")
        recent = engine._running.resources.recent
        assert set(recent._threads) == {"kept"}
        assert recent._size == recent._threads["kept"][1].size > 0
