from __future__ import annotations

import msgspec
from hypothesis import given, settings

from september_engine.messages import Block, Message, Usage, text_of, tool_uses

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
