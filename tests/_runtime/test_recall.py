"""Recall waits for what ended just now, and never for long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from september_engine._runtime.recall import LEAST, RECALL_SECONDS
from september_engine._turn.facts import Recalled, decode_fact
from september_engine.errors import ModelError
from september_engine.memory.base import Episode, Hit, Source
from september_engine.models.scripted import ScriptedModel, call, fail, say
from tests.engines import Bench, echo, look, ticks


async def test_a_turn_knows_what_was_said_in_a_turn_that_ended_just_before() -> None:
    model = ScriptedModel(echo)
    async with Bench().running(model, memory=True) as engine:
        for number in range(5):
            await engine.execute(f"The number {number} is my favourite.", task_id=f"task-{number}")
            await engine.execute("Which number is my favourite?", task_id=f"asks-{number}")
            assert f"The number {number} is" in str(model.requests[-1].prompt.messages[-1])


async def test_a_memory_that_never_settles_is_not_waited_for_longer_than_a_moment() -> None:
    bench = Bench()
    async with bench.running([say("Nice.")], memory=True) as engine:
        remembering = engine._running.resources.remembering
        assert remembering is not None
        async with remembering.writing:
            remembering.went_on("nobody")
            running = engine.execute("Where is Ana?", task_id="a")
            await running.started()
            await bench.clock.advance(RECALL_SECONDS)
            assert (await running).text == "Nice."
        store = engine._running.store
        facts = [decode_fact(row.body) for row in await store.turn("a", running.turn_id)]
    assert [fact.items for fact in facts if isinstance(fact, Recalled)] == [[]]


class Nearness:
    """An embedder for which each text says itself how near it is to what is asked: "near 0.3"."""

    name = "nearness"
    dimensions = 2

    async def embed(self, texts: Sequence[str], /) -> Sequence[Sequence[float]]:
        cosines = [float(text.split()[-1]) if text.startswith("near") else 1.0 for text in texts]
        return [[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines]


async def test_what_is_nearest_but_not_near_is_not_told() -> None:
    async with Bench().running([say("Hm.")], memory=True, embedder=Nearness()) as engine:
        await engine.memory.remember(
            Episode(text="near 0.5", at=1), Episode(text="near 0.05", at=2), Episode(text="near 0.2", at=3)
        )
        assert len(await engine.memory.recall("What of it?")) == 3
        done = await engine.execute("What of it?", task_id="a")
        store = engine._running.store
        facts = [decode_fact(row.body) for row in await store.turn("a", done.turn_id)]
    [recalled] = [fact for fact in facts if isinstance(fact, Recalled)]
    assert [item.score >= LEAST for item in recalled.items] == [True]
    assert "near 0.5" in recalled.items[0].text


async def test_of_a_long_memory_the_place_that_answers_is_told() -> None:
    model = ScriptedModel(echo)
    filler = "The weather was fine and we all went down to the sea. " * 60
    async with Bench().running(model, memory=True) as engine:
        await engine.memory.remember(Episode(text=f"{filler}We named the beagle Otto. {filler}", speaker="Ana", at=1))
        [hit] = await engine.memory.recall("What is the beagle called?")
        assert "We named the beagle Otto." in hit.passage
        assert len(hit.passage) < 1_100
        await engine.execute("What is the beagle called?", task_id="t")
    assert "We named the beagle Otto." in str(model.requests[-1].prompt.messages)


async def test_what_ended_just_now_is_waited_for() -> None:
    model = ScriptedModel(echo)
    async with Bench().running(model, memory=True) as engine:
        remembering = engine._running.resources.remembering
        assert remembering is not None
        async with remembering.writing:
            await engine.execute("Otto is a beagle.", task_id="a")
            running = engine.execute("What is Otto?", task_id="b")
            await running.started()
            await ticks(100)
            assert len(model.requests) == 1, "it waits"
        await running.result()
    assert "Otto is a beagle." in str(model.requests[-1].prompt.messages)


async def test_memory_is_asked_once_a_turn_whatever_happens_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, asked = Bench(), 0
    model = ScriptedModel([fail(ModelError("Busy.", retryable=True)), call("look"), say("It is here.")])
    async with bench.running(model, memory=True, tools=[look]) as engine:
        recall = engine.memory.recall

        async def counted(*args: Any, **more: Any) -> list[Hit]:
            nonlocal asked
            asked += 1
            return await recall(*args, **more)

        monkeypatch.setattr(engine.memory, "recall", counted)
        running = engine.execute("Where is Ana?", task_id="a")
        await running.started()
        while len(model.requests) < 2:
            await bench.clock.advance(1)
        await running.result()
    assert (asked, len(model.requests)) == (1, 3)


async def test_what_the_thread_shows_anyway_takes_no_place_of_what_it_does_not() -> None:
    model = ScriptedModel(echo)
    async with Bench().running(model, memory=True) as engine:
        for number in range(10):
            await engine.execute(f"tea number {number}", task_id="a")
        await engine.remembered()
        elsewhere = "In Leeds they drank tea, and coffee, and water with it, on every day of that long summer."
        await engine.memory.remember(Episode(text=elsewhere, at=1, source=Source(task_id="b")))
        assert elsewhere not in [hit.passage for hit in await engine.memory.recall("tea number", limit=8)]
        await engine.execute("tea number?", task_id="a")
    assert elsewhere in str(model.requests[-1].prompt.messages)
