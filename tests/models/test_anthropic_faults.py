"""Faults of the provider that need an engine around the adapter: silence, no address, and messages that poison."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import attrs
import pytest

from september_engine import Engine, Settings, tool
from september_engine._runtime.world import World
from september_engine.errors import ModelError, TurnFailed
from september_engine.events import Retry, ThreadLifecycle, ToolCall
from september_engine.messages import Prompt
from september_engine.models.anthropic import AnthropicModel
from september_engine.models.base import ModelRequest
from september_engine.store.memory import MemoryStore
from september_engine.testing.fakes import FakeClock
from september_engine.testing.messages_server import (
    Answer,
    MessagesServer,
    hang,
    hold,
    ping,
    refuse,
    reply,
    text,
    thinking,
    tool_use,
)
from tests._context.pictures import image, png
from tests.engines import soon, ticks, until

KEY = "sk-ant-very-secret"
REFUSED = refuse(400, "invalid_request_error", "messages.0.content: that will not do")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
async def model(server: MessagesServer) -> AsyncIterator[AnthropicModel]:
    made = AnthropicModel(api_key=KEY, base_url=server.url)
    yield made
    await made.aclose()


@tool
async def look() -> str:
    """Look at it."""
    return "seen"


@tool(timeout=None)
async def forever() -> str:
    """Never come back."""
    await anyio.sleep_forever()
    return ""


@tool
async def photo() -> list[Any]:
    """Take a picture that is far too large."""
    return [image(png(9000, 9000))]


async def test_an_address_that_does_not_exist_may_exist_later() -> None:
    model = AnthropicModel(api_key=KEY, base_url="http://nowhere.invalid")
    request = ModelRequest(
        prompt=Prompt(system="", tools=[], messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]),
        max_tokens=10,
    )
    with pytest.raises(ModelError) as failure:
        async for _ in model.stream(request):
            pass
    assert (failure.value.code, failure.value.retryable) == ("LLM_PROVIDER_ERROR", True)
    await model.aclose()


async def test_a_provider_that_only_pings_is_given_up_as_one_that_is_silent(
    server: MessagesServer, model: AnthropicModel
) -> None:
    clock, more = FakeClock(), [anyio.Event() for _ in range(2)]
    server.add(reply(ping(), hold(more[0]), ping(), hold(more[1]), ping(), hang()), reply(text("Here I am.")))
    engine = Engine(MemoryStore(), model=model, settings=Settings(), progress_timeout=120, world=World(clock=clock))
    async with engine:
        one = engine.execute("go", task_id="t")
        while not server.requests:
            await ticks(1)
        for gate in more:
            await clock.advance(50)
            gate.set()
            await ticks(200)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(flow, clock)
                retry = await until(one, Retry)
                assert clock.monotonic() < 140  # 120 after the request, whatever was pinged since
                assert (retry.reason, retry.attempt) == ("LLM_TIMEOUT", 1)
                assert (await one).text == "Here I am."
                group.cancel_scope.cancel()


# ── no thread is ever stuck ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class Poison:
    """Answers that leave something behind which the API would refuse, were it sent back as it is."""

    answers: tuple[Answer, ...]
    cancel: bool = False


AGAIN = reply(tool_use("look", id="a"))
CUT = reply(tool_use("look", raw=['{"at": "x']), stop_reason="max_tokens")
POISONS = {
    "a call without its result": Poison((reply(text("Wait."), tool_use("forever")),), cancel=True),
    "half of a surrogate pair": Poison(
        (reply(thinking("\udd8a"), text("Half: \ud83e"), tool_use("look")), reply(text("x \udd8a")))
    ),
    "a picture that is too large": Poison((reply(tool_use("photo")), reply(text("Too large.")))),
    "thinking that was cut": Poison((reply(thinking("Hm, hm.", "Hm."), text("x")).cut(events=3), reply(text("So.")))),
    "an answer of thinking only": Poison((reply(thinking("Hm.")),)),
    "blank text": Poison((reply(text(" \n"), tool_use("look")), reply(text(" ")))),
    "an id that is there twice": Poison((reply(tool_use("look", id="a"), tool_use("look", id="a")), reply(text("x")))),
    "an id that was used before": Poison(
        (reply(tool_use("look", id="a")), reply(tool_use("look", id="a")), reply(text("x")))
    ),
    "an input that was cut": Poison(
        (reply(tool_use("look", raw=['{"at": "x']), stop_reason="max_tokens"), reply(text("x")))
    ),
    "a tool that does not exist": Poison((reply(tool_use("no such tool, at all!")), reply(text("Sorry.")))),
    "a message that no repair helps": Poison((REFUSED, REFUSED, REFUSED)),
}


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
async def test_whatever_stands_in_the_thread_the_next_message_works(
    server: MessagesServer, model: AnthropicModel, poison: Poison
) -> None:
    server.add(*poison.answers)
    clock = FakeClock()
    engine = Engine(
        MemoryStore(), model=model, tools=[look, forever, photo], settings=Settings(), world=World(clock=clock)
    )
    with anyio.fail_after(10):
        async with engine, anyio.create_task_group() as group:
            group.start_soon(flow, clock)
            one = engine.execute("go", task_id="t")
            if poison.cancel:
                await until(one, ToolCall)
                await ticks(20)
                await engine.cancel("t")
            await soon(one)
            server.add(reply(text("Fine.")), reply(text("Still fine.")))
            assert (await engine.execute("and now?", task_id="t")).text == "Fine."
            assert (await engine.execute("and then?", task_id="t")).text == "Still fine."
            group.cancel_scope.cancel()
    assert server.refusals == []


async def flow(clock: FakeClock) -> None:
    """Let the time of waits before a retry pass."""
    while True:
        await clock.advance(1)
        await ticks(20)


async def test_a_message_that_was_refused_for_good_can_be_edited(server: MessagesServer, model: AnthropicModel) -> None:
    server.add(*[REFUSED] * 4, reply(text("Better.")))
    async with Engine(MemoryStore(), model=model, settings=Settings()) as engine:
        one = engine.execute("bad", task_id="t")
        events = await soon(one)
        with pytest.raises(TurnFailed, match="left out"):
            await one
        assert isinstance(events[0], ThreadLifecycle)
        assert events[0].message_id is not None
        better = await engine.execute("good", task_id="t", edit_message_id=events[0].message_id)
        assert better.text == "Better."
        assert [message.content[0]["text"] for message in await engine.messages("t")] == ["good", "Better."]
