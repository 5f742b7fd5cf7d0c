"""Engines on a bench: time stands still until it is moved, ids count, and the store can be kept across restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import attrs

from september_engine import Engine, Settings, tool
from september_engine._runtime.world import World
from september_engine._turn.limits import Limits
from september_engine.events import Event, HitlRequest, TextDelta, ThreadLifecycle, ToolCall, ToolResult, name_of
from september_engine.models.base import Model, ModelRequest
from september_engine.models.prices import Prices
from september_engine.models.scripted import Script, ScriptedModel, Step, say
from september_engine.permissions import Policy
from september_engine.store.base import Batch, CompactReport, EventRow, FactRow, OnProgress, Store, TaskRow, TurnRow
from september_engine.store.memory import MemoryStore
from september_engine.streams import Replay, Turn
from september_engine.testing.fakes import FakeClock, FakeIds, SequenceRandom
from september_engine.testing.log_checker import check_task

__all__ = [
    "Bench",
    "FlakyStore",
    "careful",
    "echo",
    "held",
    "idle",
    "look",
    "names",
    "phases",
    "soon",
    "text",
    "ticks",
    "until",
    "well_formed",
]

E = TypeVar("E", bound=Event)


@tool
async def look(at: str = "it") -> str:
    """Look at something."""
    return f"saw {at}"


@tool(requires_permission=True)
async def careful(at: str = "it") -> str:
    """Do something that must be allowed."""
    return f"did {at}"


def echo(request: ModelRequest) -> Step:
    """A script that repeats what was said last."""
    return say(f"You said: {request.prompt.messages[-1]['content'][-1]['text']}")


def held(text: str = "Hello", at: int = 0) -> Step:
    """An answer that never comes to its end."""
    return say(text, hold=anyio.Event(), at=at)


@attrs.define(kw_only=True)
class Bench:
    """What outlives an engine: its store, the clock, the ids. Time starts at the clock's wall."""

    store: Store = attrs.field(factory=MemoryStore)
    clock: FakeClock = attrs.field(factory=FakeClock)
    chance: Sequence[float] = (0.5,)
    world: World = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.world = World(clock=self.clock, ids=FakeIds(), chance=SequenceRandom(self.chance))

    def engine(
        self,
        model: Script | Model = (),
        *,
        tools: Iterable[Any] = (),
        policy: Policy | None = None,
        fallback: Model | None = None,
        planner: Model | None = None,
        notes: Any = None,
        light: Model | None = None,
        memory: bool = False,
        embedder: Any = None,
        distil: Any = None,
        limits: Limits | None = None,
        prices: Prices | None = None,
        system: str = "Be kind.",
        progress_timeout: float = 120.0,
        **settings: Any,
    ) -> Engine:
        """An engine that is not open yet; a script makes a scripted model."""
        answering: Any = model if hasattr(model, "stream") else ScriptedModel(model)
        return Engine(
            self.store,
            model=answering,
            fallback=fallback,
            planner=planner,
            light=light,
            tools=tools,
            notes=notes,
            memory=memory,
            embedder=embedder,
            distil=distil,
            policy=policy,
            system=system,
            limits=limits,
            prices=prices,
            settings=Settings(**settings),
            progress_timeout=progress_timeout,
            world=self.world,
        )

    @asynccontextmanager
    async def running(self, model: Script | Model = (), **options: Any) -> AsyncIterator[Engine]:
        """An open engine, closed as a crash would leave the log: turns that run are not waited for.

        Whatever a test does, the log that it leaves must be whole.
        """
        engine = await self.engine(model, **options).open()
        try:
            with anyio.fail_after(20):
                yield engine
        finally:
            await engine.aclose(drain=0)
        await self.check()

    async def check(self) -> None:
        """Look at every log in the store, which must be closed."""
        store = self.store.inner if isinstance(self.store, FlakyStore) else self.store
        await store.open()
        try:
            for row in await store.tasks(limit=1000):
                wrong = await check_task(store, row.task_id, every_prefix=row.last_seq < 100)
                assert not wrong, "\n".join([f"the log of {row.task_id!r} is not whole:", *wrong])
        finally:
            await store.aclose()


