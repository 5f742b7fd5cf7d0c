"""Every entrance takes what it is given, as plain values, or refuses it by its name; and what waits goes on waiting."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pytest

from september_engine import BlockingEngine, Engine, Limits, Settings, tool
from september_engine._runtime.world import World
from september_engine.errors import ConfigurationError, EngineError, InvalidRequest, ModelError, TurnFailed
from september_engine.events import Error, HitlRequest
from september_engine.memory.base import Episode, Knowledge, Person, Relation, Source, Trait
from september_engine.memory.longterm import LongTermMemory
from september_engine.messages import Usage
from september_engine.models import choice
from september_engine.models.base import Reply, TextChunk
from september_engine.models.prices import Price
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.notes import Notes
from september_engine.permissions import Policy, Rule
from september_engine.streams import Turn
from september_engine.testing.fakes import FakeClock, FakeIds

from .odd import ODD, Loud, LoudNumber, Word

QUESTION = "asks"

CALLS: Mapping[type, Mapping[str, Mapping[str, Any]]] = {
    Engine: {
        "execute": {"message": "Hello", "task_id": "t"},
        "turn": {"task_id": "t"},
        "replay": {"task_id": "t"},
        "cancel": {"task_id": "t"},
        "respond": {"task_id": QUESTION, "answer": "neither yes nor no"},
        "tasks": {},
        "task": {"task_id": "t"},
        "messages": {"task_id": "t"},
        "plan": {"task_id": "t"},
        "media": {"task_id": "t", "sha256": "0" * 64},
        "delete": {"task_id": "nowhere"},
        "compact": {},
    },
    Notes: {
        "get": {"task_id": "t"},
        "set": {"task_id": "t", "key": "city", "value": "Rome"},
        "update": {"task_id": "t", "values": {"city": "Rome"}},
        "delete": {"task_id": "t", "key": "city"},
    },
    LongTermMemory: {
        "remember": {"memories": Episode(text="It rained.", at=1)},
        "forget": {"memory_id": "mem_1", "because": "it is wrong"},
        "forget_all": {"ids": ["mem_1"], "because": "it is wrong"},
        "erase": {"ids": "mem_1", "because": "it is private"},
        "erase_all": {"ids": ["mem_1"], "because": "it is private"},
        "of_task": {"task_id": "t"},
        "recall": {"query": "rain"},
        "get": {"memory_id": "mem_1"},
        "known": {"ids": ["mem_1"]},
        "history": {"memory_id": "mem_1"},
        "page": {},
        "import_bundle": {"bundle": b"{}"},
        "embed_missing": {},
        "mark": {"name": "so far", "value": "3"},
        "marked": {"name": "so far"},
    },
}
"""For each method with arguments, a call that is right. A method that is not here fails the test below."""

NOT_ARGUMENTS: dict[type, set[str]] = {Engine: {"open", "aclose", "drain", "stop_streams"}}
"""Opening and closing have their own tests."""


def _entrances() -> Iterator[tuple[type, str, str]]:
    for kind in CALLS:
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name not in NOT_ARGUMENTS.get(kind, set()):
                for parameter in list(inspect.signature(method).parameters)[1:]:
                    yield kind, name, parameter


async def _outcome(face: object, name: str, parameter: str, value: object) -> object:
    """What the call comes to with this value for this parameter. Raises what it raises."""
    arguments = {**CALLS[type(face)][name], parameter: value}
    method = getattr(face, name)
    kinds = inspect.signature(method).parameters
    first = [arguments.pop(each) for each in list(arguments) if kinds[each].kind not in (kinds[each].KEYWORD_ONLY,)]
    made = method(*first, **arguments)
    if isinstance(made, Turn):
        return await made
    if inspect.isawaitable(made):
        return await made
    return [event async for event in made]


def _names(refused: EngineError, parameter: str) -> bool:
    aliases = {
        "edit_message_id": "message",
        "retry_message_id": "message",
        "memories": "memor",
        "values": "notes",
        "bundle": "export",
    }
    said = refused.message.lower()
    if "there is no memory" in said:
        return True
    return parameter in said or aliases.get(parameter, parameter).rstrip("s") in said or "stays open" in said


@tool(requires_permission=True)
def pay() -> str:
    """Pay."""
    return "paid"


def _model() -> ScriptedModel:
    def answer(request: Any) -> Any:
        last = request.prompt.messages[-1]["content"]
        asks = any(block.get("text") == "Pay." for block in last)
        return call("pay") if asks else say("ok")

    return ScriptedModel(answer, strict=False)


def _engine(**options: Any) -> Engine:
    return Engine(":memory:", model=_model(), tools=[pay], memory=True, settings=Settings(), **options)


@pytest.mark.parametrize("kind", CALLS, ids=lambda kind: kind.__name__)
async def test_whatever_a_method_is_given_it_works_or_is_refused_by_name_and_the_question_waits(kind: type) -> None:
    async with _engine() as engine:
        asking = engine.execute("Pay.", task_id=QUESTION)
        async for event in asking:
            if isinstance(event, HitlRequest):
                break
        await engine.execute("Hello", task_id="t")
        await engine.memory.remember(Episode(id="mem_1", text="It snowed.", at=1))
        face = {Engine: engine, Notes: engine.notes, LongTermMemory: engine.memory}[kind]
        failures: list[str] = []
        for owner, name, parameter in _entrances():
            if owner is not kind:
                continue
            for odd, make in ODD.items():
                place = f"{name}({parameter}=<{odd}>)"
                try:
                    await _outcome(face, name, parameter, make())
                except InvalidRequest as refused:
                    if not _names(refused, parameter):
                        failures.append(f"{place} is not named: {refused.message:.200}")
                except EngineError as error:
                    if error.code in ("INTERNAL_ERROR", "SHUTTING_DOWN"):
                        failures.append(f"{place} reads {error}")
                except Exception as error:
                    failures.append(f"{place} raises {type(error).__name__}: {error!s:.200}")
        assert not failures, "\n".join(failures)
        assert [request.task_id for request in await engine.pending()] == [QUESTION]
        yes: Any
        always: Any
        yes, always = Loud("yes"), np.bool_(True)
        await engine.respond(
            Loud(QUESTION), yes, feedback=Loud("gladly"), remember=always, content_blocks=[ODD["UserDict"]()]
        )
        assert (await asking).text == "ok"
        assert (await engine.execute(Word.GO, task_id=Word.GO)).text == "ok"


# ── what an engine is made of ────────────────────────────────────────────────────────────────────────────────────────


async def _used(place: str, make: Callable[[], Engine]) -> str | None:
    """What is wrong with what comes of it: an engine that answers, or a refusal in words."""
    try:
        engine = make()
        await engine.open()
    except ConfigurationError:
        return None
    except Exception as error:
        return f"{place} raises {type(error).__name__}: {error!s:.200}"
    try:
        await engine.execute("Hello", task_id="t")
        await engine.remembered()
        async for _ in engine.replay(task_id="t"):
            pass
    except EngineError as error:
        return f"{place} reads {error}" if error.code in ("INTERNAL_ERROR", "SHUTTING_DOWN") else None
    except Exception as error:
        return f"{place} raises {type(error).__name__}: {error!s:.200}"
    finally:
        await engine.aclose(drain=0)
    return None


def _made(**odd: Any) -> Engine:
    options = {"store": ":memory:", "model": _model(), "settings": Settings(), "memory": True}
    return Engine(**{**options, **odd})


async def test_whatever_an_engine_is_made_of_it_answers_or_is_refused(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(choice, "OFFLINE_PACE", 0.0)
    failures = [
        await _used(f"Engine({name}=<{odd}>)", lambda: _made(**{name: make()}))  # noqa: B023 (it is called at once)
        for name in inspect.signature(Engine).parameters
        for odd, make in ODD.items()
    ]
    assert not any(failures), "\n".join(filter(None, failures))


@pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.campaign)])
async def test_whatever_limits_policies_and_prices_hold_the_engine_answers_or_refuses_them(half: int) -> None:
    makers: dict[str, Callable[[Any], Engine]] = {"Price": lambda odd: _made(prices=_Prices(odd))}
    for name in Limits.__struct_fields__:
        makers[f"Limits({name})"] = partial(_with, "limits", Limits, name)
    for name in Policy.__struct_fields__:
        makers[f"Policy({name})"] = partial(_with, "policy", Policy, name)
    for name in Rule.__struct_fields__:
        makers[f"Rule({name})"] = partial(_with, "policy", _ruled, name)
    failures = [
        await _used(f"{place}=<{odd}>", lambda: made(make()))  # noqa: B023 (as above)
        for number, (place, made) in enumerate(makers.items())
        for odd, make in [*ODD.items()][(number + half) % 2 :: 2]
    ]
    assert not any(failures), "\n".join(filter(None, failures))


def _with(argument: str, kind: Callable[..., Any], name: str, odd: Any) -> Engine:
    return _made(**{argument: kind(**{name: odd})}, tools=[pay])


def _ruled(**odd: Any) -> Policy:
    given: dict[str, Any] = {"effect": "ask", "tool": "pay", **odd}
    return Policy(rules=(Rule(**given),))


class _Prices:
    """A price list of the host's own."""

    def __init__(self, cost: Any) -> None:
        self._cost = cost

    def cost(self, model: str, usage: Usage, /) -> Any:
        return self._cost


