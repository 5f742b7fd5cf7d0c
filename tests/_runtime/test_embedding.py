"""An embedder that says nothing holds up nobody for long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import attrs
import pytest

from september_engine._runtime.embedding import AWAY_SECONDS, EMBEDDING_SECONDS, PatientEmbedder
from september_engine.testing.fakes import FakeClock
from tests.engines import Bench, echo, ticks


@attrs.define
class Moody:
    """Knows how long texts are, or does not answer, or fails."""

    name: str = "moody"
    dimensions: int = 2
    failing: BaseException | None = None
    silent: bool = False
    asked: int = 0

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        self.asked += 1
        if self.silent:
            await anyio.Event().wait()
        if self.failing is not None:
            raise self.failing
        return [[float(len(text)), 1.0] for text in texts]


async def within(clock: FakeClock, work: Any, seconds: float) -> None:
    """This ends when so many seconds have passed, and not before."""
    task = asyncio.create_task(work)
    await clock.advance(seconds - 1)
    assert not task.done()
    await clock.advance(1)
    await ticks(20)
    assert task.done()
    await task


async def test_it_embeds_and_fails_as_the_embedder_does() -> None:
    moody = Moody()
    patient = PatientEmbedder(moody, clock=FakeClock())
    assert (patient.name, patient.dimensions, repr(patient)) == ("moody", 2, repr(moody))
    assert await patient.embed(["a", "bc"]) == [[1.0, 1.0], [2.0, 1.0]]
    for failing, raised in ((OSError("Away."), OSError), (asyncio.CancelledError(), RuntimeError)):
        moody.failing = failing
        with pytest.raises(raised):
            await patient.embed(["a"])


async def test_one_that_was_silent_is_left_alone_for_a_while() -> None:
    moody, clock = Moody(silent=True), FakeClock()
    patient = PatientEmbedder(moody, clock=clock)

    async def embed() -> None:
        with pytest.raises(TimeoutError):
            await patient.embed(["a"])

    await within(clock, embed(), EMBEDDING_SECONDS)
    await embed()
    assert moody.asked == 1
    moody.silent = False
    await clock.advance(AWAY_SECONDS)
    assert await patient.embed(["a"]) == [[1.0, 1.0]]


async def test_what_is_said_is_remembered_and_a_task_can_be_deleted_though_the_embedder_is_silent() -> None:
    bench, moody = Bench(), Moody(silent=True)
    async with bench.running(echo, memory=True, embedder=moody) as engine:
        await engine.execute("Hi!", task_id="a")
        await within(bench.clock, engine.remembered(), EMBEDDING_SECONDS)
        assert len(await engine.memory.page(kinds=["episode"])) == 2
        await engine.execute("Hello!", task_id="a")
        await engine.remembered()
        assert await engine.delete("a")
        assert await engine.memory.page() == []
