"""Host: the one task that all turns of an engine run in, and the event loop that it belongs to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from .._home import Home, running_loop
from ..errors import EngineClosed, ShuttingDown
from .health import Health, health_of
from .supervisor import Supervisor

__all__ = ["Host"]


class _Stay:
    """The time that an engine spends in one event loop; `callers` are opening or closing it there now."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.home = Home(loop)
        self.gate = asyncio.Lock()
        self.callers = 0


class Host:
    """Where a supervisor runs. `supervisor` is None before `start` and after `stop`.

    The task is its own, so an engine may be opened in one task and closed in another.
    """

    def __init__(self) -> None:
        self.supervisor: Supervisor | None = None
        self.task: asyncio.Task[None] | None = None
        self.home: Home | None = None
        """Of what was opened last; it knows why another engine ended that, where one did."""
        self._stay: _Stay | None = None
        self._entrance = threading.Lock()
        self._started_at = 0.0

    @asynccontextmanager
    async def settling(self) -> AsyncIterator[None]:
        """Open or close it, one caller at a time. The first caller's event loop becomes the engine's.

        Raises `WrongLoop` where another loop has it, which has not ended. Cancelling is harmless.
        """
        if self._stay is not None:
            self._stay.home.check_process()
        loop = running_loop()
        with self._entrance:  # two threads may come at once, each with a loop of its own
            if self._stay is None or self._stay.home.loop_ended:
                self._stay = _Stay(loop)
            self._stay.home.check_loop()
            stay = self._stay
            stay.callers += 1
        try:
            async with stay.gate:
                yield
        finally:
            with self._entrance:
                stay.callers -= 1
                if not stay.callers and self.task is None and self._stay is stay:
                    self._stay = None

    async def start(self, supervisor: Supervisor, *, keeps: object = None) -> None:
        """Run it until `stop`; returns when what the last process left is settled. Raises what that raises.

        `keeps` lives as long as it runs: an engine that has no name any more can still be found, and closed.

        Where it raises or is cancelled, `stop` is still to be called.
        """
        ready = anyio.Event()
        self.task = asyncio.create_task(supervisor.run(ready=ready), name="september-engine")
        self.task.add_done_callback(lambda task, keeps=keeps: ready.set())  # type: ignore[misc]
        await ready.wait()
        if self.task.done():
            await self.task
        self._started_at = supervisor.resources.world.clock.monotonic()
        self.supervisor = supervisor

    async def stop(self) -> None:
        """End everything that runs in it. Harmless when repeated, and where the event loop has ended."""
        gone, task, supervisor = self.gone, self.task, self.supervisor
        self.task, self.supervisor = None, None
        if task is not None and not gone:
            task.cancel()
            await asyncio.wait((task,))
        if supervisor is not None:
            supervisor.home.closed = True

    async def drain(self, seconds: float) -> None:
        """Let turns end for so long, then stop them and every reader. Raises `EngineClosed` in another event loop."""
        self.check_loop()
        supervisor = self.supervisor
        if supervisor is not None and not self.gone:
            await supervisor.drain(seconds)
            supervisor.stop_readers()

    def stop_readers(self) -> None:
        """End every stream after what is committed. Any thread may call it."""
        supervisor, task = self.supervisor, self.task
        if supervisor is None or task is None or self.gone:
            return
        if self.elsewhere:
            task.get_loop().call_soon_threadsafe(supervisor.stop_readers)
        else:
            supervisor.stop_readers()

    @property
    def because(self) -> str | None:
        """Why another engine ended this one, where that is so."""
        return None if self.home is None else self.home.because

    @property
    def running(self) -> Supervisor:
        """The supervisor, for use in its event loop. Raises `EngineClosed`, and `WrongLoop` anywhere else."""
        supervisor = self.opened
        self.check_loop()
        return supervisor

    @property
    def opened(self) -> Supervisor:
        """The supervisor, to be looked at from anywhere. Raises `EngineClosed`."""
        if self.supervisor is None or self.gone or self.because is not None:
            raise EngineClosed(
                self.because
                or "The engine is not open, or the event loop it was opened in has ended: use "
                "`async with Engine(…) as engine:` or `await engine.open()`, and stay in that loop."
            )
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
    def forked(self) -> bool:
        """It runs in the process that this one was forked from."""
        return self._stay is not None and self._stay.home.forked

    @property
    def elsewhere(self) -> bool:
        """It lives in an event loop that has not ended, and the caller is in another one, or in none."""
        home = None if self._stay is None else self._stay.home
        return home is not None and not home.loop_ended and asyncio._get_running_loop() is not home.loop

    def check_loop(self) -> None:
        """Raise `WrongLoop` in another event loop than the engine's and where none runs, `EngineClosed` in a child."""
        if self._stay is not None:
            self._stay.home.check_process()
        running_loop()
        if self.elsewhere and self._stay is not None:
            if self.because is not None:
                raise EngineClosed(self.because)
            self._stay.home.check_loop()

    async def health(self) -> Health:
        """Whether a turn could be taken now. Never raises."""
        if self.supervisor is None or self.because is not None or self.gone or self.forked or self.elsewhere:
            return Health(status="closed", uptime_seconds=0.0, subsystems={})
        return await health_of(self.supervisor, opened_at=self._started_at)
