"""Watched: an engine of which every stream is read and every refusal counted, and that its replays tell the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Any

import anyio.abc
import attrs

from september_engine import Engine
from september_engine.errors import EngineError
from september_engine.events import Event
from september_engine.streams import Replay, Turn
from tests.engines import names

__all__ = ["Watched"]


@attrs.define
class Watched(ABC):
    """`seen` are the streams as they were read, by task; `done` counts steps and refusals."""

    group: anyio.abc.TaskGroup
    engine: Engine = attrs.field(init=False)
    seen: list[tuple[str, list[tuple[int, Event]]]] = attrs.field(factory=list)
    done: Counter[str] = attrs.field(factory=Counter)

    def read(self, task_id: str, stream: Turn[Any] | Replay) -> None:
        self.group.start_soon(self._read, task_id, stream)

    async def _read(self, task_id: str, stream: Turn[Any] | Replay) -> None:
        read: list[tuple[int, Event]] = []
        self.seen.append((task_id, read))
        events = stream.__aiter__()
        try:
            async for event in events:
                read.append((events.cursor, event))  # noqa: PERF401
        except EngineError as error:
            self.done[error.code] += 1

    async def do(self, name: str, value: Any) -> None:
        """One step of the history; what is refused is refused."""
        self.done[name] += 1
        try:
            await self._do(name, value)
        except EngineError as error:
            self.done[error.code] += 1

    @abstractmethod
    async def _do(self, name: str, value: Any) -> None:
        """The step, whatever it raises."""

    async def events(self, task_id: str) -> list[tuple[int, Event]]:
        """All that a replay tells, with the cursors."""
        stream = self.engine.replay(task_id=task_id).__aiter__()
        return [(stream.cursor, event) async for event in stream]

    async def replays_what_was_seen(self, task_id: str) -> None:
        rows = await self.events(task_id)
        shown = names([event for _, event in rows])
        assert shown.count("started") == shown.count("completed") + shown.count("errored")
        for other, read in self.seen:
            numbered = [each for place, each in enumerate(read) if place == 0 or each[0] != read[place - 1][0]]
            if other == task_id and numbered and numbered[0][0]:
                begin = rows.index(numbered[0])
                assert rows[begin : begin + len(numbered)] == numbered