@pytest.mark.parametrize("name", [field.name for field in Settings.__attrs_attrs__])
def test_whatever_a_setting_is_given_in_code_it_is_plain_or_refused(name: str) -> None:
    for odd, make in ODD.items():
        try:
            settings = Settings(**{name: make()})
        except ConfigurationError:
            continue
        value = getattr(settings, name)
        kinds = {type(each) for each in (value if isinstance(value, tuple) else (value,))}
        assert {kind.__name__ for kind in kinds} <= {"str", "int", "float", "bool", "NoneType", "PosixPath"}, odd


@pytest.mark.parametrize(
    "name", ["function", "name", "description", "timeout", "safe_to_repeat", "high_cost", "actions"]
)
def test_whatever_a_tool_is_made_of_it_is_one_or_is_refused(name: str) -> None:
    def look(at: str) -> str:
        """Look."""
        return at

    for odd, make in ODD.items():
        if (name, odd) == ("function", "None"):
            continue  # which is the decorator with arguments
        options: dict[str, Any] = {"function": look, name: make()}
        try:
            made = tool(options.pop("function"), **options)
        except ConfigurationError:
            continue
        kinds = [type(getattr(made, each)).__name__ for each in ("name", "description", "timeout", "high_cost")]
        assert {*kinds} <= {"str", "float", "int", "bool", "NoneType"}, odd


