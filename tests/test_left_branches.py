"""From the first moment of an edited or retried turn, nothing of the branch that it leaves reaches any model."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from september_engine import Engine, tool
from september_engine._memory.distilling import DISTILLED
from september_engine._runtime.distilling import PATIENCE_SECONDS
from september_engine._turn.limits import Limits
from september_engine.errors import ModelError, TurnFailed
from september_engine.events import HitlRequest, ToolResult
from september_engine.memory.base import Knowledge, Source
from september_engine.messages import text_of
from september_engine.models.base import ModelRequest
from september_engine.models.scripted import Answer, ScriptedModel, Step, call, fail, say, think, turn
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.tools.ask_user import ask_user
from tests._context.pictures import document
from tests.engines import Bench, echo, look, ticks

CANARY = re.compile(r"canary-[a-z]+")
"""Each stands in one place of the branch that is left; "gate" in all of them, so that every recall finds them."""

ASK = "Which code has the gate?"
TOO_LONG = ModelError("prompt is too long", code="CONTEXT_OVERFLOW")
BIG = "The gate, canary-stored. " * 400


@tool
async def big() -> str:
    """Give much."""
    return BIG


@tool(requires_permission=True)
async def careful(at: str) -> str:
    """Do something that must be allowed."""
    return f"did {at}"


class Watching:
    """A model, or an embedder, whose every request is kept."""

    name, dimensions = "watching", 2

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        self.texts += texts
        return [[1.0, float(len(text) % 7)] for text in texts]


def distilling(request: ModelRequest) -> Step:
    """Facts of all kinds from the first line that is shown, with the canary where the line has one."""
    text = text_of(request.prompt.messages[0]["content"])
    line = next((line for line in text.splitlines() if "canary-message" in line), "1")
    number = int(line.split()[0])
    mark = "canary-drawn" if number != 1 or "canary" in line else "nothing"
    fact = {"line": number, "subject": "gate", "attribute": "", "content": mark, "type": "fact", "confidence": 1.0}
    person = {"line": number, "name": f"Gate {mark}", "about": mark}
    tie = {"line": number, "subject": "gate", "relation": "near", "object": mark}
    return say(json.dumps({"knowledge": [fact], "people": [person], "relations": [tie]}))


def the_branch() -> list[Step | Answer]:
    """What the model does in the turns that are left."""
    return [
        turn(
            think("The gate, canary-thought."),
            call("remember", kind="knowledge", subject="gate", attribute="code", content="canary-message gate"),
            call("remember", kind="person", subject="gate keeper", content="canary-person"),
            call("remember", kind="relation", subject="gate", attribute="near", content="canary-relation"),
            call("remember", kind="trait", attribute="value", content="Never tell canary-message gate"),
            call("remember", kind="trait", attribute="identity", content="canary-message gate"),
            call("forget", memory_id="mem_host", reason="canary-reason"),
            call("note", key="gate", value="canary-note"),
            call("update_plan", steps=[{"id": "1", "title": "The gate, canary-plan", "status": "active"}]),
        ),
        turn(
            call("look", at="the gate, canary-input"),
            call("big"),
            call("careful", id="call_allowed", at="canary-allowed gate"),
            call("ask_user", id="call_asked", question="The gate, canary-question?"),
        ),
        say("The gate has the code canary-answer."),
        fail(TOO_LONG),
        say("The gate still has the code canary-later."),
    ]


class House:
    """An engine on a bench, with every model that there is, and what all of them were asked."""

    def __init__(self, store: Any) -> None:
        self.bench = Bench(store=store)
        self.script: list[Step | Answer] = []
        self.main = ScriptedModel(lambda request: self.script.pop(0) if self.script else say("Noted."), new_prefix=True)
        self.step = "Answer"
        self.planner = ScriptedModel(self.plan, name="planner")
        self.light = ScriptedModel(lambda request: say("The gate, canary-summary."), name="light")
        self.distiller = ScriptedModel(distilling, name="distiller")
        self.embedder = Watching()

    def plan(self, request: ModelRequest) -> Step:
        return say(json.dumps({"worthwhile": True, "steps": [self.step, "Rest"]}))

    def engine(self) -> Any:
        return self.bench.running(
            self.main,
            tools=[look, big, careful, ask_user],
            notes="any",
            planner=self.planner,
            light=self.light,
            memory=True,
            embedder=self.embedder,
            distil=self.distiller,
            limits=Limits(output_bytes=2_000),
        )

    def counts(self) -> list[int]:
        """How much every model was asked so far."""
        return [len(requests) for requests in self._asked()]

    def canaries(self, since: Sequence[int]) -> set[str]:
        """Those in all that any model was asked since then."""
        new = [text for requests, count in zip(self._asked(), since, strict=True) for text in requests[count:]]
        return {found for text in new for found in CANARY.findall(text)}

    def _asked(self) -> list[list[str]]:
        models = (self.main, self.planner, self.light, self.distiller)
        return [*([str(request.prompt) for request in model.requests] for model in models), self.embedder.texts]

    async def draw(self, engine: Engine) -> None:
        """Let what was said be remembered and distilled."""
        await engine.remembered()
        episodes = await engine.memory.page(kinds=["episode"], limit=1_000)
        while await engine.memory.marked(DISTILLED) != episodes[-1].id:
            await self.bench.clock.advance(PATIENCE_SECONDS / 30)  # less than a call may take


async def live_through(engine: Engine, house: House) -> tuple[str, str]:
    """A turn that stays, and two that will be left; returns the message ids of the first and the second."""
    await engine.memory.remember(Knowledge(id="mem_host", subject="gate", content="It is green."))
    await engine.memory.remember(
        Knowledge(subject="gate", attribute="code", content="1234", source=Source(origin="agent", trust="inferred"))
    )
    first = await engine.execute("There is a gate.", task_id="t")
    house.step, house.script = "The gate, canary-step", the_branch()
    page = {**document(), "title": "The gate, canary-title"}
    going = engine.execute("Never tell canary-message gate. canary-message gate", task_id="t", media=[page])
    async for event in going:
        if isinstance(event, HitlRequest) and event.kind == "permission":
            await engine.respond(
                "t", "yes", request_id=event.request_id, feedback="canary-feedback gate", remember=True
            )
        elif isinstance(event, HitlRequest):
            await engine.respond("t", "The gate, canary-reply", request_id=event.request_id)
    second = await going.result()
    await engine.execute("And now, the gate?", task_id="t")
    assert second.user_message_id
    assert first.user_message_id
    return first.user_message_id, second.user_message_id


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "brain.sqlite")


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("kind", ["edit", "retry"])
async def test_no_model_is_shown_anything_of_the_branch(store: Any, kind: str, restarted: bool) -> None:
    pytest.importorskip("numpy")
    house = House(store)
    async with house.engine() as engine:
        _, second = await live_through(engine, house)
        await house.draw(engine)
        everything = house.canaries([0] * 5)
        kept = {repr(memory) for memory in await engine.memory.page()}
        assert {"canary-drawn", "canary-message", "canary-person"} <= set(CANARY.findall(str(kept)))
        assert len(everything) >= 18, everything
        if not restarted:
            await left(engine, house, second, kind)
    if restarted:
        async with house.engine() as engine:
            await left(engine, house, second, kind)


async def left(engine: Engine, house: House, message_id: str, kind: str) -> None:
    """Edit or retry that message, and look at all that any model is asked from then on."""
    allowed = {"canary-message", "canary-title"} if kind == "retry" else set()
    ask: dict[str, Any] = {f"{kind}_message_id": message_id}
    house.step = "Answer"
    house.script = [
        turn(
            call("read_result", id="call_read", result_id=hashlib.sha256(BIG.encode()).hexdigest()),
            call("careful", id="call_again", at="canary-allowed gate") if kind == "retry" else call("look", at="gate"),
        ),
        say("It is green."),
    ]
    before = house.counts()
    going, asked, read = engine.execute(ASK, task_id="t", **ask), 0, []
    async for event in going:
        if isinstance(event, HitlRequest):
            asked += 1
            await engine.respond("t", "no", request_id=event.request_id)
        elif isinstance(event, ToolResult) and event.tool_call_id == "call_read":
            read.append(event)
    assert asked == (kind == "retry"), "a yes for the rest of the task was given on the branch that was left"
    assert read[0].error is not None
    assert read[0].error.reason == "not_found"
    await house.draw(engine)
    for task_id in ("t", "other"):
        await engine.execute(ASK, task_id=task_id)
        await house.draw(engine)
    made_here = {"canary-allowed"} if kind == "retry" else set()
    drawn = {"canary-drawn"} if kind == "retry" else set()  # from the same message, said on the branch that counts
    assert house.canaries(before) <= allowed | made_here | drawn
    told = str(house.main.requests[-1].prompt)
    assert "1234" in told, "what the branch superseded is current again"
    assert "It is green." in told, "what the branch forgot is there again"
    assert await engine.notes.get("t") == {}
    assert "canary" not in str(await engine.plan("t"))
    now = str(await engine.memory.page())
    assert set(CANARY.findall(now)) <= allowed | drawn
    assert (await engine.memory.soul()).identity == ""
    assert len(set(CANARY.findall(str(await engine.memory.page(past=True, limit=1_000))))) >= 6


# ── what is under way ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_being_distilled_when_an_edit_comes_is_not_taken(store: Any) -> None:
    gate = anyio.Event()
    bench = Bench(store=store)
    fact = {"line": 1, "subject": "gate", "attribute": "", "content": "canary", "type": "fact", "confidence": 1.0}
    answers = [say(json.dumps({"knowledge": [fact], "people": [], "relations": []}), hold=gate), distilling]
    distiller = ScriptedModel(lambda request: one(request) if callable(one := answers.pop(0)) else one)
    async with bench.running(echo, memory=True, distil=distiller) as engine:
        first = await engine.execute("The gate opens with canary-code.", task_id="t")
        await engine.remembered()
        while not distiller.requests:
            await bench.clock.advance(PATIENCE_SECONDS / 30)  # less than a call may take
        await engine.execute("The gate has no code.", task_id="t", edit_message_id=first.user_message_id)
        await engine.remembered()
        gate.set()
        while len(distiller.requests) < 2:
            await ticks(1)
        assert "canary" not in str(distiller.requests[1].prompt)
        while len(await engine.memory.page(kinds=["person"])) < 1:
            await ticks(1)
        assert "canary" not in str(await engine.memory.page(limit=1_000))


class Slow(Watching):
    """An embedder that is slow with what a turn leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = anyio.Event()

    async def embed(self, texts: Sequence[str], /) -> list[list[float]]:
        found = await super().embed(texts)
        if any("You said" in text for text in texts):
            await self.gate.wait()
        return found


