"""What every store must do. Subclass `StoreContract` in your tests and say how your store is made:

    class TestMyStore(StoreContract):
        @contextmanager
        def make_store(self) -> Iterator[Store]:
            yield MyStore(...)

The suite needs pytest with anyio's plugin (`anyio_mode = "auto"`, or mark the class with `pytest.mark.anyio`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager

import anyio
from msgspec.structs import replace

from .._extras import extra
from ..errors import EngineClosed, EngineError, Fenced, StoreInUse
from ..store.base import Batch, EventRow, FactRow, Store
from ._blob_contract import BlobContract
from ._store_long_threads import LongThreadContract
from .store_writer import Writer

with extra("dev", "september_engine.testing.store_contract"):
    import pytest

__all__ = ["StoreContract"]

ODD_IDS = ("a", "../../etc/passwd", "a\x00b", "a\x00c", "😀", "é", "e\u0301", "\u202eabc", "%00", "x" * 512)


class StoreContract(BlobContract, LongThreadContract):
    """The suite. Override `make_store`; a test that needs a store opened twice reopens the same object."""

    def make_store(self) -> AbstractContextManager[Store]:
        """A new, empty store that is not open."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Store]:
        """A new store, open."""
        with self.make_store() as store:
            await store.open()
            try:
                yield store
            finally:
                await store.aclose()

    # ── appending and reading ────────────────────────────────────────────────────────────────────────────────────

    async def test_what_was_appended_is_read_back_whole(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            began = await writer.begin("t1", texts=["one", "two"])
            more = await writer.more("three")
            ended = await writer.end(ended_at=2_000)
            assert await store.events("task", after=0) == [*began.events, *more.events, *ended.events]
            assert await store.turn("task", "t1") == [*began.facts, *more.facts, *ended.facts]
            assert await store.task("task") == writer.row
            [turn] = await store.turns("task")
            assert began.turn is not None
            assert turn == replace(began.turn, ended_at=2_000)

    async def test_bodies_are_kept_byte_for_byte(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            body = bytes(range(256)) * 5_000
            row = EventRow(ts=writer.row.last_ts + 1, turn_id="t1", type="text_delta", body=body)
            fact = FactRow(seq=writer.row.last_seq + 1, ts=row.ts, turn_id="t1", body=body)
            task = replace(writer.row, last_ts=row.ts, last_seq=fact.seq)
            await store.append(Batch(task_id="task", epoch=1, facts=[fact], events=[row], task=task))
            assert (await store.events("task", after=row.ts - 1))[0].body == body
            assert (await store.turn("task", "t1"))[-1].body == body

    async def test_events_begin_strictly_after_the_cursor_and_stop_at_the_limit(self) -> None:
        async with self.opened() as store:
            events = (await Writer(store).begin("t1", texts=list("abcdef"))).events
            assert await store.events("task", after=events[1].ts) == events[2:]
            assert await store.events("task", after=events[1].ts, limit=2) == events[2:4]
            assert await store.events("task", after=events[-1].ts) == []
            assert await store.events("task", after=-1) == events
            assert await store.events("task", after=10**30) == []

    async def test_what_is_unknown_is_empty_and_raises_nothing(self) -> None:
        async with self.opened() as store:
            await Writer(store).begin("t1")
            assert await store.task("other") is None
            assert await store.events("other", after=0) == []
            assert await store.turn("other", "t1") == []
            assert await store.turn("task", "t2") == []
            assert await store.thread("task", "t2") == []
            assert await store.turns("other") == []
            assert await store.find("task", "m-t2") is None
            assert await store.delete("other") is False
            assert await store.tasks(before="other") == []

    async def test_the_last_number_follows_deltas_that_bring_no_index_row(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            last = (await writer.deltas("a", "b")).events[-1]
            row = await store.task("task")
            assert row is not None
            assert row.last_ts == last.ts

    async def test_ids_are_opaque_bytes(self) -> None:
        async with self.opened() as store:
            for task_id in ODD_IDS:
                await Writer(store, task_id).begin(f"turn of {task_id}")
            for task_id in ODD_IDS:
                row = await store.task(task_id)
                assert row is not None
                assert row.task_id == task_id
                assert [turn.turn_id for turn in await store.turns(task_id)] == [f"turn of {task_id}"]
            assert {row.task_id for row in await store.tasks()} == set(ODD_IDS)

    async def test_closing_keeps_everything_and_is_harmless_when_repeated(self) -> None:
        with self.make_store() as store:
            await store.aclose()
            await store.open()
            batch = await Writer(store).begin("t1")
            await store.aclose()
            await store.aclose()
            await store.open()
            assert await store.events("task", after=0) == batch.events
            await store.aclose()

    async def test_a_store_is_open_once(self) -> None:
        async with self.opened() as store:
            with pytest.raises(StoreInUse):
                await store.open()
            await Writer(store).begin("t1")

    async def test_a_closed_store_refuses_to_write(self) -> None:
        with self.make_store() as store:
            with pytest.raises(EngineError):
                await Writer(store).begin("t1")
            assert await store.check() != "ok"

    async def test_an_open_store_checks_as_ok(self) -> None:
        async with self.opened() as store:
            assert await store.check() == "ok"

    # ── fencing ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_claim_raises_the_epoch_and_fences_the_writer_before(self) -> None:
        async with self.opened() as store:
            old = Writer(store)
            await old.begin("t1")
            new = Writer(store)
            new.row = old.row
            await new.begin("t2")
            before = await store.events("task", after=0)
            for write in (old.more, old.deltas):
                with pytest.raises(Fenced):
                    await write("too late")
            assert await store.events("task", after=0) == before
            assert [fact.turn_id for fact in await store.turn("task", "t1")] == ["t1"]

    async def test_a_claim_of_a_turn_that_goes_on_fences_the_deltas_of_the_writer_before(self) -> None:
        async with self.opened() as store:
            old = Writer(store)
            await old.begin("t1")
            await old.deltas("seen")
            new = Writer(store)
            new.turn_id, new.row = "t1", replace(old.row, epoch=2)
            resumed = [FactRow(seq=new.row.last_seq + 1, ts=new.row.last_ts, turn_id="t1", body=b"resumed")]
            task = replace(new.row, last_seq=resumed[0].seq)
            await store.append(Batch(task_id="task", epoch=2, facts=resumed, task=task, claim=True))
            with pytest.raises(Fenced):
                await old.deltas("too late")
            assert len((await new.deltas("goes on")).events) == 1

    async def test_of_two_claims_of_one_epoch_one_wins(self) -> None:
        async with self.opened() as store:
            outcomes: list[str] = []

            async def claim(turn_id: str) -> None:
                try:
                    await Writer(store).begin(turn_id)
                except Fenced:
                    outcomes.append("fenced")
                else:
                    outcomes.append(turn_id)

            async with anyio.create_task_group() as group:
                for number in range(8):
                    group.start_soon(claim, f"t{number}")
            assert sorted(outcomes)[:7] == ["fenced"] * 7
            assert [turn.turn_id for turn in await store.turns("task")] == [sorted(outcomes)[7]]

    async def test_a_writer_without_a_claim_cannot_make_a_task(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            writer.turn_id = "t1"
            with pytest.raises(Fenced):
                await writer.deltas("a")
            writer.row = replace(writer.row, epoch=1)
            with pytest.raises(Fenced):
                await writer.more("a")
            assert await store.tasks() == []

    async def test_a_batch_that_is_refused_does_not_touch_the_others(self) -> None:
        async with self.opened() as store:
            stale = Writer(store, "stale")
            stale.row = replace(stale.row, epoch=5)
            good = [Writer(store, f"good {number}") for number in range(10)]
            refused: list[Fenced] = []

            async def refuse() -> None:
                try:
                    await stale.begin("t")
                except Fenced as error:
                    refused.append(error)

            async with anyio.create_task_group() as group:
                for writer in good[:5]:
                    group.start_soon(writer.begin, "t")
                group.start_soon(refuse)
                for writer in good[5:]:
                    group.start_soon(writer.begin, "t")
            assert len(refused) == 1
            assert {row.task_id for row in await store.tasks()} == {writer.row.task_id for writer in good}

    async def test_a_task_that_was_deleted_is_closed_to_its_old_writer(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            assert await store.delete("task")
            with pytest.raises(Fenced):
                await writer.more("ghost")
            assert await store.task("task") is None
            assert await store.delete("task") is False

    # ── order and groups ─────────────────────────────────────────────────────────────────────────────────────────

    async def test_batches_of_one_task_keep_the_order_of_their_calls(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            async with anyio.create_task_group() as group:
                for number in range(50):
                    group.start_soon(writer.deltas, str(number))
            bodies = [row.body for row in await store.events("task", after=0)][1:]
            assert bodies == [f'{{"text":"{number}"}}'.encode() for number in range(50)]

    async def test_cancelling_the_wait_leaves_the_batch_whole_or_absent_and_the_store_usable(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            for number in range(20):
                expected = writer.row.last_ts + 3
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as group:
                        group.start_soon(writer.more, "a", "b", "c")
                        for _ in range(number):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()
                await store.events("task", after=0)
                assert await store.check() == "ok"
                row = await store.task("task")
                assert row is not None
                assert row.last_ts in (expected, expected - 3)
                writer.row = replace(row, epoch=1)
            await writer.more("the end")

    # ── turns and threads ────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_thread_is_the_walk_along_parents(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            for turn_id, parent in (("a", None), ("b", "a"), ("c", "b"), ("b2", "a")):
                await writer.begin(turn_id, parent=parent)
                await writer.end(ended_at=2_000)
            assert [fact.turn_id for fact in await store.thread("task", "c")] == ["a", "a", "b", "b", "c", "c"]
            assert [fact.turn_id for fact in await store.thread("task", "b2")] == ["a", "a", "b2", "b2"]
            assert [turn.turn_id for turn in await store.turns("task")] == ["a", "b", "c", "b2"]
            assert [turn.parent for turn in await store.turns("task")] == [None, "a", "b", "a"]

    async def test_a_message_is_found_by_its_id_in_its_own_task_only(self) -> None:
        async with self.opened() as store:
            batch = await Writer(store, "mine").begin("t1")
            await Writer(store, "yours").begin("t2")
            assert await store.find("mine", "m-t1") == batch.facts[0]
            assert await store.find("yours", "m-t1") is None

    async def test_the_same_turn_id_in_two_tasks_is_two_turns(self) -> None:
        async with self.opened() as store:
            await Writer(store, "one").begin("t", texts=["one"])
            await Writer(store, "two").begin("t", texts=["two"])
            assert [fact.body for fact in await store.turn("one", "t")] == [b"fact one"]
            assert [fact.body for fact in await store.turn("two", "t")] == [b"fact two"]

    # ── listings ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_tasks_are_listed_newest_first_in_pages(self) -> None:
        async with self.opened() as store:
            for number in range(5):
                await Writer(store, str(number)).begin("t")
            assert [row.task_id for row in await store.tasks(limit=2)] == ["4", "3"]
            assert [row.task_id for row in await store.tasks(before="3", limit=2)] == ["2", "1"]
            assert [row.task_id for row in await store.tasks(before="1")] == ["0"]
            assert await store.tasks(before="0") == []

    async def test_open_tasks_are_those_with_an_open_turn(self) -> None:
        async with self.opened() as store:
            closed, running = Writer(store, "closed"), Writer(store, "running")
            await closed.begin("t")
            await closed.end(ended_at=2_000)
            await running.begin("t")
            assert await store.open_tasks() == [running.row]

    async def test_the_latest_task_is_that_whose_turn_started_last(self) -> None:
        async with self.opened() as store:
            assert await store.latest() is None
            first, second = Writer(store, "first"), Writer(store, "second")
            await first.begin("t1")
            await second.begin("t1")
            assert await store.latest() == "second"
            await first.end(ended_at=2_000)
            assert await store.latest() == "second"
            await first.begin("t2", parent="t1")
            assert await store.latest() == "first"
            await store.delete("first")
            assert await store.latest() == "second"

    async def test_deleting_a_task_removes_all_of_it_and_nothing_else(self) -> None:
        async with self.opened() as store:
            await Writer(store, "gone").begin("t")
            kept = await Writer(store, "kept").begin("t")
            assert await store.delete("gone") is True
            assert await store.events("gone", after=0) == []
            assert await store.turns("gone") == []
            assert await store.find("gone", "m-t") is None
            assert await store.events("kept", after=0) == kept.events
            again = await Writer(store, "gone").begin("t", texts=["anew"])
            assert await store.turn("gone", "t") == again.facts

    # ── what must not be kept ────────────────────────────────────────────────────────────────────────────────────

    async def test_compacting_keeps_everything_that_can_be_read(self) -> None:
        async with self.opened() as store:
            writer = Writer(store, "kept")
            began, gone = await writer.begin("t", texts=["one"]), Writer(store, "gone")
            await gone.begin("t", texts=["x" * 100_000])
            assert await store.delete("gone")
            stages: list[str] = []
            report = await store.compact(progress=lambda progress: stages.append(progress.stage))
            assert report.bytes_after <= report.bytes_before
            assert stages == sorted(stages, key=["words", "file", "log"].index)
            more = await writer.more("two")
            assert await store.turn("kept", "t") == [*began.facts, *more.facts]
            assert await store.events("kept", after=0) == [*began.events, *more.events]
            await store.compact()
        with pytest.raises(EngineClosed):
            await store.compact()

    async def test_it_is_known_which_tasks_quote_a_memory(self) -> None:
        async with self.opened() as store:
            assert await store.quoting(["m1"]) == []
            for task_id, quotes in {"a": ["m1", "m2"], "b": ["m2"], "c": []}.items():
                await Writer(store, task_id).begin("t", quotes=quotes)
            assert await store.quoting(["m1", "m3"]) == ["a"]
            assert sorted(await store.quoting(["m2", "m1"])) == ["a", "b"]
            assert await store.delete("a")
            assert await store.quoting(["m1", "m2"]) == ["b"]

    async def test_facts_are_rewritten_in_their_place(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            first, second = (await writer.begin("t1", texts=["one", "two"], quotes=["m1", "m2"])).facts
            other = (await Writer(store, "other").begin("t1", texts=["one"], quotes=["m1"])).facts
            changed = [replace(first, body=b"anew"), replace(second, seq=99), replace(second, turn_id="none")]
            for _ in range(2):
                await store.rewrite("task", changed, no_longer=["m1"])
                assert await store.turn("task", "t1") == [changed[0], second]
                assert await store.find("task", "m-t1") == changed[0]
            assert await store.turn("other", "t1") == other
            assert (await store.quoting(["m1"]), await store.quoting(["m2"])) == (["other"], ["task"])
            await store.rewrite("none", changed, no_longer=["m2"])
            assert (await writer.more("three")).facts[0].seq == 3

    # ── trimming ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_trimming_removes_the_events_of_turns_that_ended_before(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("old")
            await writer.deltas("a", "b")
            last = (await writer.end(ended_at=5_000)).events[-1]
            kept = [*(await writer.begin("new", parent="old")).events, *(await writer.end(ended_at=6_000)).events]
            assert await store.trim(ended_before=5_000) == 0
            assert await store.trim(ended_before=5_001) == 1
            assert await store.events("task", after=0) == kept
            row = await store.task("task")
            assert row is not None
            assert row == replace(writer.row, trimmed_to=last.ts)
            assert len(await store.thread("task", "new")) == 4

    async def test_trimming_again_does_nothing(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("old")
            await writer.end(ended_at=5_000)
            assert await store.trim(ended_before=9_000) == 1
            row = await store.task("task")
            assert await store.trim(ended_before=9_000) == 0
            assert await store.task("task") == row
            assert row is not None
            assert row.last_ts == writer.row.last_ts

    async def test_an_open_turn_is_never_trimmed(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("open")
            await writer.deltas("a")
            assert await store.trim(ended_before=10**15) == 0
            assert len(await store.events("task", after=0)) == 2

    async def test_trimming_stops_at_its_limit(self) -> None:
        async with self.opened() as store:
            for number in range(5):
                writer = Writer(store, str(number))
                await writer.begin("t")
                await writer.end(ended_at=5_000)
            assert [await store.trim(ended_before=9_000, limit=2) for _ in range(4)] == [2, 2, 1, 0]

    async def test_numbers_go_on_after_everything_was_trimmed(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            await writer.end(ended_at=5_000)
            await store.trim(ended_before=9_000)
            row = await store.task("task")
            assert row is not None
            writer.row = row
            await writer.begin("t2", parent="t1")
            after = await store.task("task")
            assert after is not None
            assert after.trimmed_to == row.trimmed_to
            assert after.last_ts > row.last_ts
