"""Connections to a provider: known while they are open, and not kept by a child of a fork."""

from __future__ import annotations

import stat
import sys
from os import fstat
from pathlib import Path

import anyio

from september_engine import Engine, Settings
from september_engine.models.anthropic import AnthropicModel
from september_engine.store.memory import MemoryStore
from september_engine.testing.messages_server import MessagesServer, reply, text

from ..programs import environment

KEY = "sk-ant-very-secret"


async def test_the_connections_that_are_open_are_known(server: MessagesServer) -> None:
    server.add(reply(text("Hello")), reply(text("again")))
    model = AnthropicModel(api_key=KEY, base_url=server.url)
    assert model._connections.descriptors == []
    async with Engine(MemoryStore(), model=model, settings=Settings()) as engine:
        for _ in range(2):
            await engine.execute("Hi", task_id="t")
            [connection] = model._connections.descriptors
            assert stat.S_ISSOCK(fstat(connection).st_mode)
    await model.aclose()
    assert model._connections.descriptors == []


FORKS = """
import asyncio, os, socket, stat, sys
from september_engine import Engine, Settings
from september_engine.models.anthropic import AnthropicModel
from september_engine.store.memory import MemoryStore

def connected():
    found = 0
    for file in os.listdir("/dev/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(file)).st_mode):
                with socket.socket(fileno=os.dup(int(file))) as each:
                    found += each.family == socket.AF_INET
        except OSError:
            pass
    return found

async def main():
    model = AnthropicModel(api_key="k", base_url=sys.argv[1])
    async with Engine(MemoryStore(), model=model, settings=Settings()) as engine:
        await engine.execute("Hi", task_id="t")
        print(connected(), flush=True)
        if (child := os.fork()) == 0:
            print(connected(), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print((await engine.execute("Hi", task_id="t")).text)
    await model.aclose()

asyncio.run(main())
"""


async def test_a_child_of_a_fork_does_not_keep_them(server: MessagesServer, tmp_path: Path) -> None:
    server.add(reply(text("Hello")), reply(text("again")))
    done = await anyio.run_process(
        [sys.executable, "-c", FORKS, server.url], cwd=tmp_path, env=environment(), check=False
    )
    assert done.stdout.split() == [b"1", b"0", b"again"], done.stderr