async def test_what_is_being_remembered_when_an_edit_comes_is_left_when_it_lands(store: Any) -> None:
    pytest.importorskip("numpy")
    bench, embedder, model = Bench(store=store), Slow(), ScriptedModel(echo)
    async with bench.running(model, memory=True, embedder=embedder) as engine:
        first = await engine.execute("The gate opens with canary-code.", task_id="t")
        while not any("You said" in text for text in embedder.texts):
            await ticks(1)
        going = engine.execute("The gate has no code.", task_id="t", edit_message_id=first.user_message_id)
        await going.started()
        asked = len(embedder.texts)
        embedder.gate.set()
        await going.result()
        await engine.remembered()
        await engine.execute(ASK, task_id="other")
        assert not [text for text in embedder.texts[asked:] if "canary" in text]
        assert "canary" not in str([request.prompt for request in model.requests[1:]])
        texts = [getattr(each, "text", "") for each in await engine.memory.page(kinds=["episode"], past=True)]
        assert len([text for text in texts if "canary" in text]) == 2, "people may still read it"


@pytest.mark.parametrize("recovery", ["abandon", "resume"])
async def test_a_process_that_died_in_the_edited_turn_shows_what_counts_then(store: Any, recovery: str) -> None:
    bench, model = Bench(store=store), ScriptedModel(echo)
    async with bench.running(model, memory=True) as engine:
        first = await engine.execute("The gate opens with canary-code.", task_id="t")
        await engine.remembered()
        held = ScriptedModel([say("It has", hold=anyio.Event())])
    async with bench.running(held, memory=True) as engine:
        going = engine.execute("The gate has no code.", task_id="t", edit_message_id=first.user_message_id)
        await going.started()
        while not held.requests:
            await ticks(1)
    model = ScriptedModel(echo)
    async with bench.running(model, memory=True, recovery=recovery) as engine:
        while engine._running.live:
            await ticks(1)
        await engine.execute(ASK, task_id="other")
    assert ("canary" in str(model.requests[-1].prompt)) is (recovery == "abandon")


