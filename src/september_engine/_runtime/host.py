"""Host: the task in which an engine's turns live, and the event loop that it is bound to."""

from __future__ import annotations

import asyncio

import anyio

from ..errors import EngineClosed
from .supervisor import Supervisor

__all__ = ["Host"]


class Host:
    """Where a supervisor runs, from `start` to `stop`."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def start(self, supervisor: Supervisor) -> None:
        """Run it in a task of its own; returns when what the last process left is settled. Raises what that raises."""
        ready = anyio.Event()
        self._task = asyncio.create_task(supervisor.run(ready=ready), name="september-engine")
        self._task.add_done_callback(lambda task: ready.set())
        await ready.wait()
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """End it and wait for its end. Harmless when repeated, and where its event loop has ended."""
        gone, task, self._task = self.gone, self._task, None
        if task is not None and not gone:
            task.cancel()
            await asyncio.wait((task,))

    @property
    def gone(self) -> bool:
        """The event loop that it was started in has ended, and everything that ran in it."""
        return self._task is not None and self._task.get_loop().is_closed()

    @property
    def elsewhere(self) -> bool:
        """It runs in another event loop than the caller."""
        here = asyncio._get_running_loop()
        return self._task is not None and not self.gone and here not in (None, self._task.get_loop())

    def check(self) -> None:
        """Raises `EngineClosed` in another event loop."""
        if self.elsewhere:
            raise EngineClosed("The engine was opened in another event loop, which still runs: use and close it there.")
