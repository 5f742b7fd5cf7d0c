"""Which model answers, from what the caller said and what the settings hold."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from september_engine import Engine, Limits, Settings
from september_engine.errors import ConfigurationError
from september_engine.messages import Prompt
from september_engine.models.anthropic import DEFAULT_MODEL, AnthropicModel
from september_engine.models.base import Chunk, Model, ModelRequest, Reply
from september_engine.models.choice import (
    OFFLINE_PACE,
    choose_fallback,
    choose_light,
    choose_model,
    choose_planner,
)
from september_engine.models.offline import OfflineModel
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock
from september_engine.testing.messages_server import MessagesServer, overloaded, reply, text


def test_without_a_key_the_offline_model_answers() -> None:
    assert isinstance(choose_model(None, Settings()), OfflineModel)


@pytest.mark.parametrize(
    ("asked_for", "settings", "name"),
    [
        (None, Settings(anthropic_api_key="k"), DEFAULT_MODEL),
        (None, Settings(llm_api_key="k", llm_model="claude-haiku-5-5"), "claude-haiku-5-5"),
        ("claude-sonnet-5-5", Settings(llm_api_key="k", llm_model="claude-haiku-5-5"), "claude-sonnet-5-5"),
    ],
)
def test_with_a_key_it_is_claude_by_the_name_that_is_nearest(
    asked_for: str | None, settings: Settings, name: str
) -> None:
    chosen = choose_model(asked_for, settings)
    assert isinstance(chosen, AnthropicModel)
    assert chosen.name == name


def test_offline_wins_over_a_key_where_it_was_chosen() -> None:
    settings = Settings(llm_provider="offline", anthropic_api_key="k", fallback_model="claude-haiku-5-5")
    assert isinstance(choose_model(None, settings), OfflineModel)
    assert choose_fallback(None, settings) is None


@pytest.mark.parametrize(
    ("asked_for", "settings"), [("claude-opus-5-5", Settings()), (None, Settings(llm_provider="anthropic"))]
)
def test_claude_without_a_key_is_an_error_that_says_what_to_set(asked_for: str | None, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="Set ANTHROPIC_API_KEY"):
        choose_model(asked_for, settings)


@pytest.mark.parametrize("choose", [choose_model, choose_fallback, choose_planner, choose_light])
def test_a_name_without_a_key_is_refused_and_does_not_pass_for_nothing(
    choose: Callable[[str | None, Settings], Model | None],
) -> None:
    with pytest.raises(ConfigurationError, match="there is no key"):
        choose("claude-haiku-5-5", Settings())
    with_nothing = choose("claude-haiku-5-5", Settings(llm_provider="offline"))
    assert with_nothing is None or with_nothing.name == "offline"


def test_a_fallback_needs_a_name_and_a_key() -> None:
    assert choose_fallback(None, Settings(anthropic_api_key="k")) is None
    assert choose_fallback(None, Settings(fallback_model="claude-haiku-5-5")) is None
    fallback = choose_fallback(None, Settings(anthropic_api_key="k", fallback_model="claude-haiku-5-5"))
    assert fallback is not None
    assert fallback.name == "claude-haiku-5-5"


def test_so_does_the_model_that_summarises() -> None:
    assert choose_light(None, Settings(anthropic_api_key="k")) is None
    assert choose_light(None, Settings(light_model="claude-haiku-5-5")) is None
    light = choose_light(None, Settings(anthropic_api_key="k", light_model="claude-haiku-5-5"))
    assert light is not None
    assert light.name == "claude-haiku-5-5"


async def test_the_model_of_the_settings_summarises() -> None:
    said = [reply(text("Yes. " * 200)) for _ in range(40)]
    async with MessagesServer(said, api_key="k3y") as server:
        settings = Settings(anthropic_api_key="k3y", anthropic_base_url=server.url, light_model="claude-haiku-5-5")
        limits = Limits(context_tokens=3_000, max_tokens=200)
        async with Engine(MemoryStore(), settings=settings, limits=limits) as engine:
            for _ in range(12):
                await engine.execute("word " * 100, task_id="t")
        asked = [request.body["model"] for request in server.requests]
        assert "claude-haiku-5-5" in asked
        assert all("compaction" not in request.body for request in server.requests)


async def test_both_models_are_called_at_the_address_and_with_the_key_of_the_settings() -> None:
    async with MessagesServer([overloaded(), reply(text("From the fallback."))], api_key="k3y") as server:
        settings = Settings(
            anthropic_api_key="k3y",
            anthropic_base_url=server.url,
            llm_model="claude-opus-5-5",
            fallback_model="claude-haiku-5-5",
        )
        async with Engine(MemoryStore(), settings=settings, limits=Limits(attempts=1)) as engine:
            assert (await engine.execute("Hello", task_id="t")).text == "From the fallback."
        assert [request.body["model"] for request in server.requests] == ["claude-opus-5-5", "claude-haiku-5-5"]


async def test_with_a_clock_the_offline_model_is_read_as_it_writes() -> None:
    clock = FakeClock()
    chunks: list[Chunk] = []

    async def read() -> None:
        message = {"role": "user", "content": [{"type": "text", "text": "Hello!"}]}
        request = ModelRequest(prompt=Prompt(system="", tools=[], messages=[message]), max_tokens=100)
        show = chunks.append
        async for chunk in choose_model(None, Settings(), clock).stream(request):
            show(chunk)

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await clock.until_asleep()
        assert len(chunks) == 1
        await clock.advance(OFFLINE_PACE)
        assert len(chunks) == 2
        await clock.advance(60)
    assert isinstance(chunks[-1], Reply)


def test_there_is_a_planner_only_where_somebody_named_one_and_there_is_a_key() -> None:
    assert choose_planner(None, Settings(anthropic_api_key="k")) is None
    assert choose_planner(None, Settings(planner_model="claude-haiku-5-5")) is None
    assert choose_planner("x", Settings(llm_provider="offline", anthropic_api_key="k")) is None
    planner = choose_planner(None, Settings(anthropic_api_key="k", planner_model="claude-haiku-5-5"))
    assert planner is not None
    assert planner.name == "claude-haiku-5-5"
