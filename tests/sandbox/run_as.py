"""Runs one command in a sandbox as another user; prints the outcome.

python -m tests.sandbox.run_as SANDBOX USER PYTHON COMMAND [LIMIT=NUMBER]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import anyio
import msgspec

from .backends import bash_job
from .world import become, sandbox_named


async def run(name: str, python: str, command: str, *limits: str) -> None:
    sandbox = sandbox_named(name, python)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        numbers = {key: int(number) for key, number in (limit.split("=") for limit in limits)}
        outcome = await sandbox.run(bash_job(command, Path(folder), **numbers))
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


if __name__ == "__main__":
    anyio.run(anyio.sleep, 0)
    msgspec.json.encode(None)
    become(sys.argv[2])
    asyncio.run(run(sys.argv[1], *sys.argv[3:]))