@pytest.mark.parametrize("field", ["input", "output", "cache_hit"])
def test_a_price_is_a_number_or_refused(field: str) -> None:
    for make in ODD.values():
        prices: dict[str, Any] = {"input": 1.0, "output": 1.0, field: make()}
        try:
            price = Price(**prices)
        except ConfigurationError:
            continue
        assert type(getattr(price, field)) in (int, float, type(None))


# ── what others say ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Says(ScriptedModel):
    """A model of the host's own, which says one thing oddly."""

    odd: Any = None
    place: str = ""

    async def stream(self, request: Any, /) -> Any:
        usage: Any = Usage(input_tokens=1, output_tokens=1)
        block: dict[str, Any] = {"type": "text", "text": "ok"}
        use: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "pay", "input": {}}
        if self.place.startswith("usage."):
            usage = Usage(**{self.place.removeprefix("usage."): self.odd})
        elif self.place == "chunk":
            yield self.odd
        elif self.place == "piece":
            yield TextChunk(self.odd)
        elif self.place.startswith("block."):
            block[self.place.removeprefix("block.")] = self.odd
        elif self.place.startswith("use."):
            block = {**use, self.place.removeprefix("use."): self.odd}
        reply: dict[str, Any] = {"content": [block], "stop_reason": "end_turn", "usage": usage, "model": "odd"}
        reply |= {self.place: self.odd} if self.place in Reply.__struct_fields__ else {}
        yield Reply(**reply)


