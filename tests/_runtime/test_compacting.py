"""One compaction by itself: who is asked, how long, and what it costs. Whole turns are in `test_long_threads.py`."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from september_engine._context.stored import take_out
from september_engine._media.files import read_media
from september_engine._runtime.compacting import Compaction
from september_engine._runtime.media import Attachments
from september_engine._runtime.resources import Resources
from september_engine._runtime.world import World
from september_engine._turn.commands import Compact
from september_engine._turn.inputs import Summarised
from september_engine.errors import ModelError
from september_engine.messages import Usage
from september_engine.models.base import Model, ModelRequest
from september_engine.models.prices import Price, PriceList
from september_engine.models.scripted import Answer, Script, ScriptedModel, call, fail, hold, say, turn
from september_engine.permissions import Policy
from september_engine.store.base import Blob
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock, FakeIds, SequenceRandom
from september_engine.testing.store_writer import Writer
from tests._context.pictures import image
from tests._turn.build import replied, returned, starting, text, use
from tests._turn.test_compaction import now, thread, told_turn
from tests.engines import ticks

FACTS = [*thread(10), *now(11)]
COMMAND = Compact(
    step=0,
    context=3_000,
    budget=2_640,
    max_tokens=300,
    window=4_000,
    attempts=3,
    fallback=False,
    prefix="p1",
)


def compaction(
    model: Model,
    *,
    light: Model | None = None,
    clock: FakeClock | None = None,
    facts: Any = FACTS,
    prices: PriceList | None = None,
    store: MemoryStore | None = None,
    **more: Any,
) -> Compaction:
    resources = Resources(
        world=World(clock=clock or FakeClock(), ids=FakeIds(), chance=SequenceRandom()),
        model=model,
        fallback=None,
        planner=None,
        light=light,
        prices=prices or PriceList({}),
        attachments=Attachments(store or MemoryStore(), read=read_media),
        tools={},
        policy=Policy(),
        threads=anyio.CapacityLimiter(1),
        concurrency=1,
        progress_timeout=30.0,
    )
    command = Compact(**{**{name: getattr(COMMAND, name) for name in COMMAND.__struct_fields__}, **more})
    return Compaction(command, facts=facts, resources=resources, task_id="t")


def model(*script: Any, **options: Any) -> ScriptedModel:
    made: Script = list(script)
    return ScriptedModel(made, name="big", strict=False, **options)


def told(made: Summarised) -> tuple[str, str]:
    return made.compacted.strategy, made.compacted.summary.splitlines()[-1]


async def test_the_turns_model_is_asked_where_there_is_no_other() -> None:
    made = await compaction(model(say("All of it."))).run()
    assert told(made) == ("summary", "All of it.")
    assert made.compacted.after_tokens < 2_640


@pytest.mark.parametrize(
    "reply",
    [
        turn(say("I cannot help with that."), stop_reason="refusal"),
        turn(say("Let me look at the rows first."), call("rows", count=1)),
    ],
    ids=["a refusal", "a call"],
)
async def test_what_reads_like_a_summary_and_is_none_does_not_take_its_place(reply: Answer) -> None:
    light = ScriptedModel([reply], name="light", strict=False)
    assert told(await compaction(model(say("Seven.")), light=light).run()) == ("summary", "Seven.")
    assert (await compaction(model(reply)).run()).compacted.strategy == "excerpts"


async def test_the_light_model_comes_first_and_the_turns_own_takes_its_place() -> None:
    light, big = ScriptedModel([fail(ModelError("Gone."))], name="light", strict=False), model(say("Mine."))
    made = await compaction(big, light=light).run()
    assert told(made) == ("summary", "Mine.")
    assert (made.compacted.model, len(light.requests), len(big.requests)) == ("big", 1, 1)


async def test_a_model_whose_window_is_too_small_is_not_asked() -> None:
    light = ScriptedModel([say("?")], name="light", strict=False, context_window=500)
    made = await compaction(model(say("Mine.")), light=light).run()
    assert told(made) == ("summary", "Mine.")
    assert light.requests == []


async def test_where_the_whole_does_not_fit_anybody_excerpts_are_made() -> None:
    big = model()
    made = await compaction(big, window=1_000).run()
    assert made.compacted.strategy == "excerpts"
    assert big.requests == []


async def test_what_failed_attempts_cost_is_counted() -> None:
    busy = fail(ModelError("Busy.", retryable=True, retry_after=0.0))
    one = compaction(model(busy, turn(say(" "), usage=Usage(input_tokens=9)), turn(say("x"), usage=Usage())))
    made = await one.run()
    assert made.compacted.strategy == "excerpts"
    assert made.compacted.usage == one.usage == Usage(input_tokens=9)


async def test_each_attempt_costs_what_its_model_costs() -> None:
    million = Usage(input_tokens=1_000_000)
    prices = {"light": Price(input=1, output=1), "big": Price(input=5, output=5)}
    blank, answer = turn(say(" "), usage=million), turn(say("Mine."), usage=million)
    for known, cost in ((prices, 6.0), ({"big": prices["big"]}, None)):
        light = ScriptedModel([blank], name="light", strict=False)
        one = compaction(model(answer), light=light, prices=PriceList(known))
        made = await one.run()
        assert (made.compacted.usage, made.compacted.cost_usd) == (million + million, cost)
        assert one.cost_usd == cost


async def test_pictures_are_in_the_request_for_a_summary() -> None:
    store = MemoryStore()
    await store.open()
    [kept], contents = take_out([image()])
    [(sha256, data)] = contents.items()
    writer = Writer(store, "t")
    await writer.begin("t1")
    await writer.more("a", blobs=[Blob(sha256=sha256, body=data)])
    big = model(say("A picture."))
    facts = [*told_turn(1, "?", "A picture.", content=[kept, text("?")]), *thread(10)[2:], *now(11)]
    assert told(await compaction(big, facts=facts, store=store).run()) == ("summary", "A picture.")
    assert big.requests[0].prompt.messages[0]["content"][0] == image()


async def test_a_model_that_says_nothing_is_given_up_after_a_while() -> None:
    clock, silent = FakeClock(), model(hold(anyio.Event()), say("At last."))
    one = compaction(silent, clock=clock)
    assert one.patience.left(0.0) == 30.0
    made: list[Summarised] = []

    async def run() -> None:
        made.append(await one.run())

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        while not silent.requests:
            await ticks(1)
        assert one.patience.left(clock.monotonic() + 29.0) == 1.0
        assert one.patience.left(clock.monotonic() + 31.0) == 0.0
        while not made:
            await ticks(1)
            await clock.advance(1.0)
    assert told(made[0]) == ("summary", "At last.")
    assert silent.open_streams == 0


async def test_cancelling_closes_the_stream() -> None:
    silent = model(hold(anyio.Event()))
    async with anyio.create_task_group() as group:
        group.start_soon(compaction(silent).run)
        while not silent.open_streams:
            await ticks(1)
        group.cancel_scope.cancel()
    assert silent.open_streams == 0


class Rude(ScriptedModel):
    """Raises what a model must not."""

    async def stream(self, request: ModelRequest, /) -> Any:
        raise RuntimeError("no manners")
        yield


@pytest.mark.parametrize("window", [None, 4_000])
async def test_a_model_that_breaks_the_port_is_no_reason_to_stop(
    window: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    made = await compaction(Rude([]), window=window).run()
    assert made.compacted.strategy == "excerpts"
    assert (
        "scripted made no summary. LLM_PROVIDER_ERROR: The model adapter failed: RuntimeError: no manners"
        in caplog.text
    )


async def test_what_is_too_much_for_a_summary_is_told_with_less_of_its_results() -> None:
    calls = replied(use("c"), message_id="m1")
    facts = [*thread(2), *now(3, calls, starting("c"), returned("c", "row " * 4_000), replied(text("Rows."), step=1))]
    big = model(say("Many rows."))
    made = await compaction(big, facts=[*facts, *now(4)], context=7_000).run()
    assert told(made) == ("summary", "Many rows.")
    [result] = big.requests[0].prompt.messages[-3]["content"]
    assert "left out" in result["content"]