@attrs.define(slots=False)
class FlakyStore:
    """A store whose writing or reading fails while `failing` says so, after `healthy` more batches."""

    inner: Store = attrs.field(factory=MemoryStore)
    failing: Exception | None = None
    reading: Exception | None = None
    healthy: int = 0
    appended: list[Batch] = attrs.field(factory=list)

    @property
    def files(self) -> tuple[str, ...]:
        return self.inner.files

    async def append(self, batch: Batch, /) -> None:
        if self.failing is not None and self.healthy <= 0:
            raise self.failing
        self.healthy -= 1
        await self.inner.append(batch)
        self.appended.append(batch)

    async def events(self, task_id: str, /, *, after: int, limit: int = 500) -> list[EventRow]:
        self._look()
        return await self.inner.events(task_id, after=after, limit=limit)

    async def trim(self, *, ended_before: int, limit: int = 100) -> int:
        if self.failing is not None:
            raise self.failing
        return await self.inner.trim(ended_before=ended_before, limit=limit)

    async def task(self, task_id: str, /) -> TaskRow | None:
        self._look()
        return await self.inner.task(task_id)

    async def tasks(self, *, before: str | None = None, limit: int = 50) -> list[TaskRow]:
        return await self.inner.tasks(before=before, limit=limit)

    async def open_tasks(self) -> list[TaskRow]:
        self._look()
        return await self.inner.open_tasks()

    async def delete(self, task_id: str, /) -> bool:
        return await self.inner.delete(task_id)

    async def turn(self, task_id: str, turn_id: str, /) -> list[FactRow]:
        self._look()
        return await self.inner.turn(task_id, turn_id)

    async def thread(self, task_id: str, turn_id: str, /, *, since: str | None = None) -> list[FactRow]:
        self._look()
        return await self.inner.thread(task_id, turn_id, since=since)

    async def turns(self, task_id: str, /) -> list[TurnRow]:
        return await self.inner.turns(task_id)

    async def find(self, task_id: str, message_id: str, /) -> FactRow | None:
        return await self.inner.find(task_id, message_id)

    async def blob(self, task_id: str, sha256: str, /) -> bytes | None:
        self._look()
        return await self.inner.blob(task_id, sha256)

    async def open(self) -> None:
        await self.inner.open()

    async def aclose(self) -> None:
        await self.inner.aclose()

    async def check(self) -> str:
        return "ok" if self.failing is None else str(self.failing)

    async def latest(self) -> str | None:
        return await self.inner.latest()

    async def quoting(self, memory_ids: Sequence[str], /) -> list[str]:
        self._look()
        return await self.inner.quoting(memory_ids)

    async def rewrite(self, task_id: str, facts: Sequence[FactRow], /, *, no_longer: Sequence[str]) -> None:
        await self.inner.rewrite(task_id, facts, no_longer=no_longer)

    async def compact(self, *, progress: OnProgress | None = None) -> CompactReport:
        return await self.inner.compact(progress=progress)

    def _look(self) -> None:
        if self.reading is not None:
            raise self.reading


async def ticks(count: int) -> None:
    """Let the event loop turn so often."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def until(stream: Turn[Any] | Replay, kind: type[E]) -> E:
    """Read a stream from its start to the first event of this kind."""
    async for event in stream:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the stream ended without {kind.__name__}")


async def idle(engine: Engine) -> None:
    """Wait until no turn lives in this engine."""
    while engine._running.live:
        await ticks(1)


def names(events: Iterable[Event]) -> list[str]:
    """What happened, in words; the phase of the turn instead of `thread_lifecycle`."""
    return [event.phase if isinstance(event, ThreadLifecycle) else name_of(event) for event in events]


def phases(events: Iterable[Event]) -> list[str]:
    """Only the beginnings and ends of turns."""
    return [event.phase for event in events if isinstance(event, ThreadLifecycle)]


def text(events: Iterable[Event]) -> str:
    """The joined deltas."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def well_formed(events: Sequence[Event]) -> None:
    """One whole turn: first and last events in place, each call answered once, nothing after the end."""
    shown = names(events)
    assert shown[0] == "started"
    assert shown[-1] == "completed" or shown[-2:] == ["errored", "error"]
    assert shown.count("started") == shown.count("completed") + shown.count("errored") == 1
    calls = [event.tool_call_id for event in events if isinstance(event, ToolCall)]
    results = [event.tool_call_id for event in events if isinstance(event, ToolResult)]
    assert sorted(calls) == sorted(results)
    asked = [event.tool_call_id for event in events if isinstance(event, HitlRequest) and event.kind == "permission"]
    assert set(asked) <= set(calls)


async def soon(stream: Turn[Any] | Replay) -> list[Event]:
    """All events of a stream."""
    return [event async for event in stream]
