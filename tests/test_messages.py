from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings

from september_engine.messages import Block, Message, Usage, shown_text, text_of, tool_uses

from .strategies import structs

CONTENT: list[Block] = [
    {"type": "thinking", "thinking": "hm", "signature": "s"},
    {"type": "text", "text": "Hello "},
    {"type": "tool_use", "id": "b", "name": "look", "input": {}},
    {"type": "text", "text": "you"},
    {"type": "tool_use", "id": "a", "name": "look", "input": {}},
    {"text": "a block of a kind that is not known"},
]


def test_the_text_of_a_message_is_what_a_person_reads_of_it() -> None:
    assert text_of(CONTENT) == "Hello you"
    assert text_of([]) == ""


def test_the_calls_of_a_message_come_in_the_order_of_the_model() -> None:
    assert [use["id"] for use in tool_uses(CONTENT)] == ["b", "a"]


@settings(deadline=None)
@given(structs(Usage), structs(Usage))
def test_usage_adds_up_field_by_field(one: Usage, other: Usage) -> None:
    both = one + other
    assert both.input_tokens == one.input_tokens + other.input_tokens
    assert both.output_tokens == one.output_tokens + other.output_tokens
    assert both.cache_hit_tokens == one.cache_hit_tokens + other.cache_hit_tokens
    assert sum([one, other], Usage()) == both


@settings(deadline=None)
@given(structs(Message))
def test_a_message_comes_back_from_json_as_it_was(message: Message) -> None:
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message


def text_block(text: str) -> Block:
    return {"type": "text", "text": text}


USE: Block = {"type": "tool_use", "id": "c", "name": "look", "input": {}}


@pytest.mark.parametrize(
    ("contents", "shown"),
    [
        ([], ""),
        ([[text_block("One.")]], "One."),
        ([[text_block("On the scales."), USE], [text_block("Three kilos.")]], "On the scales.\n\nThree kilos."),
        ([[text_block("One. "), USE], [text_block("Two.")]], "One.\n\nTwo."),
        ([[text_block("One.\n"), USE], [text_block("Two.")]], "One.\nTwo."),
        ([[text_block("One.")], [text_block("\nTwo.")]], "One.\nTwo."),
        ([[text_block(" "), USE], [text_block("Two.")]], " Two."),
        ([[text_block("One."), USE, text_block("Two.")]], "One.\n\nTwo."),
        ([[text_block("One."), text_block(""), USE], [USE], [text_block("Two.")]], "One.\n\nTwo."),
        # beside each other they go on: a provider cuts a sentence where it has a source
        (
            [[text_block("As Ana says, "), text_block("it is blue"), text_block(". And.")]],
            "As Ana says, it is blue. And.",
        ),
        ([[text_block("See example."), text_block("com")]], "See example.com"),
        ([[text_block("First thought."), text_block("Second thought.")]], "First thought.\n\nSecond thought."),
    ],
)
def test_what_was_said_apart_is_apart(contents: list[list[Block]], shown: str) -> None:
    assert shown_text(contents) == shown