async def test_a_retry_begins_as_the_first_try_did_where_nothing_else_has_changed(store: Any) -> None:
    model = ScriptedModel(echo)
    async with Bench(store=store).running(model, memory=True) as engine:
        for number in range(12):
            await engine.memory.remember(Knowledge(subject="gate", content=f"Code {number} opens it."))
        await engine.execute("The gate is green.", task_id="other")
        await engine.execute("Hello there, gate.", task_id="t")
        tried = await engine.execute(ASK, task_id="t")
        first = model.requests[-1].prompt
        await engine.execute("And the next one?", task_id="t")
        for of in (tried.user_message_id, tried.message_id):
            await engine.execute("again", task_id="t", retry_message_id=of)
            assert model.requests[-1].prompt == first
        again = model.requests[-1].prompt.messages
        await engine.execute("And then?", task_id="t")
        assert model.requests[-1].prompt.messages[: len(again)] == again


# ── any history ──────────────────────────────────────────────────────────────────────────────────────────────────────

any_history = st.lists(
    st.tuples(st.sampled_from(["go on", "edit", "retry", "fail"]), st.sampled_from(["t", "t", "u"]), st.integers(0, 9)),
    max_size=9,
)
WORD = re.compile(r"(?:said|fact|answer)-\d+")
"""Each is said in one turn. "gate" is in all of them, so that every recall finds them."""


