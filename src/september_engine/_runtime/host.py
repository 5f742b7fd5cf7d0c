"""Host: the one task that all turns of an engine run in, and the event loop that it belongs to."""

from __future__ import annotations

import asyncio

import anyio

from ..errors import EngineClosed, ShuttingDown
from .health import Health, health_of
from .supervisor import Supervisor

__all__ = ["Host"]


class Host:
    """Where a supervisor runs. `supervisor` is None before `start` and after `stop`.

    The task is its own, so an engine may be opened in one task and closed in another.
    """

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None
        self.task: asyncio.Task[None] | None = None
        self._started_at = 0.0

    async def start(self, supervisor: Supervisor) -> None:
        """Run it until `stop`; returns when what the last process left is settled. Raises what that raises.

        Where it raises or is cancelled, `stop` is still to be called.
        """
        ready = anyio.Event()
        self.task = asyncio.create_task(supervisor.run(ready=ready), name="september-engine")
        self.task.add_done_callback(lambda task: ready.set())
        await ready.wait()
        if self.task.done():
            await self.task
        self._started_at = supervisor.resources.world.clock.monotonic()
        self.supervisor = supervisor

    async def stop(self) -> None:
        """End everything that runs in it. Harmless when repeated, and where the event loop has ended."""
        gone, task, self.task, self.supervisor = self.gone, self.task, None, None
        if task is not None and not gone:
            task.cancel()
            await asyncio.wait((task,))

    async def drain(self, seconds: float) -> None:
        """Let turns end for so long, then stop them and every reader. Raises `EngineClosed` in another event loop."""
        self.check_loop()
        supervisor = self.supervisor
        if supervisor is not None and not self.gone:
            await supervisor.drain(seconds)
            supervisor.stop_readers()

    def stop_readers(self) -> None:
        """End every stream after what is committed."""
        if self.supervisor is not None:
            self.supervisor.stop_readers()

    @property
    def running(self) -> Supervisor:
        """The supervisor, for use in its event loop. Raises `EngineClosed`."""
        if self.supervisor is None or self.gone:
            raise EngineClosed(
                "The engine is not open, or the event loop it was opened in has ended: use "
                "`async with Engine(…) as engine:` or `await engine.open()`, and stay in that loop."
            )
        self.check_loop()
        return self.supervisor

    @property
    def accepting(self) -> Supervisor:
        """The supervisor, for a new turn. Raises `EngineClosed`, while turns are drained too."""
        supervisor = self.running
        if not supervisor.accepting:
            raise ShuttingDown("The engine is shutting down and takes no new turns. Send the message again later.")
        return supervisor

    @property
    def gone(self) -> bool:
        """The event loop that the engine was opened in has ended, and everything that ran in it."""
        return self.task is not None and self.task.get_loop().is_closed()

    @property
    def elsewhere(self) -> bool:
        """It runs in another event loop than the caller."""
        here = asyncio._get_running_loop()
        return self.task is not None and not self.gone and here not in (None, self.task.get_loop())

    def check_loop(self) -> None:
        """Raise `EngineClosed` in another event loop than the one that still runs."""
        if self.elsewhere:
            raise EngineClosed("The engine was opened in another event loop, which still runs: use and close it there.")

    async def health(self) -> Health:
        """Whether a turn could be taken now. Never raises."""
        if self.supervisor is None or self.gone or self.elsewhere:
            return Health(status="closed", uptime_seconds=0.0, subsystems={})
        return await health_of(self.supervisor, opened_at=self._started_at)
