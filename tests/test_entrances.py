"""Every entrance takes what it is given, as plain values, or refuses it by its name; and what waits goes on waiting."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from september_engine import Engine, Settings, tool
from september_engine.errors import EngineError, InvalidRequest
from september_engine.memory.base import Episode
from september_engine.memory.longterm import LongTermMemory
from september_engine.models.scripted import ScriptedModel, call, say
from september_engine.notes import Notes
from september_engine.streams import Turn

from .odd import ODD, Loud, Word

QUESTION = "asks"

CALLS: Mapping[type, Mapping[str, Mapping[str, Any]]] = {
    Engine: {
        "execute": {"message": "Hello", "task_id": "t"},
        "replay": {"task_id": "t"},
        "cancel": {"task_id": "t"},
        "respond": {"task_id": QUESTION, "answer": "neither yes nor no"},
        "tasks": {},
        "task": {"task_id": "t"},
        "messages": {"task_id": "t"},
        "plan": {"task_id": "t"},
        "media": {"task_id": "t", "sha256": "0" * 64},
        "delete": {"task_id": "nowhere"},
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
        "of_task": {"task_id": "t"},
        "recall": {"query": "rain"},
        "get": {"memory_id": "mem_1"},
        "known": {"ids": ["mem_1"]},
        "history": {"memory_id": "mem_1"},
        "page": {},
        "import_bundle": {"bundle": b"{}"},
        "embed_missing": {},
    },
}
"""For each method with arguments, a call that is right. A method that is not here fails the test below."""

NOT_ARGUMENTS = {Engine: {"open", "aclose", "drain", "stop_streams"}, LongTermMemory: {"mark", "marked"}, Notes: set()}
"""Opening and closing have their own tests; `mark` is the engine's own."""


def _entrances() -> Iterator[tuple[type, str, str]]:
    for kind in CALLS:
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and name not in NOT_ARGUMENTS[kind]:
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
            if type(event).__name__ == "HitlRequest":
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
