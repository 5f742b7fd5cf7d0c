"""What a provider may say that once spoiled a thread or was misread: whole turns, over a real socket."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from september_engine._turn.limits import Limits
from september_engine.engine import Engine
from september_engine.errors import TurnFailed
from september_engine.events import Error, Event, Retry, TextDelta, ThreadLifecycle, ToolResult, UsageEvent
from september_engine.messages import Block, Usage, text_of
from september_engine.models.anthropic import AnthropicModel
from september_engine.settings import Settings
from september_engine.store.memory import MemoryStore
from september_engine.testing.messages_server import (
    Answer,
    MessagesServer,
    Part,
    block,
    event,
    failure,
    hang,
    hold,
    ping,
    raw,
    refuse,
    reply,
    text,
    thinking,
    tool_use,
)
from september_engine.tools.tool import tool

from .._context.pictures import document, image


@tool
async def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


@tool
async def take(value: object) -> str:
    """Take anything."""
    return "taken"


@asynccontextmanager
async def running(
    *script: Answer, fallback: str | None = None, name: str = "claude-opus-5-5", max_tokens: int = 4096, **options: Any
) -> AsyncIterator[tuple[Engine, MessagesServer]]:
    """An engine on Claude, against a server with this script that refuses what the real one would."""
    async with MessagesServer(script) as server:
        model = AnthropicModel(name, api_key="a-key", base_url=server.url)
        other = AnthropicModel(fallback, api_key="a-key", base_url=server.url) if fallback else None
        settings = Settings(max_tokens=max_tokens)
        async with Engine(
            MemoryStore(), model=model, fallback=other, tools=[word_count, take], settings=settings, **options
        ) as engine:
            yield engine, server
        await model.aclose()
        if other is not None:
            await other.aclose()
    gc.collect()


async def events_of(engine: Engine, message: str, **options: Any) -> list[Event]:
    return [event async for event in engine.execute(message, task_id="t", **options)]


async def says(engine: Engine, message: str, **options: Any) -> str:
    return (await engine.execute(message, task_id="t", **options)).text


def bad(message: str) -> Answer:
    return refuse(400, "invalid_request_error", message)


def kinds(server: MessagesServer, request: int) -> list[list[str]]:
    return [[each["type"] for each in message["content"]] for message in server.requests[request].prompt.messages]


@pytest.mark.parametrize(
    "strange",
    [
        {"type": "image", "url": "x"},
        image(),
        {"type": "image", "source": {"type": "base64", "data": "a", "media_type": "image/png"}},
        document(),
        {"type": "tool_result", "content": [{"no": 1}]},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    ],
)
async def test_a_block_that_cannot_go_back_does_not_spoil_the_thread(strange: Block) -> None:
    script = [reply(text("Here."), block(strange)), reply(text("Two.")), reply(text("Three."))]
    async with running(*script) as (engine, server):
        assert [await says(engine, message) for message in ("One?", "Two?", "Three?")] == ["Here.", "Two.", "Three."]
        assert server.refusals == []
        assert kinds(server, 2) == [["text"]] * 5


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
async def test_a_number_that_is_none_is_an_attempt_that_failed(number: str) -> None:
    start = f'{{"type":"content_block_start","index":0,"content_block":{{"type":"future","x":{number}}}}}'
    broken = reply(raw(f"event: content_block_start\ndata: {start}\n\n".encode()))
    async with running(broken, reply(text("Two.")), reply(text("Three."))) as (engine, server):
        assert [await says(engine, message) for message in ("One?", "Two?")] == ["Two.", "Three."]
        assert len(server.requests) == 3


@pytest.mark.parametrize("levels", [48, 400, 970, 990])
async def test_an_input_that_is_nested_too_deep_is_told_to_the_model_and_does_not_spoil_the_thread(levels: int) -> None:
    deep = tool_use("take", raw=['{"value": ' + "[" * levels + "]" * levels + "}"])
    async with running(reply(deep), reply(text("Two.")), reply(text("Three."))) as (engine, server):
        results = [each for each in await events_of(engine, "One?") if isinstance(each, ToolResult)]
        assert [result.error and result.error.reason for result in results] == ["invalid_input"]
        assert await says(engine, "Two?") == "Three."
        assert server.refusals == []


async def test_room_beyond_what_the_model_has_is_cut_to_it_and_no_history_is_blamed() -> None:
    cut = reply(thinking("Hm."), tool_use("word_count", raw=['{"text": "a']), stop_reason="max_tokens")
    script = [reply(thinking("Hi."), text("Hi.")), cut, reply(text("Done.")), reply(text("Bye."))]
    async with running(*script, max_tokens=64_000) as (engine, server):
        assert [await says(engine, message) for message in ("One?", "Two?", "Three?")] == ["Hi.", "Done.", "Bye."]
        first, second, more, *rest = [each.body["max_tokens"] for each in server.requests]
        assert (first, second, rest) == (64_000, 64_000, [128_000, 64_000])
        assert 128_000 < more < 200_000  # four times as much, as far as the context window goes
        assert kinds(server, 4)[1:4:2] == [["thinking", "text"], ["thinking", "tool_use"]]


async def test_thinking_that_used_up_the_room_is_not_an_answer() -> None:
    script = [reply(thinking("Long."), stop_reason="max_tokens"), reply(thinking("Short."), text("So.")), reply()]
    async with running(*script) as (engine, server):
        result = await engine.execute("One?", task_id="t")
        assert (result.text, result.stop_reason) == ("So.", "end_turn")
        assert [each.body["max_tokens"] for each in server.requests] == [4096, 16_384]
        assert server.requests[0].prompt == server.requests[1].prompt
        assert server.refusals == []


async def test_a_model_that_takes_no_adaptive_thinking_answers_without() -> None:
    async with running(bad("adaptive thinking is not supported on this model"), reply(text("Hi."))) as (engine, server):
        assert await says(engine, "One?") == "Hi."
        assert ["thinking" in each.body for each in server.requests] == [True, False]


async def test_another_parameter_that_is_refused_goes_to_the_fallback_with_the_history_whole() -> None:
    refused = bad("tools.0.custom.input_schema.properties: Property keys should match pattern '^[a-z]{1,64}$'")
    script = [reply(thinking("Hm."), text("A fox.")), refused, reply(text("Yes."))]
    async with running(*script, fallback="claude-haiku-5-5") as (engine, server):
        assert await says(engine, "What?", media=[image()]) == "A fox."
        assert await says(engine, "Sure?") == "Yes."
        assert [each.body["model"] for each in server.requests][2:] == ["claude-haiku-5-5"]
        assert kinds(server, 2) == [["image", "text"], ["text"], ["text"]]


async def test_a_block_that_the_provider_itself_refuses_later_goes_as_the_last_repair() -> None:
    refused = bad("messages.1.content.1.hologram.beam: Field required")
    script = [reply(text("A."), block({"type": "hologram"})), *[refused] * 3, reply(text("B.")), reply(text("C."))]
    async with running(*script) as (engine, server):
        assert [await says(engine, message) for message in ("One?", "Two?", "Three?")] == ["A.", "B.", "C."]
        assert kinds(server, 1)[1] == ["text", "hologram"]
        assert kinds(server, 5) == [["text"]] * 5


async def test_what_a_failed_attempt_cost_is_counted() -> None:
    failing = reply(text("a"), failure(), usage={"input_tokens": 90_000}, headers={"retry-after": "0"})
    async with running(failing, reply(text("Ok."), usage={"input_tokens": 5})) as (engine, _):
        events = await events_of(engine, "One?")
        assert [each.input_tokens for each in events if isinstance(each, UsageEvent)] == [90_000, 5]
        [end] = [each for each in events if isinstance(each, ThreadLifecycle) and each.phase == "completed"]
        assert end.usage == Usage(input_tokens=90_005, output_tokens=11)
    async with running(failing, limits=Limits(tokens=90_000)) as (engine, _):
        with pytest.raises(TurnFailed, match="limit: tokens"):
            await engine.execute("One?", task_id="t")


async def test_what_a_cancelled_attempt_cost_is_told() -> None:
    async with running(reply(text("Hel"), hang(), usage={"input_tokens": 70})) as (engine, _):
        turn = engine.execute("One?", task_id="t")
        async for each in turn:
            if isinstance(each, TextDelta):
                break
        await engine.cancel("t")
        events = [each async for each in engine.replay(task_id="t")]
        assert [each.input_tokens for each in events if isinstance(each, UsageEvent)] == [70]
        assert isinstance(events[-1], Error)


async def test_counts_are_totals_so_far() -> None:
    totals = {"input_tokens": 20, "cache_read_input_tokens": 7, "output_tokens": 9}
    async with running(reply(text("Hi."), usage={"input_tokens": 3}, final_usage=totals)) as (engine, _):
        result = await engine.execute("One?", task_id="t")
        assert result.usage == Usage(input_tokens=27, output_tokens=9, cache_hit_tokens=7)


@pytest.mark.parametrize("alive", [ping(), event("keepalive", {"type": "keepalive"})])
async def test_signs_of_life_are_no_progress(alive: Part) -> None:
    class Soon:
        """Opens after a moment."""

        async def wait(self) -> None:
            await anyio.sleep(0.02)

    beats = [part for _ in range(200) for part in (alive, hold(Soon()))]
    once = Limits(attempts=1)
    async with running(reply(text("Hel"), *beats), progress_timeout=0.2, limits=once) as (engine, server):
        with anyio.fail_after(10), pytest.raises(TurnFailed) as raised:
            await engine.execute("One?", task_id="t")
        assert raised.value.code == "LLM_TIMEOUT"
        await server.until_idle()
        assert server.disconnects == 1


async def test_the_fallback_goes_on_within_a_loop_of_thinking_and_tools() -> None:
    counts = reply(thinking("Hm."), tool_use("word_count", {"text": "a b"}))
    answers = reply(thinking("So."), text("Two.")), reply(text("!"))
    script = [counts, refuse(401, "authentication_error", "No."), *answers]
    async with running(*script, fallback="claude-haiku-5-5") as (engine, server):
        assert [await says(engine, message) for message in ("Count.", "Thanks.")] == ["Two.", "!"]
        assert server.refusals == []
        assert [kinds(server, number)[1] for number in (1, 2, 3)] == [
            ["thinking", "tool_use"],
            ["tool_use"],
            ["thinking", "tool_use"],
        ]
        assert kinds(server, 3)[3] == ["text"]


@pytest.mark.parametrize("stop_reason", ["pause_turn", "model_context_window_exceeded", "stop_sequence", "new_one"])
async def test_whatever_ends_an_answer_the_next_turn_goes_on_from_it(stop_reason: str) -> None:
    paused = reply(thinking("Hm."), text("Well,"), stop_reason=stop_reason)
    async with running(paused, reply(text("Bye."))) as (engine, server):
        assert (await engine.execute("One?", task_id="t")).stop_reason == stop_reason
        assert await says(engine, "Two?") == "Bye."
        assert server.refusals == []
        assert kinds(server, 1) == [["text"], ["thinking", "text"], ["text"]]


async def test_a_refusal_says_why_and_is_not_sent_again() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "No cyber."}
    ends = event("message_delta", {"delta": {"stop_reason": "refusal", "stop_details": details}})
    async with running(reply(text("I"), ends, event("message_stop", {})), reply(text("Ok."))) as (engine, server):
        assert (await engine.execute("One?", task_id="t")).stop_reason == "refusal"
        assert await says(engine, "Two?") == "Ok."
        assert kinds(server, 1) == [["text"]]
        said = [each for each in await engine.messages("t") if each.role == "assistant"]
        assert [(each.stop_reason, each.stop_details) for each in said] == [("refusal", details), ("end_turn", None)]


async def test_halves_of_a_surrogate_pair_come_out_whole_everywhere() -> None:
    script = [reply(text("a \ud83d", "\ude00 \ud83d"), tool_use("take", raw=['{"value": "\\ud83d', '\\ude00"}']))]
    async with running(*script, reply(text("Ok."))) as (engine, server):
        events = await events_of(engine, "One?")
        assert "".join(each.text for each in events if isinstance(each, TextDelta)) == "a 😀 \ufffdOk."
        said = (await engine.messages("t"))[1].content
        assert (text_of(said), said[1]["input"]) == ("a 😀 \ufffd", {"value": "😀"})
        assert server.refusals == []


async def test_a_stream_that_is_cut_in_a_tool_call_runs_nothing() -> None:
    cut = reply(text("Let me."), tool_use("take", {"value": 1}), headers={"retry-after": "0"}).cut(events=6)
    async with running(cut, reply(text("Hi."))) as (engine, _):
        events = await events_of(engine, "One?")
        assert [each.retracts for each in events if isinstance(each, Retry)] == [[0, 1]]
        assert not any(isinstance(each, ToolResult) for each in events)


async def test_an_id_that_is_used_twice_is_run_once_and_a_tool_that_is_not_there_gets_a_result() -> None:
    count = tool_use("word_count", {"text": "a b"}, id="toolu_1")
    script = [reply(count, tool_use("nowhere", {})), reply(count, tool_use("take", {"value": 1}, id="toolu_1"))]
    async with running(*script, reply(text("Done."))) as (engine, server):
        events = await events_of(engine, "Count.")
        results = [(each.tool, each.error and each.error.reason) for each in events if isinstance(each, ToolResult)]
        assert sorted(results, key=str) == [
            ("nowhere", "unknown_tool"),
            ("take", "invalid_input"),
            ("word_count", None),
            ("word_count", None),
        ]
        assert server.refusals == []
