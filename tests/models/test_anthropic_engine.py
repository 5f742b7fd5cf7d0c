"""Whole turns of the engine, with the real SDK, against a Messages API that refuses what the real one would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import anyio
import msgspec
import pytest

from september_engine._context.check import changed_prefix
from september_engine.engine import Engine
from september_engine.errors import TurnFailed
from september_engine.events import Event, Retry, TextDelta, ToolCall, ToolResult
from september_engine.messages import Block
from september_engine.models.anthropic import AnthropicModel
from september_engine.settings import Settings
from september_engine.store.base import Store
from september_engine.store.memory import MemoryStore
from september_engine.store.sqlite import SQLiteStore
from september_engine.testing.messages_server import (
    Answer,
    MessagesServer,
    block,
    failure,
    hang,
    rate_limited,
    redacted,
    refuse,
    reply,
    text,
    thinking,
    tool_use,
)
from september_engine.tools.tool import tool

KEY = "sk-ant-very-secret"


@tool
async def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@pytest.fixture
async def engine(server: MessagesServer) -> AsyncIterator[Engine]:
    model = AnthropicModel(api_key=KEY, base_url=server.url)
    async with Engine(MemoryStore(), model=model, tools=[word_count], settings=Settings()) as running:
        yield running
    await model.aclose()


async def events_of(engine: Engine, message: str, task_id: str = "t", **options: Any) -> list[Event]:
    return [event async for event in engine.execute(message, task_id=task_id, **options)]


def counted(words: str, **options: Any) -> Answer:
    """A reply that calls the tool."""
    return reply(thinking("Hm."), text("Let me count."), tool_use("word_count", {"text": words}), **options)


def contents_of(server: MessagesServer, request: int) -> list[list[Block]]:
    return [message["content"] for message in server.requests[request].prompt.messages]


def kinds_of(content: list[Block]) -> list[str]:
    return [each["type"] for each in content]


async def test_each_request_begins_with_the_one_before_and_its_reply(server: MessagesServer, engine: Engine) -> None:
    server.add(
        counted("a b"),
        reply(redacted("opaque"), tool_use("word_count", {"text": "c"}), tool_use("word_count", {"text": "d e"})),
        reply(block({"type": "hologram", "beam": 1}), thinking("Right."), text("Two, and three.")),
        counted("f"),
        reply(thinking("Good."), text("One.")),
        reply(text("Bye.")),
    )
    for message in ("Count.", "Again.", "Thanks."):
        assert (await engine.execute(message, task_id="t")).stop_reason == "end_turn"
    assert server.refusals == []
    assert len(server.requests) == 6
    for before, after in pairwise(server.requests):
        replied = after.prompt.messages[len(before.prompt.messages)]["content"]
        assert changed_prefix(before.prompt, replied, after.prompt) is None
        assert msgspec.json.encode(before.body["system"]) == msgspec.json.encode(after.body["system"])
        assert msgspec.json.encode(before.body["tools"]) == msgspec.json.encode(after.body["tools"])
    sent_back = contents_of(server, 5)
    assert sent_back[1][0] == {"type": "thinking", "thinking": "Hm.", "signature": "signed/1/0=="}
    assert sent_back[3][0] == {"type": "redacted_thinking", "data": "opaque"}
    assert kinds_of(sent_back[5]) == ["hologram", "thinking", "text"]
    assert [each["content"] for each in sent_back[4]] == ["1", "2"]


async def test_every_request_reads_the_one_before_from_the_cache(server: MessagesServer, engine: Engine) -> None:
    many = [tool_use("word_count", {"text": "x " * number}) for number in range(60)]
    server.add(reply(*many), reply(*many), reply(text("Done.")), reply(text("Bye.")))
    await engine.execute("Count.", task_id="t")
    await engine.execute("Thanks.", task_id="t")
    usages = [message.usage for message in await engine.messages("t") if message.role == "assistant"]
    totals = [usage.input_tokens for usage in usages if usage is not None]
    hits = [usage.cache_hit_tokens for usage in usages if usage is not None]
    assert hits == [0, *totals[:-1]]
    assert totals == sorted(totals)


@pytest.mark.parametrize("store", [MemoryStore, SQLiteStore])
async def test_a_history_that_the_provider_refuses_is_repaired_and_the_thread_goes_on(
    server: MessagesServer, store: type, tmp_path: Any
) -> None:
    made: Store = MemoryStore() if store is MemoryStore else SQLiteStore(tmp_path / "brain.sqlite")
    model = AnthropicModel(api_key=KEY, base_url=server.url)
    server.add(
        counted("a b"),
        refuse(400, "invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block"),
        counted("c"),
        reply(text("Two.")),
        reply(text("Bye.")),
    )
    async with Engine(made, model=model, tools=[word_count], settings=Settings()) as engine:
        events = await events_of(engine, "Count.")
        assert "".join(event.text for event in events if isinstance(event, TextDelta)).endswith("Two.")
        assert (await engine.execute("Thanks.", task_id="t")).text == "Bye."
    await model.aclose()
    assert [event.attempt for event in events if isinstance(event, Retry)] == [1]
    assert server.refusals == []
    assert [kinds_of(content) for content in contents_of(server, 1)[1:2]] == [["thinking", "text", "tool_use"]]
    assert [kinds_of(content) for content in contents_of(server, 2)[1:2]] == [["text", "tool_use"]]
    # what was thought since then is sent back
    assert [kinds_of(content) for content in contents_of(server, 4)[1:4:2]] == [
        ["text", "tool_use"],
        ["thinking", "text", "tool_use"],
    ]


async def test_a_history_that_cannot_be_repaired_ends_the_turn_and_the_thread_stays_usable(
    server: MessagesServer, engine: Engine
) -> None:
    refused = refuse(400, "invalid_request_error", "messages.0: no")
    server.add(refused, refused, refused, refused, reply(text("Hi.")))
    with pytest.raises(TurnFailed, match=r"messages\.0: no") as raised:
        await engine.execute("Hello.", task_id="t")
    assert raised.value.code == "LLM_PROVIDER_ERROR"
    assert raised.value.details["request_id"] == "req_4"
    assert (await engine.execute("Hello.", task_id="t")).text == "Hi."


async def test_a_failing_attempt_is_tried_again_and_what_it_showed_is_retracted(
    server: MessagesServer, engine: Engine
) -> None:
    server.add(
        rate_limited("0"),
        reply(text("Hel"), failure("overloaded_error"), headers={"retry-after": "0"}),
        reply(text("Hello.")),
    )
    turn = engine.execute("Hello.", task_id="t")
    retries = [event async for event in turn if isinstance(event, Retry)]
    assert [(retry.reason, retry.retracts or []) for retry in retries] == [
        ("LLM_RATE_LIMITED", []),
        ("LLM_PROVIDER_ERROR", [0]),
    ]
    assert (await turn).text == "Hello."
    assert [each.prompt for each in server.requests] == [server.requests[0].prompt] * 3


async def test_a_call_whose_input_is_broken_is_not_run_and_the_model_is_told_why(
    server: MessagesServer, engine: Engine
) -> None:
    cut = reply(tool_use("word_count", raw=['{"text": "a b']), stop_reason="max_tokens")
    server.add(cut, reply(text("Sorry.")))
    events = await events_of(engine, "Count.")
    calls = [event for event in events if isinstance(event, ToolCall | ToolResult)]
    assert [type(event) for event in calls] == [ToolCall, ToolResult]
    result = contents_of(server, 1)[2][0]
    assert result["is_error"]
    assert "max_tokens" in result["content"]
    assert server.refusals == []


async def test_cancelling_a_turn_ends_the_provider_s_stream(server: MessagesServer, engine: Engine) -> None:
    server.add(reply(text("Hel"), hang()), reply(text("Hi.")))
    turn = engine.execute("Hello.", task_id="t")
    async for event in turn:
        if isinstance(event, TextDelta):
            break
    with anyio.fail_after(10):
        assert await engine.cancel("t")
        await server.until_idle()
    assert server.disconnects == 1
    assert (await engine.execute("Hello again.", task_id="t")).text == "Hi."
    assert server.refusals == []
    assert contents_of(server, 1)[1] == [{"type": "text", "text": "Hel"}]


async def test_the_key_is_in_no_event(server: MessagesServer, engine: Engine) -> None:
    server.add(refuse(401, "authentication_error", f"Bearer {KEY} is not valid"))
    events = await events_of(engine, "Hello.")
    assert KEY not in msgspec.json.encode(events).decode()
    assert (await engine.health()).subsystems["llm_provider"] == "LLM_AUTH"


async def test_a_planner_of_its_own_is_asked_in_its_own_request_and_the_conversation_only_grows(
    server: MessagesServer,
) -> None:
    model = AnthropicModel(api_key=KEY, base_url=server.url)
    planner = AnthropicModel("claude-haiku-5-5", api_key=KEY, base_url=server.url)
    update = {
        "steps": [{"id": "1", "title": "Count", "status": "done"}, {"id": "2", "title": "Tell", "status": "active"}]
    }
    server.add(
        reply(thinking("Two steps."), text('{"worthwhile": true, "steps": ["Count", "Tell"]}')),
        reply(thinking("Hm."), tool_use("update_plan", update), tool_use("note", {"key": "words", "value": 2})),
        reply(thinking("Good."), text("Two.")),
        reply(text('{"worthwhile": false, "steps": []}')),
        reply(thinking("Well."), text("Still two.")),
    )
    async with Engine(":memory:", model=model, planner=planner, notes="any", settings=Settings()) as engine:
        await engine.execute("Count the words of 'a b' and tell me.", task_id="t")
        await engine.execute("And of the same text backwards?", task_id="t")
        assert [step.status for step in await engine.plan("t")] == ["done", "active"]
        assert await engine.notes.get("t") == {"words": 2}
    await model.aclose()
    await planner.aclose()
    assert server.refusals == []
    asked = [request for request in server.requests if "output_config" in request.body]
    assert [request.body["model"] for request in asked] == ["claude-haiku-5-5"] * 2
    rest = [request for request in server.requests if "output_config" not in request.body]
    for before, after in pairwise(rest):
        replied = after.prompt.messages[len(before.prompt.messages)]["content"]
        assert changed_prefix(before.prompt, replied, after.prompt) is None
    assert "words: 2" in rest[-1].prompt.messages[-1]["content"][1]["text"]
