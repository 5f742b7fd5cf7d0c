"""Answers as values, with the real SDK, against a Messages API that refuses the schemas that the real one would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest

from september_engine import Engine, Settings
from september_engine.errors import TurnFailed
from september_engine.messages import Block, Prompt
from september_engine.models.anthropic import AnthropicModel
from september_engine.models.base import ModelRequest
from september_engine.models.prices import Price, PriceList
from september_engine.store.memory import MemoryStore
from september_engine.testing.messages_server import MessagesServer, refuse, reply, text, thinking, tool_use
from september_engine.tools.tool import tool


class Weather(msgspec.Struct):
    """How it is outside."""

    place: Annotated[str, msgspec.Meta(min_length=1)]
    degrees: Annotated[float, msgspec.Meta(ge=-90, le=60)]
    tomorrow: Outlook | None = None


class Outlook(msgspec.Struct):
    rain: bool


@tool
def thermometer(place: str) -> float:
    """How warm it is."""
    return 21.5


@pytest.fixture
async def engine(server: MessagesServer) -> AsyncIterator[Engine]:
    model = AnthropicModel(api_key="sk-ant-very-secret", base_url=server.url, cache="1h")
    prices = PriceList({model.name: Price(input=1, output=1_000_000)})
    settings = Settings()
    async with Engine(MemoryStore(), model=model, tools=[thermometer], prices=prices, settings=settings) as running:
        yield running
    await model.aclose()


async def test_a_schema_is_sent_with_every_request_of_the_turn_in_the_words_the_provider_knows(
    server: MessagesServer, engine: Engine
) -> None:
    server.add(
        reply(thinking("Hm."), tool_use("thermometer", {"place": "Rome"})),
        reply(thinking("Warm."), text('{"place":"Rome",', '"degrees":21.5}')),
        reply(text("You are welcome.")),
    )
    result = await engine.execute("How is Rome?", task_id="t", output=Weather)
    await engine.execute("Thanks.", task_id="t")
    assert result.output == Weather(place="Rome", degrees=21.5)
    assert server.refusals == []
    sent: list[Any] = [request.body.get("output_config") for request in server.requests]
    assert sent[0] == sent[1]
    assert sent[2] is None
    schema = sent[0]["format"]["schema"]
    assert schema["additionalProperties"] is False
    # what the provider cannot hold the model to is said to the model, and checked here
    assert schema["properties"]["degrees"]["description"] == "{minimum: -90, maximum: 60}"


async def test_a_value_that_the_schema_of_the_provider_let_pass_is_asked_for_again(
    server: MessagesServer, engine: Engine
) -> None:
    server.add(
        reply(thinking("Hot."), text('{"place":"Rome","degrees":700}')),
        reply(thinking("Oh."), text('{"place":"Rome","degrees":21}')),
    )
    result = await engine.execute("How is Rome?", task_id="t", output=Weather)
    assert result.output.degrees == 21
    assert server.refusals == []
    told = server.requests[1].prompt.messages[-1]["content"][0]["text"]
    assert "Expected `float` <= 60" in told


async def test_a_schema_that_the_provider_refuses_ends_the_turn_and_the_thread_keeps_its_history(
    server: MessagesServer, engine: Engine
) -> None:
    no = "output_config.format.schema: circular references are not supported"
    server.add(refuse(400, "invalid_request_error", no), reply(text("Hello.")))
    with pytest.raises(TurnFailed, match="circular") as failed:
        await engine.execute("How is Rome?", task_id="t", output=Weather)
    assert failed.value.code == "LLM_PROVIDER_ERROR"
    assert (await engine.execute("Hello?", task_id="t")).text == "Hello."


async def test_a_schema_that_cannot_be_sent_is_a_failure_of_the_request(server: MessagesServer) -> None:
    asked: Block = {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    request = ModelRequest(
        prompt=Prompt(system="", tools=[], messages=[asked]),
        max_tokens=10,
        output_schema={"type": "object", "properties": {"a": {}}},
    )
    model = AnthropicModel(api_key="sk-ant-very-secret", base_url=server.url)
    with pytest.raises(Exception, match=r"The request could not be made \(ValueError"):
        [chunk async for chunk in model.stream(request)]
    await model.aclose()


async def test_what_was_written_into_the_cache_is_counted_by_how_long_it_is_kept(
    server: MessagesServer, engine: Engine
) -> None:
    by_time = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30}
    usage: Any = {"input_tokens": 5, "cache_creation_input_tokens": 30, "cache_creation": by_time}
    server.add(reply(text("Hi."), usage=usage, output_tokens=2))
    result = await engine.execute("Hello", task_id="t")
    assert (result.usage.cache_write_tokens, result.usage.cache_write_1h_tokens) == (30, 30)
    assert result.cost_usd == 2.000035