SAID = [
    *Reply.__struct_fields__,
    "usage.input_tokens",
    "chunk",
    "piece",
    "block.text",
    "block.type",
    "use.id",
    "use.name",
]


@pytest.mark.parametrize("place", [*SAID, "use.input"])
async def test_whatever_a_model_says_the_turn_ends_in_words_and_the_thread_goes_on(place: str) -> None:
    model = _Says(lambda request: say("unused"))
    async with Engine(":memory:", model=model, tools=[look_odd], settings=Settings()) as engine:
        for odd, make in ODD.items():
            model.place, model.odd = place, make()
            try:
                await engine.execute("Hello", task_id=odd, limits=Limits(steps=2, attempts=1))
            except EngineError as error:
                assert error.code in ("LLM_PROVIDER_ERROR", "BUDGET_EXCEEDED"), (odd, error)
            model.place = ""
            assert (await engine.execute("And now?", task_id=odd)).text == "ok", odd
            assert [message async for message in engine.replay(task_id=odd)], odd


@pytest.mark.parametrize("field", ["message", "code", "retryable", "retry_after", "bad_history", "suspect", "fact"])
async def test_whatever_a_models_error_holds_the_turn_fails_with_a_code_of_the_contract(field: str) -> None:
    odd: Any = None

    def fails(request: Any) -> Any:
        error = ModelError("no", fact=odd if field == "fact" else 1)
        setattr(error, field, odd)
        raise error

    async with Engine(":memory:", model=ScriptedModel(fails, strict=False), settings=Settings()) as engine:
        for name, make in ODD.items():
            odd = make()
            with pytest.raises(TurnFailed) as failed:
                await engine.execute("Hello", task_id=name, limits=Limits(attempts=1))
            assert failed.value.code in ModelError.STATUSES, (name, failed.value)
            *_, last = [event async for event in engine.replay(task_id=name)]
            assert isinstance(last, Error) and last.error == failed.value.code, name


@tool
def look_odd(number: int) -> Any:
    """Look."""
    return [*ODD.values()][number]()


@tool
def fail_odd(number: int) -> Any:
    """Fail."""
    raise ValueError([*ODD.values()][number]())


@pytest.mark.parametrize("name", ["look_odd", "fail_odd"])
async def test_whatever_a_tool_gives_or_raises_the_turn_goes_on(name: str) -> None:
    script = [each for number in range(len(ODD)) for each in (call(name, number=number), say("seen"))]
    async with Engine(
        ":memory:", model=ScriptedModel(script), tools=[look_odd, fail_odd], settings=Settings()
    ) as engine:
        for odd in ODD:
            assert (await engine.execute("Look.", task_id=odd)).text == "seen", odd
            assert (await engine.messages(odd))[-1].content == [{"type": "text", "text": "seen"}]


class _Odd:
    """An embedder of the host's own."""

    name = "odd"
    dimensions = 2

    def __init__(self, given: Callable[[], Any]) -> None:
        self.given = given

    async def embed(self, texts: Any, /) -> Any:
        return self.given()


async def test_whatever_an_embedder_gives_memory_goes_on_without_meaning() -> None:
    for odd, make in ODD.items():
        async with _made(embedder=_Odd(make)) as engine:
            await engine.memory.remember(Episode(text="It rained in Rome.", at=1))
            assert [hit.passage for hit in await engine.memory.recall("rain Rome")] == ["It rained in Rome."], odd


