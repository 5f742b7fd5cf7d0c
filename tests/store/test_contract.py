from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from september_engine.store.base import Store
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @contextmanager
    def make_store(self) -> Iterator[Store]:
        yield MemoryStore()


class TestSQLiteStore(StoreContract):
    @contextmanager
    def make_store(self) -> Iterator[Store]:
        with TemporaryDirectory() as folder:
            yield SQLiteStore(Path(folder) / "brain.sqlite")


class TestRelaxedSQLiteStore(StoreContract):
    @contextmanager
    def make_store(self) -> Iterator[Store]:
        with TemporaryDirectory() as folder:
            yield SQLiteStore(Path(folder) / "brain.sqlite", durability="relaxed")
