"""What the offline model makes of a question where a value was asked for."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from september_engine._context.fits import misfit
from september_engine._output import Output
from september_engine._turn.output import NOT_ASKED_FOR
from september_engine.messages import Block, Prompt, text_of
from september_engine.models._offline_output import fill_in
from september_engine.models.base import ModelRequest, Reply
from september_engine.models.offline import OfflineModel


class Person(msgspec.Struct):
    name: str
    born: int
    nickname: str | None = None
    famous: bool = False


class Order(msgspec.Struct):
    city: str
    speed: Literal["slow", "fast"]
    items: list[Item] = []


class Item(msgspec.Struct):
    count: int


class Chain(msgspec.Struct):
    next: Chain


FILLED: list[tuple[type, str, object]] = [
    (Person, "Ada Lovelace was born in 1815; she is famous.", ("Ada Lovelace", 1815, True)),
    (Order, "To Rome, slow", ("Rome", "slow", [])),
    (Order, 'To "New York", fast please: 3 and 4.', ("New York", "fast", [3, 4])),
    (list[int], "Take 3, 5 and 8.", [3, 5, 8]),
    (list[str], 'Say "one" and "two".', ["one", "two"]),
    (float, "It is 2.5 m long.", 2.5),
]


@pytest.mark.parametrize(("kind", "question", "expected"), FILLED, ids=lambda each: str(each)[:30])
def test_the_words_of_the_question_fill_the_value(kind: type, question: str, expected: object) -> None:
    output: Output[Any] = Output(kind)
    text, filled = fill_in(output.schema, question)
    assert filled
    assert output.misfit(text) is None
    value = output.read(text)
    match value:
        case Person():
            assert (value.name, value.born, value.famous) == expected
        case Order():
            assert (value.city, value.speed, [item.count for item in value.items]) == expected
        case _:
            assert value == expected


@pytest.mark.parametrize(("kind", "what"), [(Person, "born"), (int, "value"), (Chain, "next")])
def test_what_cannot_be_known_is_said(kind: type, what: str) -> None:
    assert fill_in(Output(kind).schema, "Who?") == (f"by simple rules I cannot fill in {what} from these words.", False)


@pytest.mark.parametrize("schema", [{}, {"type": "object", "properties": 7}, {"anyOf": []}, {"$ref": "#/$defs/no"}])
def test_any_schema_gives_an_answer(schema: dict[str, object]) -> None:
    text, filled = fill_in(schema, "Hello")
    assert not filled or misfit(schema, msgspec.json.decode(text)) is None


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"const": 3}, ("3", True)),
        ({"type": "null"}, ("null", True)),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, ("null", True)),
        ({"oneOf": [{"type": "integer"}]}, ("by simple rules I cannot fill in the answer from these words.", False)),
    ],
)
def test_nothing_rather_than_none(schema: dict[str, object], expected: tuple[str, bool]) -> None:
    assert fill_in(schema, "Hello") == expected


async def answer(*messages: Block) -> str:
    prompt = Prompt(system="", tools=[], messages=list(messages))
    request = ModelRequest(prompt=prompt, max_tokens=100, output_schema=Output(list[int]).schema)
    chunks = [chunk async for chunk in OfflineModel().stream(request)]
    assert isinstance(chunks[-1], Reply)
    return text_of(chunks[-1].content)


def said(role: str, *content: Block) -> Block:
    return {"role": role, "content": list(content)}


def text(words: str) -> Block:
    return {"type": "text", "text": words}


async def test_results_of_tools_are_heard_and_notes_of_the_engine_are_not() -> None:
    use: Block = {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    result: Block = {"type": "tool_result", "tool_use_id": "a", "content": "8"}
    question, note = said("user", text("Take 3.")), said("user", text(f"{NOT_ASKED_FOR}: 77 is wrong."))
    assert await answer(question) == '{"value":[3]}'
    assert await answer(question, said("assistant", use), said("user", result)) == '{"value":[8,3]}'
    assert await answer(question, said("assistant", text("77")), note) == '{"value":[3]}'
