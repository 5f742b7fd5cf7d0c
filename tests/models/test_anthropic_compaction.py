"""Long threads with the real SDK, against a Messages API that refuses what the real one would."""

from __future__ import annotations

from typing import Any

import pytest

from september_engine._turn.compaction import SUMMARISE
from september_engine._turn.limits import Limits
from september_engine.engine import Engine
from september_engine.errors import ModelError
from september_engine.events import CompactionEvent, Event, UsageEvent
from september_engine.messages import Prompt, Usage
from september_engine.models.anthropic import AnthropicModel
from september_engine.models.base import ModelRequest, Reply, compacts, window_of
from september_engine.settings import Settings
from september_engine.store.memory import MemoryStore
from september_engine.testing.messages_server import (
    Answer,
    MessagesServer,
    RecordedRequest,
    compaction,
    refuse,
    reply,
    text,
    thinking,
)

LIMITS = Limits(context_tokens=3_000, max_tokens=300)
LONG = "word " * 200
BLOCK = {"type": "compaction", "content": "In short: 7.", "signature": "signed/compaction==", "encrypted_content": None}


def model_at(
    server: MessagesServer, name: str = "claude-opus-5-5", *, compaction: bool | None = None
) -> AnthropicModel:
    return AnthropicModel(name, api_key="sk-ant-secret", base_url=server.url, compaction=compaction)


async def run(server: MessagesServer, model: AnthropicModel, turns: int) -> list[Event]:
    """So many turns on one thread; what was shown of them."""
    engine = Engine(MemoryStore(), model=model, limits=LIMITS, settings=Settings(), system="Be kind. " * 40)
    events: list[Event] = []
    async with engine:
        for number in range(turns):
            events += [event async for event in engine.execute(f"{number}: {LONG}", task_id="t")]
    await model.aclose()
    return events


def said(count: int) -> list[Answer]:
    return [reply(thinking("Hm."), text("Yes. " * 60)) for _ in range(count)]


def asked_for(server: MessagesServer) -> list[RecordedRequest]:
    return [request for request in server.requests if "compaction" in request.body]


async def test_the_provider_tells_in_brief_what_came_before_and_gets_its_block_back(server: MessagesServer) -> None:
    apart = {"type": "compaction", "input_tokens": 2_000, "output_tokens": 50, "cache_read_input_tokens": 500}
    final: dict[str, Any] = {"iterations": [apart]}
    told = reply(compaction("In short: 7."), stop_reason="compaction", usage={"input_tokens": 0}, final_usage=final)
    server.add(*said(7), told, *said(4))
    events = await run(server, model_at(server), 9)
    [shown] = [event for event in events if isinstance(event, CompactionEvent)]
    assert shown.strategy == "provider"
    assert UsageEvent(input_tokens=2_500, output_tokens=60, cache_hit_tokens=500) in events
    [asked] = asked_for(server)
    assert asked.headers["anthropic-beta"] == "compact-2026-09-04"
    assert asked.prompt.messages[-1]["role"] == "assistant"  # only what was said, and nothing of ours
    after = server.requests[server.requests.index(asked) + 1 :]
    assert all(request.prompt.messages[0] == {"role": "assistant", "content": [BLOCK]} for request in after)
    assert server.refusals == []


async def test_a_provider_that_offers_none_is_asked_once_and_the_model_sums_it_up(server: MessagesServer) -> None:
    no = refuse(400, "invalid_request_error", "compaction: Extra inputs are not permitted")
    server.add(*said(7), no, reply(text("I sum up: 7.")), *said(40))
    model = model_at(server)
    assert compacts(model)
    events = await run(server, model, 16)
    assert not compacts(model)
    assert len(asked_for(server)) == 1
    strategies = [event.strategy for event in events if isinstance(event, CompactionEvent)]
    assert len(strategies) > 1
    assert set(strategies) == {"summary"}
    assert server.refusals == []


async def test_a_block_that_the_provider_refuses_later_gives_way_to_its_text(server: MessagesServer) -> None:
    told = reply(compaction("In short: 7."), stop_reason="compaction")
    no = refuse(400, "invalid_request_error", "The signature does not verify.", code="compaction_signature_invalid")
    server.add(*said(7), told, no, *said(4))
    await run(server, model_at(server), 9)
    for request in server.requests[9:]:
        first = request.prompt.messages[0]
        assert first["role"] == "user"
        assert "In short: 7." in first["content"][0]["text"]
    assert server.refusals == []


async def test_the_cache_is_read_in_long_threads_and_after_a_compaction(server: MessagesServer) -> None:
    server.add(*(reply(text("Yes. " * 60)) for _ in range(60)))
    events = await run(server, model_at(server, compaction=False), 22)
    hits = [event.cache_hit_tokens for event in events if isinstance(event, UsageEvent)]
    assert hits[0] == 0
    assert all(hits[1:])
    summaries = [
        number
        for number, request in enumerate(server.requests)
        if request.prompt.messages[-1]["content"][-1].get("text") == SUMMARISE
    ]
    assert len(summaries) > 2
    for number in summaries:
        # what is summarised was sent before and is read again, and behind it the next request finds system and tools
        assert hits[number] > 1_000
        assert 80 < hits[number + 1] < 200
        assert hits[number + 2] > hits[number + 1]


@pytest.mark.parametrize(
    "words",
    [
        "prompt is too long: 210000 tokens > 180000 maximum",
        "This model's maximum context length is 180000 tokens. However, your messages resulted in 210000 tokens.",
    ],
)
async def test_the_provider_teaches_the_model_its_window(server: MessagesServer, words: str) -> None:
    server.add(refuse(400, "invalid_request_error", words))
    model = model_at(server)
    assert window_of(model) == 200_000
    prompt = Prompt(system="", tools=[], messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    with pytest.raises(ModelError) as failed:
        async for _ in model.stream(ModelRequest(prompt=prompt, max_tokens=10)):
            pass
    assert failed.value.code == "CONTEXT_OVERFLOW"
    assert window_of(model) == 180_000
    await model.aclose()


async def test_a_window_can_be_named_and_is_unknown_for_models_of_others(server: MessagesServer) -> None:
    for name, window in (("claude-opus-5-5", 200_000), ("another", None)):
        model = model_at(server, name)
        assert window_of(model) == window
        assert compacts(model) is (window is not None)
        await model.aclose()
    large = AnthropicModel(api_key="sk-ant-secret", context_window=1_000_000)
    assert window_of(large) == 1_000_000
    await large.aclose()


async def test_what_is_not_a_compaction_is_none(server: MessagesServer) -> None:
    server.add(reply(compaction("In short."), stop_reason="compaction"))
    model = model_at(server)
    prompt = Prompt(system="", tools=[], messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    chunks = [chunk async for chunk in model.stream(ModelRequest(prompt=prompt, max_tokens=10, compact=True))]
    made = chunks[-1]
    assert isinstance(made, Reply)
    assert made.content == [{**BLOCK, "content": "In short."}]
    assert made.stop_reason == "compaction"
    assert made.usage != Usage()
    await model.aclose()
