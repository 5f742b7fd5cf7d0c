"""A house in which everything is on: an engine that comes and goes, its providers, and what was seen of it."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from typing import Any, TypeAlias

import anyio
import anyio.abc
import attrs
import msgspec

from september_engine import Engine, Limits, tool
from september_engine._turn.compaction import SUMMARISE
from september_engine.errors import EngineError, ModelError, StoreBusy
from september_engine.memory.base import Knowledge
from september_engine.messages import Usage, text_of
from september_engine.models.base import ModelRequest
from september_engine.models.prices import Price, PriceList
from september_engine.models.scripted import Answer, Step, call, fail, hold, say, think, turn
from september_engine.streams import Turn
from september_engine.tools.ask_user import ask_user
from tests._context.pictures import document, image, png
from tests.engines import Bench, careful, look, ticks
from tests.faults.providers import PLANS, Kept, Meanings, Provider, in_mood
from tests.faults.watched import Watched

__all__ = ["KINDS", "LIMITS", "ROLES", "TASKS", "House", "Op", "Wanted"]

Op: TypeAlias = tuple[str, Any]

TASKS = ("left", "right")
ROLES = ("planner", "light", "own summary", "distiller", "embedder", "memory", "fallback")
KINDS = (
    *("say", "look", "two", "ask", "ask twice", "question", "hang", "silent", "fail", "give up", "refuse", "slow"),
    *("refuse late", "note", "note for a minute", "plan", "remember", "forget", "large", "picture", "print", "long"),
    *("again", "json", "never json", "too long", "bad media", "bad history", "cut", "cut call", "same id", "unknown"),
    *("rude", "hi"),
)
LIMITS = {
    "none": None,
    "few": Limits(steps=2, tool_calls=2, attempts=1, output_bytes=900),
    "tokens": Limits(tokens=9_000, output_bytes=900),
    "usd": Limits(usd=0.02, output_bytes=900),
    "task": Limits(task_tokens=40_000, output_bytes=900),
    "task usd": Limits(task_usd=0.1, output_bytes=900),
    "minute": Limits(seconds=60, output_bytes=900, repeats=2),
    "one compaction": Limits(compactions=1, output_bytes=900),
    "no compaction": Limits(compactions=0, output_bytes=900),
}
PRICE = Price(input=1.0, output=2.0)
PRICES = PriceList(dict.fromkeys(("big", "small", "planner", "light"), PRICE))
RESULT_ID = re.compile(r'result_id=\\?"(\w+)')
MARK = re.compile(r"([a-z ]+) #(\d+)")
FINAL = turn(think("Well."), say("So it is."))


class Wanted(msgspec.Struct):
    """What a turn may be asked for."""

    n: int


@tool
async def big() -> str:
    """Give very much."""
    return "\n".join(f"row {number} of very many" for number in range(200))


@tool
async def work(part: int) -> str:
    """Give some."""
    return "\n".join(f"part {part}, line {number}" for number in range(40))


@tool
async def paint() -> list[dict[str, Any]]:
    """Give a picture."""
    return [{"type": "text", "text": "Here."}, image(png(40, 30))]


@tool(name="print")
async def press() -> list[dict[str, Any]]:
    """Give a document."""
    return [document()]


MEDIA = {"": [], "image": [image()], "pdf": [document()], "both": [image(png(3, 4)), document()]}


@attrs.define
class House(Watched):
    """An engine that comes and goes, its models, and what was seen of it. `window` is that of the model."""

    store: Kept = attrs.field(factory=Kept)
    window: int | None = None
    compacts: bool = False
    with_fallback: bool = True
    bench: Bench = attrs.field(init=False)
    models: dict[str, Provider] = attrs.field(factory=dict)
    embedder: Meanings = attrs.field(factory=Meanings)
    moods: dict[str, str] = attrs.field(factory=dict)
    system: str = "Be kind."
    gate: anyio.Event = attrs.field(factory=anyio.Event)
    turns: list[Turn[Any]] = attrs.field(factory=list)
    rounds: Counter[str] = attrs.field(factory=Counter)
    runs: Counter[str] = attrs.field(factory=Counter)
    under_way: int = 0
    """Calls that were made and have not ended, which may be waiting for a provider."""
    exact: bool = True
    """Whether all that was spent must be found in the log: nothing died and no store failed."""

    def __attrs_post_init__(self) -> None:
        self.bench = Bench(store=self.store)
        for name, script in (
            ("big", self.answer),
            ("small", self.answer),
            ("planner", lambda request: in_mood(self.moods.get("planner", "well"), self._plan)),
            ("light", lambda request: self._summary("light")),
            ("distiller", lambda request: in_mood(self.moods.get("distiller", "well"), _facts)),
        ):
            window = self.window if name in ("big", "small") else None
            self.models[name] = Provider(
                script, name=name, context_window=window, compacts=self.compacts and name == "big", new_prefix=True
            )

    # ── what the providers say ───────────────────────────────────────────────────────────────────────────────────

    def _plan(self) -> Step | Answer:
        return say(msgspec.json.encode(PLANS[len(self.models["planner"].requests) % 2]).decode())

    def _summary(self, role: str) -> Step | Answer:
        self.done[f"summary by {role}"] += 1
        mood = self.moods.get(role, "well")
        return in_mood(mood, lambda: say("## Goals and open work\nAll is well.\n" + "So it is. " * 9))

    def answer(self, request: ModelRequest) -> Step | Answer:
        messages = request.prompt.messages
        if request.compact or text_of(messages[-1]["content"]) == SUMMARISE:
            return self._summary("own summary")
        kind, number = _asked(messages)
        self.rounds[number] += 1
        count, name = self.rounds[number], f"c{number}x{self.rounds[number]}"
        fallback = self.moods.get("fallback", "well")
        if len(self.models["small"].requests) and request is self.models["small"].requests[-1] and fallback != "well":
            return in_mood(fallback, lambda: FINAL)
        final = turn(say('{"n": 7}')) if request.output_schema is not None else FINAL
        return self._says(kind, count, name, messages) or final

    def _says(self, kind: str, count: int, name: str, messages: list[Any]) -> Step | Answer | None:
        match kind, count:
            case "look" | "refuse late", 1:
                return turn(say("Let me look. "), call("look", id=name))
            case "two", 1:
                return turn(think("Two."), call("look", id=f"{name}a"), call("look", id=f"{name}b"))
            case "ask", 1:
                return call("careful", id=name)
            case "ask twice", 1:
                return turn(call("careful", id=f"{name}a"), call("look", id="same"), call("careful", id="same"))
            case "question", 1:
                return turn(say("One thing. "), call("ask_user", id=name, question="Which of the two?"))
            case "slow", 1:
                return turn(call("slow", id=name), call("look", id=f"{name}b"))
            case "hang", _:
                return say("I think, I think, I think.", hold=self.gate, at=2)
            case "silent", 1:
                return turn(think("Hm."), hold(anyio.Event()))
            case "fail", 1 | 2:
                return turn(say("I will f"), fail(ModelError("Overloaded.", retryable=True)))
            case "give up", _:
                return turn(think("Hm."), say("I ca"), fail(ModelError("No.", code="LLM_AUTH")))
            case ("refuse", _) | ("refuse late", 2):
                return turn(say("I will not do that."), stop_reason="refusal")
            case "note", 1:
                return turn(call("note", id=name, key=name[-4:], value={"of": name}), call("look", id=f"{name}b"))
            case "note for a minute", 1:
                return call("note", id=name, key="soon", value=name, minutes=1)
            case "plan", 1 | 2:
                steps = [{"id": "1", "title": f"By {name}", "status": "active"}] if count == 1 else []
                return call("update_plan", id=name, steps=steps)
            case "remember", 1:
                more: Any = {"kind": "knowledge", "subject": "fox", "attribute": "colour", "content": f"hue {name}"}
                return call("remember", id=name, **more)
            case "forget", 1:
                found = re.findall(r"mem_\w+", msgspec.json.encode(messages).decode()) or ["mem_none"]
                return call("forget", id=name, memory_id=found[-1], reason="It is wrong.")
            case "large", 1:
                return call("big", id=name)
            case "large", 2 | 3:
                found = RESULT_ID.findall(msgspec.json.encode(messages).decode()) or ["gone"]
                return call("read_result", id=name, result_id=found[-1], offset=count * 300)
            case "picture", 1:
                return call("paint", id=name)
            case "print", 1:
                return turn(call("print", id=name), call("paint", id=f"{name}b"))
            case "long", 1 | 2 | 3 | 4 | 5 | 6:
                return turn(think("On."), call("work", id=name, part=count))
            case "again", _:
                return call("look", id=name)
            case ("json", 1) | ("never json", _):
                return turn(think("Hm."), say("Here it is: 7."))
            case "too long", 1:
                return fail(ModelError("prompt is too long", code="CONTEXT_OVERFLOW"))
            case "bad media", 1:
                return fail(ModelError("Bad image.", bad_history=True, suspect="media"))
            case "bad history", 1 | 2 | 3 | 4:
                return fail(ModelError("Something is wrong.", bad_history=True))
            case "cut", 1:
                return turn(think("Hm."), say("  "), stop_reason="max_tokens")
            case "cut call", 1:
                return turn(say("Now. "), call("look", id=name, broken="It was cut."), stop_reason="max_tokens")
            case "same id", 1 | 2:
                return turn(call("look", id="same"), call("look", id="same"))
            case "unknown", 1:
                return call("no such tool!", id=name)
            case "rude", 1:
                raise RuntimeError("no manners")
            case _:
                return None

    # ── the engine ───────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, recovery: str = "abandon") -> None:
        @tool(timeout=None)
        async def slow() -> str:
            """Wait for a release."""
            await self.gate.wait()
            return "at last"

        engine = self.bench.engine(
            self.models["big"],
            fallback=self.models["small"] if self.with_fallback else None,
            planner=self.models["planner"],
            light=None if self.compacts else self.models["light"],
            tools=[look, careful, slow, big, work, paint, press, ask_user],
            notes="any",
            memory=True,
            embedder=self.embedder,
            distil=self.models["distiller"],
            prices=PRICES,
            system=self.system,
            limits=Limits(output_bytes=900),
            recovery=recovery,
            max_tokens=300,
        )
        try:
            self.engine = await engine.open()
        except EngineError:
            self.store.failing = None
            self.engine = await engine.open()

    async def _do(self, name: str, value: Any) -> None:
        engine = self.engine
        match name, value:
            case "execute", (task_id, kind, how):
                self._execute(task_id, kind, how)
            case "edit" | "retry", (task_id, place, kind, how):
                rows = await self.store.turns(task_id)
                ids = [fact.message_id for row in rows for fact in await self.store.turn(task_id, row.turn_id)]
                known = [each for each in ids if each]
                aim = known[place % len(known)] if known else "unknown"
                self._execute(task_id, kind, how, **{f"{name}_message_id": aim})
            case "cancel", task_id:
                await engine.cancel(task_id)
            case "respond", (task_id, answer):
                blocks = [image()] if answer == "look at this" else []
                await engine.respond(task_id, answer, feedback="So I say." if blocks else None, content_blocks=blocks)
            case "note", (task_id, key, noted):
                await engine.notes.set(task_id, key, noted, minutes=2 if key == "b" else None)
            case "know", content:
                self.group.start_soon(self._know, engine, content)
            case "delete", task_id:
                self.exact = False
                self.group.start_soon(self._delete, engine, task_id)
            case "replay", (task_id, place):
                events = await self.store.inner.events(task_id, after=0)
                self.read(
                    task_id, engine.replay(task_id=task_id, after=events[place % len(events)].ts if events else 0)
                )
            case "mood", (role, mood):
                self.moods[role] = mood
                self.embedder.mood = self.moods.get("embedder", "well")
                self.store.mood = self.moods.get("memory", "well")
            case _:
                await self._shake(name, value)

    async def _know(self, engine: Engine, content: str) -> None:
        self.under_way += 1
        with suppress(EngineError, OSError):
            await engine.memory.remember(Knowledge(subject="fox", attribute="colour", content=content))
        self.under_way -= 1

    async def _delete(self, engine: Engine, task_id: str) -> None:
        self.under_way += 1
        with suppress(EngineError):
            await engine.delete(task_id)
            self.seen = [each for each in self.seen if each[0] != task_id]
        self.under_way -= 1

    async def _shake(self, name: str, value: Any) -> None:
        """What happens to the world."""
        match name, value:
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
                self.exact = False
                self.store.failing, self.store.healthy = StoreBusy("Told to fail."), healthy
            case "heal the store", _:
                self.store.failing = None
            case "crash", (recovery, system):
                self.exact = False
                self.system = system
                async with anyio.create_task_group() as group:
                    group.start_soon(self.pass_time)
                    await self.engine.aclose(drain=0)
                    group.cancel_scope.cancel()
                await self.open(recovery)

    async def pass_time(self) -> None:
        """A silent provider may still be waited for."""
        while True:
            await ticks(200)
            await self.bench.clock.advance(1.0)

    def _execute(self, task_id: str, kind: str, how: tuple[str, str, bool, bool], **aim: Any) -> None:
        limits, media, direct, wants = how
        if media or wants:
            self.done["media" if media else "output"] += 1
        text = "Hi!" if kind == "hi" else f"{kind} #{len(self.turns)}"
        options: Any = {"media": MEDIA[media], "direct": direct, "limits": LIMITS[limits], **aim}
        turn = self.engine.execute(text, task_id=task_id, output=Wanted if wants else None, **options)
        self.turns.append(turn)
        self.read(task_id, turn)

    @property
    def spent(self) -> Usage:
        """All that the models of the turns have said to have used."""
        return sum((each for name in self.models if name != "distiller" for each in self.models[name].spent), Usage())

    async def come_to_rest(self, *, by_itself: bool) -> None:
        """Whatever is still open ends, one way or the other: by a word, or because time passes."""
        self.store.failing = None
        self.moods = {}
        self.embedder.mood = self.store.mood = "well"
        await ticks(5)
        while self.under_way:
            await self.bench.clock.advance(1.0)
            await ticks(20)
        if by_itself:
            for _ in range(70):
                await self.bench.clock.advance(121.0)
                await ticks(20)
                await self._answer_all()
                if not self.engine._running.live:
                    break
            await self.engine._running.sweep()
        else:
            for task_id in TASKS:
                await self.do("cancel", task_id)
            await self.engine._running.sweep()

    async def _answer_all(self) -> None:
        for asked in await self.engine.pending():
            await self.do("respond", (asked.task_id, "no"))


def _facts() -> Step | Answer:
    return say('{"knowledge": [], "people": [], "relations": []}')


def _asked(messages: list[Any]) -> tuple[str, str]:
    """What the person said last."""
    for message in reversed(messages):
        for block in reversed(message["content"] if message["role"] == "user" else []):
            if block["type"] == "text" and (found := MARK.fullmatch(block["text"])):
                return found[1], found[2]
            if block["type"] == "text" and block["text"] == "Hi!":
                return "hi", "0"
    raise AssertionError("the person's message is not there")
