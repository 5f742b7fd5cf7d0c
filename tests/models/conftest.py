"""What the tests of models share: a scripted Messages server, and no proxy on the way to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from september_engine.testing.messages_server import MessagesServer


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
async def server() -> AsyncIterator[MessagesServer]:
    async with MessagesServer() as running:
        yield running
