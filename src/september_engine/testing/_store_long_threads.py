"""What every store must do for threads that grow long. A part of `StoreContract`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from ..errors import Fenced
from ..store.base import Store
from .store_writer import Writer

__all__ = ["LongThreadContract"]

BLOB, OTHER_BLOB = "ab" * 32, "cd" * 32


class LongThreadContract:
    """Reading a part of a thread, and what is too large for a fact."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """A new store, open."""
        raise NotImplementedError

    async def test_a_thread_can_be_read_from_an_ancestor_on(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            for turn_id, parent in (("a", None), ("b", "a"), ("c", "b"), ("b2", "a")):
                await writer.begin(turn_id, parent=parent)
                await writer.end(ended_at=2_000)
            assert [fact.turn_id for fact in await store.thread("task", "c", since="b")] == ["b", "b", "c", "c"]
            assert [fact.turn_id for fact in await store.thread("task", "c", since="c")] == ["c", "c"]
            assert len(await store.thread("task", "c", since="a")) == 6
            assert await store.thread("task", "c", since="b2") == []

    async def test_a_blob_is_kept_byte_for_byte_beside_the_fact_that_names_it(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            body = bytes(range(256)) * 4_000
            await writer.put(BLOB, body)
            await writer.put(BLOB, body)  # known by its content: the second time is the first
            assert await store.blob("task", BLOB) == body
            assert await store.blob("task", OTHER_BLOB) is None
            assert await store.blob("other", BLOB) is None

    async def test_a_batch_that_is_refused_leaves_no_blob(self) -> None:
        async with self.opened() as store:
            old, new = Writer(store), Writer(store)
            await old.begin("t1")
            await old.end(ended_at=2_000)
            new.row = old.row
            await new.begin("t2", parent="t1")
            with pytest.raises(Fenced):
                await old.put(BLOB, b"too late")
            assert await store.blob("task", BLOB) is None

    async def test_a_blob_goes_with_its_task_and_with_no_other(self) -> None:
        async with self.opened() as store:
            for task_id in ("gone", "kept"):
                writer = Writer(store, task_id)
                await writer.begin("t1")
                await writer.put(BLOB, task_id.encode())
            await store.delete("gone")
            assert await store.blob("gone", BLOB) is None
            assert await store.blob("kept", BLOB) == b"kept"
            await Writer(store, "gone").begin("t1")
            assert await store.blob("gone", BLOB) is None
