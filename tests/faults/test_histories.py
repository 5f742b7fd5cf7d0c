"""Random histories of a whole engine: submits, edits, cancels, answers, crashes, jumps of the clock, a failing store.

Whatever happens in whatever order, nothing that was seen is lost, every log is whole, the model is never sent anything
it would refuse, and in the end every task takes a message.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import anyio
import anyio.abc
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine import tool
from september_engine.errors import EngineError, ModelError, StoreBusy
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, fail, say, think, turn
from september_engine.store.base import Store
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from tests.engines import Bench, FlakyStore, careful, idle, look, ticks
from tests.faults.watched import Watched

pytestmark = pytest.mark.campaign

TASKS = ("left", "right")
KINDS = ("say", "look", "two", "ask", "ask twice", "hang", "fail", "give up", "refuse", "slow tool")

Op: TypeAlias = tuple[str, Any]

task = st.sampled_from(TASKS)
ops: st.SearchStrategy[list[Op]] = st.lists(
    st.one_of(
        st.tuples(st.just("execute"), st.tuples(task, st.sampled_from(KINDS))),
        st.tuples(st.just("execute"), st.tuples(task, st.sampled_from(KINDS))),
        st.tuples(st.sampled_from(["edit", "retry"]), st.tuples(task, st.integers(0, 20), st.sampled_from(KINDS))),
        st.tuples(st.just("cancel"), task),
        st.tuples(st.just("respond"), st.tuples(task, st.sampled_from(["yes", "no"]))),
        st.tuples(st.just("replay"), st.tuples(task, st.integers(0, 40))),
        st.tuples(st.just("ticks"), st.integers(0, 60)),
        st.tuples(st.just("release"), st.none()),
        st.tuples(st.just("advance"), st.sampled_from([0.4, 3.0, 70.0])),
        st.tuples(st.just("jump"), st.integers(-100_000, 100_000)),
        st.tuples(st.just("break the store"), st.integers(0, 6)),
        st.tuples(st.just("heal the store"), st.none()),
        st.tuples(st.just("crash"), st.sampled_from(["abandon", "resume"])),
    ),
    min_size=6,
    max_size=40,
)


@attrs.define
class House(Watched):
    """An engine that comes and goes, its model, and what was seen of it."""

    store: FlakyStore = attrs.field(factory=FlakyStore)
    bench: Bench = attrs.field(init=False)
    model: ScriptedModel = attrs.field(init=False)
    gate: anyio.Event = attrs.field(factory=anyio.Event)

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(store=self.store)
        self.model = ScriptedModel(self.answer)

    def answer(self, request: ModelRequest) -> Step | Answer:
        messages = request.prompt.messages
        said = messages[-1]["content"]
        if said[0]["type"] == "tool_result":
            return turn(think("Well."), say("So it is."))
        number = len(self.model.requests)
        match said[-1]["text"].partition(" #")[0]:
            case "look":
                return turn(say("Let me look. "), call("look", id=f"c{number}"))
            case "two":
                return turn(think("Two."), call("look", id=f"c{number}a"), call("look", id=f"c{number}b"))
            case "ask":
                return call("careful", id=f"c{number}")
            case "ask twice":
                return turn(call("careful", id=f"c{number}a"), call("look", id="same"), call("careful", id="same"))
            case "slow tool":
                return call("slow", id=f"c{number}")
            case "hang":
                return say("I think, I think, I think.", hold=self.gate, at=2)
            case "fail" if number % 2:
                return turn(say("I will f"), fail(ModelError("Overloaded.", retryable=True)))
            case "give up":
                return turn(think("Hm."), say("I ca"), fail(ModelError("No.", code="LLM_AUTH")))
            case "refuse":
                return turn(say("I will not do that."), stop_reason="refusal")
            case _:
                return turn(think("Easy."), say("Of course."))

    async def open(self, recovery: str = "abandon") -> None:
        @tool(timeout=None)
        async def slow() -> str:
            """Wait for a release."""
            await self.gate.wait()
            return "at last"

        engine = self.bench.engine(self.model, tools=[look, careful, slow], recovery=recovery)
        try:
            self.engine = await engine.open()
        except EngineError:
            self.store.failing = None
            self.engine = await engine.open()

    async def _do(self, name: str, value: Any) -> None:
        engine = self.engine
        match name, value:
            case "execute", (task_id, kind):
                self.read(task_id, engine.execute(f"{kind} #{len(self.seen)}", task_id=task_id))
            case "edit" | "retry", (task_id, place, kind):
                messages = await engine.messages(task_id)
                aim = messages[place % len(messages)].id if messages else "unknown"
                target: dict[str, Any] = {f"{name}_message_id": aim}
                self.read(task_id, engine.execute(f"{kind} #{len(self.seen)}", task_id=task_id, **target))
            case "cancel", task_id:
                await engine.cancel(task_id)
            case "respond", (task_id, answer):
                await engine.respond(task_id, answer)
            case "replay", (task_id, place):
                rows = await self.store.inner.events(task_id, after=0)
                self.read(task_id, engine.replay(task_id=task_id, after=rows[place % len(rows)].ts if rows else 0))
            case "ticks", count:
                await ticks(count)
            case "release", _:
                gate, self.gate = self.gate, anyio.Event()
                gate.set()
            case "advance", seconds:
                await self.bench.clock.advance(seconds)
            case "jump", ms:
                self.bench.clock.wall += ms
            case "break the store", healthy:
                self.store.failing, self.store.healthy = StoreBusy("Told to fail."), healthy
            case "heal the store", _:
                self.store.failing = None
            case "crash", recovery:
                await engine.aclose(drain=0)
                await self.open(recovery)

    async def come_to_rest(self) -> None:
        """Whatever is still open ends, one way or the other."""
        self.store.failing = None
        for task_id in TASKS:
            await self.do("cancel", task_id)
        await self.engine._running.sweep()
        await idle(self.engine)

    async def check(self) -> None:
        """What must hold at the end of every history."""
        for task_id in TASKS:
            after = (await self.engine.execute("say", task_id=task_id)).text
            assert after == "Of course."
            await self.replays_what_was_seen(task_id)
            facts = [
                fact.body
                for each in await self.store.turns(task_id)
                for fact in await self.store.turn(task_id, each.turn_id)
            ]
            assert not [body for body in facts if b"was refused" in body or b"INTERNAL_ERROR" in body]


async def run(history: list[Op], store: Store | None = None) -> Counter[str]:
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            house = House(group, store=FlakyStore(inner=store or MemoryStore()))
            await house.open()
            for name, value in history:
                await house.do(name, value)
            await house.come_to_rest()
            await house.check()
            await house.engine.aclose(drain=0)
        await house.bench.check()
    return house.done


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ops)
async def test_any_history_leaves_whole_logs_that_tell_all_that_was_seen(history: list[Op]) -> None:
    await run(history)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(ops)
async def test_the_same_on_a_real_file(history: list[Op]) -> None:
    with TemporaryDirectory() as folder:
        await run(history, SQLiteStore(Path(folder) / "brain.sqlite"))


async def test_histories_really_do_what_they_say() -> None:
    """A run in which everything was refused would prove nothing."""
    everything: list[Op] = []
    for kind in KINDS:
        everything += [
            ("execute", ("left", kind)),
            ("ticks", 60),
            ("respond", ("left", "yes")),
            ("ticks", 60),
            ("respond", ("left", "no")),
            ("advance", 3.0),
            ("release", None),
            ("ticks", 60),
            ("replay", ("left", 3)),
            ("crash", "resume"),
            ("edit", ("left", 0, "hang")),
            ("crash", "abandon"),
            ("cancel", "left"),
        ]
    done = await run(everything)
    assert done["crash"] == 2 * len(KINDS)
    assert done["TASK_BUSY"] + done["HITL_REQUIRED"] == 0


@pytest.mark.parametrize("recovery", ["abandon", "resume"])
async def test_a_crash_after_any_number_of_turns_of_the_loop(recovery: str) -> None:
    for kind in KINDS:
        for count in range(0, 60, 2):
            await run([("execute", ("left", kind)), ("ticks", count), ("crash", recovery), ("ticks", 30)])
