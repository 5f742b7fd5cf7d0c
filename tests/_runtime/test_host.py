"""Where an engine's turns live."""

from __future__ import annotations

import asyncio

import pytest

from september_engine._runtime.host import Host
from september_engine.errors import EngineClosed
from tests.engines import Bench


def test_it_knows_that_its_loop_has_ended_and_that_it_runs_elsewhere() -> None:
    host = Host()
    assert not (host.gone or host.elsewhere)
    first = asyncio.new_event_loop()
    engine = Bench().engine([])
    try:
        first.run_until_complete(engine.open())
        host = engine._host

        async def visit() -> None:
            assert host.elsewhere
            with pytest.raises(EngineClosed, match="another event loop"):
                host.check_loop()

        asyncio.run(visit())
        assert not host.gone
        first.run_until_complete(engine.aclose())
        assert not host.elsewhere
    finally:
        first.close()


async def test_stopping_is_harmless_when_repeated() -> None:
    host = Host()
    await host.stop()
    async with Bench().running([]) as engine:
        host = engine._host
    await host.stop()
    assert not host.gone
