from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.messages import Block, Prompt
from september_engine.models._claude_request import CacheTTL, request_body, thinks_adaptively
from september_engine.models.base import ModelRequest
from september_engine.testing._messages_rules import PromptCache, cache_marks, prompt_of

TOOLS: list[Block] = [
    {"name": name, "description": "Does it.", "input_schema": {"type": "object"}} for name in ("first", "last")
]


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def user(*content: Block) -> Block:
    return {"role": "user", "content": list(content) or [text("Go on.")]}


def assistant(*content: Block) -> Block:
    return {"role": "assistant", "content": list(content) or [text("Well.")]}


def step(number: int, calls: int) -> list[Block]:
    """An answer with so many calls, and their results."""
    ids = [f"t{number}_{call}" for call in range(calls)]
    uses = [{"type": "tool_use", "id": id, "name": "first", "input": {"n": number}} for id in ids]
    thought: Block = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    return [
        assistant(thought, text("Let me see."), *uses),
        user(*({"type": "tool_result", "tool_use_id": id, "content": "done"} for id in ids)),
    ]


def body_of(
    *messages: Block, system: str = "Be kind.", tools: list[Block] = TOOLS, cache: CacheTTL | None = "5m"
) -> dict[str, Any]:
    prompt = Prompt(system=system, tools=tools, messages=list(messages))
    return request_body(ModelRequest(prompt=prompt, max_tokens=77), model="claude-x", thinking=True, cache=cache)


def test_a_schema_for_the_answer_goes_along_and_forces_no_tool() -> None:
    prompt = Prompt(system="", tools=TOOLS, messages=[user(text("Hi"))])
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    asked = ModelRequest(prompt=prompt, max_tokens=77, output_schema=schema)
    body = request_body(asked, model="claude-x", thinking=True, cache=None)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert "tool_choice" not in body


def test_the_body_has_what_was_asked_and_nothing_that_models_refuse() -> None:
    assert body_of(user(text("Hi")), cache=None) == {
        "model": "claude-x",
        "max_tokens": 77,
        "stream": True,
        "messages": [user(text("Hi"))],
        "system": [text("Be kind.")],
        "tools": TOOLS,
        "thinking": {"type": "adaptive", "display": "summarized"},
    }


def test_what_is_empty_is_left_out() -> None:
    prompt = Prompt(system=" ", tools=[], messages=[user()])
    body = request_body(ModelRequest(prompt=prompt, max_tokens=7), model="gpt", thinking=False, cache=None)
    assert body.keys() == {"model", "max_tokens", "stream", "messages"}


def test_the_prompt_is_left_as_it_was() -> None:
    prompt = Prompt(system="s", tools=TOOLS, messages=[user(), *step(1, 2), *step(2, 1)])
    before = msgspec.json.encode(prompt)
    request_body(ModelRequest(prompt=prompt, max_tokens=7), model="claude-x", thinking=True, cache="1h")
    assert msgspec.json.encode(prompt) == before


def test_without_its_marks_a_request_is_the_prompt() -> None:
    prompt = Prompt(system="s", tools=TOOLS, messages=[user(), *step(1, 2), *step(2, 1)])
    body = request_body(ModelRequest(prompt=prompt, max_tokens=7), model="claude-x", thinking=True, cache="5m")
    assert prompt_of(body) == prompt


