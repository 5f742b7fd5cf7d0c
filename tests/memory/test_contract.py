"""Both places for memories keep the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from september_engine.memory.base import Memories
from september_engine.memory.inprocess import InProcessMemories
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.memories_contract import MemoriesContract


class TestSQLiteMemories(MemoriesContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Memories]:
        store = SQLiteStore(self.folder / "brain.sqlite")
        await store.open()
        try:
            yield store.memories
        finally:
            await store.aclose()


class TestInProcessMemories(MemoriesContract):
    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Memories]:
        yield InProcessMemories()
