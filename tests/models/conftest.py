"""What the tests of models share: a scripted Messages server, and no proxy on the way to it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from importlib import import_module

import pytest

from september_engine.testing.messages_server import MessagesServer


@pytest.fixture(scope="session", autouse=True)
def sdk() -> None:
    """The SDK is large and stands for the rest: what collects garbage need not look at it each time."""
    import_module("anthropic").AsyncAnthropic  # noqa: B018 (it loads its parts when they are asked for)
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    async with MessagesServer() as running:
        yield running