@pytest.mark.parametrize("kind", [Episode, Knowledge, Person, Relation, Trait, Source])
async def test_whatever_a_memory_says_it_is_remembered_plainly_or_refused_by_its_field(kind: Any) -> None:
    needed: dict[Any, dict[str, Any]] = {
        Episode: {"text": "It rained.", "at": 1},
        Knowledge: {"subject": "Ana", "content": "paints"},
        Person: {"name": "Ana"},
        Relation: {"subject": "Ana", "relation": "sister of", "object": "Ben"},
        Trait: {"aspect": "value", "text": "Be kind."},
        Source: {},
    }
    async with _made() as engine:
        for field in kind.__struct_fields__:
            for odd, make in ODD.items():
                if odd == "a wide list":
                    continue  # it takes a while to see that it has no end
                made = kind(**{**needed[kind], field: make()})
                memory = Episode(text="It rained.", at=1, source=made) if kind is Source else made
                try:
                    await engine.memory.remember(memory)
                except EngineError as refused:
                    assert refused.code == "INVALID_REQUEST", (field, odd)
        assert await engine.memory.import_bundle(await engine.memory.export_bundle()) == 0
        assert await engine.memory.page(past=True, limit=5000)


def test_a_blocking_engine_takes_and_refuses_the_same() -> None:
    with BlockingEngine(":memory:", model=_model(), tools=[pay], settings=Settings()) as engine:
        text: Any = Loud("Hello")
        assert engine.execute(text, task_id=text).text == "ok"
        with pytest.raises(InvalidRequest, match="message must be text"):
            wrong: Any = LoudNumber(3)
            engine.execute(wrong, task_id="t")
        engine.notes.set("t", "n", {"a": np.int64(3), "b": [np.float64(0.5), Word.GO]})
        assert engine.notes.get("t") == {"n": {"a": 3, "b": [0.5, "go"]}}


class _Clock(FakeClock):
    """A clock that tells its time as it likes."""

    def now_ms(self) -> Any:
        return np.float64(super().now_ms() + 0.25)

    def monotonic(self) -> Any:
        return np.float32(super().monotonic())


async def test_a_world_of_odd_times_and_ids_is_taken_and_one_of_none_is_refused() -> None:
    ids = FakeIds()
    world = World(clock=_Clock(), ids=lambda prefix: Loud(ids(prefix)))
    async with _made(world=world) as engine:
        assert (await engine.execute("Hello", task_id="t")).text == "ok"
        assert type((await engine.messages("t"))[0].created_at) is str
    wrong: Any = lambda prefix: None  # noqa: E731
    async with _made(world=World(ids=wrong)) as engine:
        with pytest.raises(ConfigurationError, match=r"world\.ids"):
            engine.execute("Hello", task_id="t")


class _Moody(Policy, frozen=True, kw_only=True):
    """A policy of the host's own, which fails, or says what is no decision."""

    def judge(self, *args: Any, **kwargs: Any) -> Any:
        if self.hosts:
            raise ValueError("I cannot say.")
        return "yes"


@pytest.mark.parametrize("hosts", [(), ("example.org",)])
async def test_a_policy_that_cannot_say_asks_a_person(hosts: tuple[str, ...]) -> None:
    async with _engine(policy=_Moody(hosts=hosts)) as engine:
        turn = engine.execute("Pay.", task_id="t")
        async for event in turn:
            if isinstance(event, HitlRequest):
                assert "policy" in event.question
                await engine.respond("t", "yes")
        assert (await turn).text == "ok"


async def test_mistakes_have_codes_of_their_own() -> None:
    engine = _made()
    with pytest.raises(EngineError) as refused:
        engine.execute("Hello", task_id="t")
    assert refused.value.code == "ENGINE_CLOSED"
    with pytest.raises(InvalidRequest, match="drain must be a number"):
        wrong: Any = "soon"
        await engine.aclose(drain=wrong)
