"""What every store must do with blobs: the part of `StoreContract` that is about content."""

from __future__ import annotations

import hashlib
from contextlib import AbstractAsyncContextManager

import anyio

from .._extras import extra
from ..errors import Fenced
from ..store.base import Blob, Store
from .store_writer import Writer

with extra("dev", "september_engine.testing.store_contract"):
    import pytest

__all__ = ["BlobContract"]


class BlobContract:
    """One content once, for as long as a task refers to it."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        """A new store, open."""
        raise NotImplementedError

    async def test_a_blob_is_read_back_byte_for_byte(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            contents = [b"", bytes(range(256)) * 5_000, "🖼".encode()]
            await writer.more("a", blobs=[blob_of(data) for data in contents])
            for data in contents:
                assert await store.blob("task", blob_of(data).sha256) == data

    async def test_a_blob_is_unknown_to_tasks_that_do_not_refer_to_it(self) -> None:
        async with self.opened() as store:
            mine, yours = Writer(store, "mine"), Writer(store, "yours")
            await mine.begin("t")
            await yours.begin("t")
            blob = blob_of(b"a picture")
            await mine.more("a", blobs=[blob])
            assert await store.blob("yours", blob.sha256) is None
            assert await store.blob("nobody's", blob.sha256) is None
            assert await store.blob("mine", blob_of(b"another").sha256) is None
            await yours.more("a", blobs=[blob])
            assert await store.blob("yours", blob.sha256) == b"a picture"

    async def test_the_same_content_twice_is_harmless(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            blob = blob_of(b"a picture")
            await writer.more("a", blobs=[blob, blob])
            await writer.more("b", blobs=[blob])
            assert await store.blob("task", blob.sha256) == b"a picture"

    async def test_a_blob_goes_with_the_last_task_that_refers_to_it(self) -> None:
        async with self.opened() as store:
            shared, own = blob_of(b"shared"), blob_of(b"own")
            for task_id in ("one", "two"):
                writer = Writer(store, task_id)
                await writer.begin("t")
                await writer.more("a", blobs=[shared, own] if task_id == "one" else [shared])
            assert await store.delete("one")
            assert await store.blob("two", shared.sha256) == b"shared"
            again = Writer(store, "one")
            await again.begin("t")
            for blob in (shared, own):
                assert await store.blob("one", blob.sha256) is None
            assert await store.delete("two")
            await again.more("a", blobs=[shared])
            assert await store.blob("one", shared.sha256) == b"shared"

    async def test_a_batch_that_is_refused_leaves_no_blob(self) -> None:
        async with self.opened() as store:
            old, new = Writer(store), Writer(store)
            await old.begin("t1")
            new.row = old.row
            await new.begin("t2")
            blob = blob_of(b"too late")
            with pytest.raises(Fenced):
                await old.more("a", blobs=[blob])
            assert await store.blob("task", blob.sha256) is None

    async def test_trimming_and_closing_keep_blobs(self) -> None:
        async with self.opened() as store:
            writer = Writer(store)
            await writer.begin("t1")
            blob = blob_of(b"a picture")
            await writer.more("a", blobs=[blob])
            await writer.end(ended_at=5_000)
            assert await store.trim(ended_before=9_000) == 1
            await store.aclose()
            await store.open()
            assert await store.blob("task", blob.sha256) == b"a picture"

    async def test_many_tasks_may_bring_one_content_at_once(self) -> None:
        async with self.opened() as store:
            blob, writers = blob_of(b"a picture"), [Writer(store, str(number)) for number in range(10)]

            async def bring(writer: Writer) -> None:
                await writer.begin("t")
                await writer.more("a", blobs=[blob])

            async with anyio.create_task_group() as group:
                for writer in writers:
                    group.start_soon(bring, writer)
            for number in range(9):
                assert await store.delete(str(number))
            assert await store.blob("9", blob.sha256) == b"a picture"


def blob_of(data: bytes) -> Blob:
    return Blob(sha256=hashlib.sha256(data).hexdigest(), body=data)
