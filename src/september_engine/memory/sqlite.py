"""Memories in a SQLite file: the engine's own, so that what is remembered is written, saved and moved with the rest."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

from ..errors import StoreBusy
from ..store import _branches as branches
from ..store import _compact as compacting
from ..store import _memories as memories
from ..store._writer import Job
from .base import Kind, Matches, MemoryRow, VectorRow

__all__ = ["SQLiteMemories"]

T = TypeVar("T")


class Reader(Protocol):
    """Runs a function with the reading connection, all of it at one moment."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


class SQLiteMemories:
    """`Memories` in the file of a `SQLiteStore`, which makes it: `store.memories`."""

    def __init__(self, *, read: Reader, write: Callable[[Job], Awaitable[object]]) -> None:
        self._read = read
        self._write = write
        self._counts = memories.TermCounts()

    def __repr__(self) -> str:
        return "SQLiteMemories()"

    async def put(
        self, rows: Sequence[MemoryRow], /, *, model: str = "", vectors: Mapping[str, bytes] | None = None
    ) -> None:
        write = partial(branches.put_memories, rows=rows, model=model, vectors=vectors or {})
        landed = partial(memories.holds_memories, rows=rows)
        await self._write(Job(write=write, landed=landed))

    async def erase(self, rows: Sequence[MemoryRow], /) -> None:
        write = partial(memories.erase_memories, rows=rows)
        await self._write(Job(write=write, landed=partial(memories.holds_memories, rows=rows)))
        self._counts = memories.TermCounts()

    async def tidy(self, *, most: int | None = None) -> None:
        """Merge the index of words, so that no term of what was erased is left in it, and empty the file's log.

        It goes in steps of some 30 ms, at most `most` of them, between which turns can write. The log is not emptied
        where another program reads an older state.
        """
        if not await self._read(compacting.words_are_owed):
            return
        steps, done = 0, False
        while not done and (most is None or steps < most):
            write = partial(compacting.merge_words, begin=steps == 0)
            done = bool(await self._write(Job(write=write, landed=lambda db: False)))
            steps += 1
        with suppress(StoreBusy):
            empty = partial(compacting.empty_log, wait_ms=compacting.READERS_MS)
            await self._write(Job(write=empty, landed=lambda db: False, alone=True))

    async def index(self, rows: Sequence[MemoryRow], /) -> None:
        write = partial(memories.index_memories, rows=rows)
        await self._write(Job(write=write, landed=lambda db: False))  # harmless when repeated

    async def get(self, ids: Sequence[str], /) -> list[MemoryRow]:
        return await self._read(lambda db: memories.get(db, ids))

    async def match(
        self, terms: Sequence[str], /, *, near: Sequence[str] = (), kinds: Sequence[Kind], past: bool, limit: int
    ) -> Matches:
        return await self._read(lambda db: memories.match(db, terms, kinds, past, limit, self._counts, near))

    async def between(
        self, begin: int, end: int, /, *, kinds: Sequence[Kind], past: bool, limit: int
    ) -> list[MemoryRow]:
        return await self._read(lambda db: memories.between(db, begin, end, kinds, past, limit))

    async def at(self, places: Sequence[tuple[str, int]], /) -> list[MemoryRow]:
        return await self._read(lambda db: memories.at(db, places))

    async def about(self, subjects: Sequence[str], /, *, past: bool, limit: int) -> list[MemoryRow]:
        return await self._read(lambda db: memories.about(db, subjects, past, limit))

    async def filling(self, slot: str, /) -> list[MemoryRow]:
        return await self._read(lambda db: memories.filling(db, slot))

    async def page(
        self, *, kinds: Sequence[Kind], past: bool, after: str | None = None, limit: int = 500
    ) -> list[MemoryRow]:
        return await self._read(lambda db: memories.page(db, kinds, past, after, limit))

    async def terms(self, *, after: str, limit: int) -> list[str]:
        return await self._read(lambda db: memories.terms(db, after, limit))

    async def names(self) -> list[str]:
        return await self._read(memories.names)

    async def vectors(self, model: str, /, *, after: int, limit: int) -> list[VectorRow]:
        return await self._read(lambda db: memories.vectors(db, model, after, limit))

    async def without_vector(self, model: str, /, *, limit: int) -> list[MemoryRow]:
        return await self._read(lambda db: memories.without_vector(db, model, limit))

    async def left(self, turns: Sequence[tuple[str, str]], /) -> set[tuple[str, str]]:
        found = await self._read(lambda db: branches.left_turns(db, turns))
        return {turn for turn, left in found.items() if left}

    async def mark(self, name: str, value: str, /) -> None:
        write = partial(memories.put_mark, name=name, value=value)
        await self._write(Job(write=write, landed=lambda db: memories.mark(db, name) == value))

    async def marked(self, name: str, /) -> str | None:
        return await self._read(lambda db: memories.mark(db, name))