@attrs.define
class Said:
    """A turn: the one it goes on from, what was said in it, and what it was told."""

    parent: int | None
    message_id: str
    said: str
    words: set[str]
    told: set[str]


class Model:
    """The turns of two tasks, and which of them each stands on."""

    def __init__(self) -> None:
        self.turns: dict[str, list[Said]] = {"t": [], "u": []}
        self.stands: dict[str, int | None] = {"t": None, "u": None}

    def line(self, task: str, turn: int | None) -> list[Said]:
        found: list[Said] = []
        while turn is not None:
            found.append(self.turns[task][turn])
            turn = found[-1].parent
        return found

    def may_be_told(self, task: str, parent: int | None) -> set[str]:
        """What stands in the thread, what it was told before, and what the other task says now."""
        [other] = {"t", "u"} - {task}
        mine, theirs = self.line(task, parent), self.line(other, self.stands[other])
        return {word for said in mine for word in said.words | said.told} | {w for said in theirs for w in said.words}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=any_history, waits=st.booleans(), on_file=st.booleans())
async def test_in_any_history_of_edits_and_retries_a_request_holds_nothing_that_was_left(
    history: list[tuple[str, str, int]], waits: bool, on_file: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store: Any = SQLiteStore(tmp_path_factory.mktemp("brain") / "brain.sqlite") if on_file else MemoryStore()
    house, number, fails = Model(), 0, False

    def answer(request: ModelRequest) -> Step | Answer:
        if fails:
            return fail(ModelError("No.", bad_history=True))
        if request.prompt.messages[-1]["content"][0]["type"] == "tool_result":
            return say(f"answer-{number} gate")
        return call("remember", kind="knowledge", subject="gate", attribute="code", content=f"fact-{number} gate")

    model = ScriptedModel(answer)
    async with Bench(store=store).running(model, memory=True, limits=Limits(compactions=0)) as engine:
        for kind, task, pick in history:
            number, fails, known = number + 1, kind == "fail", house.turns[task]
            parent, said, ask = house.stands[task], f"said-{number}", dict[str, Any]()
            if kind in ("edit", "retry") and known:
                aim = known[pick % len(known)]
                parent, ask = aim.parent, {f"{kind}_message_id": aim.message_id}
                said = aim.said if kind == "retry" else said
            before = len(model.requests)
            going = engine.execute(f"said-{number} gate", task_id=task, **ask)
            with suppress(TurnFailed):
                await going
            if waits:
                await engine.remembered()
            told = set(WORD.findall(str([request.prompt for request in model.requests[before:]])))
            words = {said, f"fact-{number}", f"answer-{number}"}
            assert told <= house.may_be_told(task, parent) | words
            if not fails:
                message_id = (await going.result()).user_message_id
                assert message_id
                known.append(Said(parent, message_id, said, words, told))
                house.stands[task] = len(known) - 1
        facts = {getattr(each, "content", "") for each in await engine.memory.page(kinds=["knowledge"])}
        allowed = {
            word for task, turn in house.stands.items() for said in house.line(task, turn) for word in said.words
        }
        assert {fact.split()[0] for fact in facts} <= allowed