class TestCacheMarks:
    def test_they_stand_at_the_system_and_at_the_ends_of_the_last_three_user_messages(self) -> None:
        body = body_of(user(), assistant(), user(text("a"), text("b")), *step(1, 3), *step(2, 2))
        assert cache_marks(body) == ["system.0", "messages.2.content.1", "messages.4.content.2", "messages.6.content.1"]

    def test_without_a_system_the_last_tool_has_the_first_one(self) -> None:
        assert cache_marks(body_of(user(), system="")) == ["tools.1", "messages.0.content.0"]

    def test_without_either_there_are_still_those_of_the_messages(self) -> None:
        assert cache_marks(body_of(user(), system="", tools=[])) == ["messages.0.content.0"]

    def test_they_say_how_long_to_keep_it(self) -> None:
        assert body_of(user())["system"][0]["cache_control"] == {"type": "ephemeral"}
        assert body_of(user(), cache="1h")["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
        assert cache_marks(body_of(user(), cache=None)) == []

    def test_none_stands_on_thinking_or_blank_text(self) -> None:
        thinking: Block = {"type": "thinking", "thinking": "Hm", "signature": "s"}
        body = body_of(user(text("a"), text(" "), thinking), user(thinking, text("")))
        assert cache_marks(body) == ["system.0", "messages.0.content.0"]

    def test_marks_that_a_caller_left_on_blocks_are_taken_off(self) -> None:
        mark = {"cache_control": {"type": "ephemeral"}}
        image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}, **mark}
        inner = {"type": "tool_result", "tool_use_id": "t", "content": [{**text("x"), **mark}, "odd"]}
        body = body_of(user(image, text("a")), user(inner, text("b")))
        assert cache_marks(body) == ["system.0", "messages.0.content.1", "messages.1.content.1"]
        assert "cache_control" not in body["messages"][1]["content"][0]["content"][0]

    @given(st.lists(st.integers(0, 40), max_size=8))
    def test_every_request_reads_all_of_the_one_before_from_the_cache(self, calls: list[int]) -> None:
        cache, messages = PromptCache(), [user(text("Begin."))]
        before = 0
        for number, count in enumerate(calls):
            usage = cache.usage(body_of(*messages))
            assert usage["cache_read_input_tokens"] == before
            before = sum(usage.values())
            messages += step(number, count) if count else [assistant(), user()]
        assert cache.usage(body_of(*messages))["cache_read_input_tokens"] == before

    def test_a_message_that_is_edited_reads_what_stood_before_it(self) -> None:
        cache, begun = PromptCache(), [user(text("Begin.")), *step(1, 30)]
        cache.usage(body_of(*begun))
        whole = sum(cache.usage(body_of(*begun, assistant(), user(text("One.")))).values())
        edited = cache.usage(body_of(*begun, assistant(), user(text("Two."))))
        assert 0 < edited["input_tokens"] + edited["cache_creation_input_tokens"] < 40 < whole

    def test_another_conversation_reads_the_system_and_the_tools(self) -> None:
        cache = PromptCache()
        cache.usage(body_of(user(text("One."))))
        assert cache.usage(body_of(user(text("Two."))))["cache_read_input_tokens"] > 0


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-5-5",
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
        "claude-fable-5-2",
        "claude-mythos-preview",
        "claude-opus-4-6",
        "claude-opus-4-8",
        "claude-sonnet-4-6",
        "claude-opus-5",
        "claude-opus-4-10",
        "anthropic/claude-opus-4.6",
        "claude-opus-4-6[1m]",
        "claude-fable-5",
        "anthropic.claude-opus-4-6-v1",
        "claude-sonnet-6-20270101",
    ],
)
def test_models_that_decide_themselves_how_much_to_think_are_asked_to(model: str) -> None:
    assert thinks_adaptively(model)


@pytest.mark.parametrize(
    "model",
    [
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-sonnet-4-5",
        "claude-opus-4-5-20251101",
        "claude-opus-4-1-20250805",
        "claude-opus-4-1@20250805",
        "claude-opus-4-0",
        "claude-sonnet-4-20250514",
        "claude-3-7-sonnet-latest",
        "anthropic/claude-sonnet-4.5",
        "claude-haiku-4.5",
        "claude-sonnet-4-5[1m]",
        "claude-sonnet-4-5:beta",
        "claude-haiku-4-5-thinking",
        "claude-sonnet-4-latest",
        "anthropic.claude-opus-4-v1:0",
        "claude-v2",
        "claude-3-opus-20240229",
        "claude-2.1",
        "claude-instant-1.2",
        "glm-4.6",
        "gpt-6",
    ],
)
def test_models_that_would_refuse_it_are_not(model: str) -> None:
    assert not thinks_adaptively(model)


def test_a_form_that_is_asked_for_goes_out_as_the_api_has_it_and_else_nothing_does() -> None:
    prompt = Prompt(system="", tools=[], messages=[user()])
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    asked = ModelRequest(prompt=prompt, max_tokens=77, output_schema=schema)
    body = request_body(asked, model="claude-x", thinking=False, cache=None)
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert "output_config" not in body_of(user())
