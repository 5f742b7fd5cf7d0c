"""What every store must do for threads that grow long. A part of `StoreContract`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from ..store.base import Store
from .store_writer import Writer

__all__ = ["LongThreadContract"]


class LongThreadContract:
    """Reading a part of a thread."""

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
