"""Supervisor: every turn that lives in this process, from its reservation to its end; and what happens at boot.

One task hosts them all, so the engine may be opened in one task and closed in another.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Literal
from weakref import WeakSet

import anyio
import anyio.abc
import attrs

from .._turn.facts import Fact
from .._turn.inputs import Expired, Input, Interrupted, Resumed
from .._turn.limits import Limits
from .._turn.state import TurnState, fold
from ..errors import EngineError, Fenced, HitlRequired, TaskBusy
from ..store.base import Store, TaskRow
from .channel import Channel
from .effects import Resources
from .reader import Reader
from .runner import Runner
from .threads import Prefix, TurnRequest, plan_turn, read_turn, shown_blocks

__all__ = ["Supervisor", "Ticket"]

PULSE_SECONDS = 1.0
SWEEP_SECONDS = 60.0


class Ticket:
    """A turn's place: taken before anything is awaited, so that one task never has two turns."""

    def __init__(self, task_id: str, turn_id: str) -> None:
        self.task_id = task_id
        self.turn_id = turn_id
        self.runner: Runner | None = None
        self.error: EngineError | None = None
        self.opened = anyio.Event()
        self.closed = anyio.Event()

    @property
    def channel(self) -> Channel | None:
        return None if self.runner is None else self.runner.channel

    @property
    def over(self) -> bool:
        """The turn has nothing more to say, even if its tasks are still folding up."""
        return self.closed.is_set() or (self.channel is not None and self.channel.ended)


@attrs.define(kw_only=True)
class Supervisor:
    """The turns of one engine."""

    store: Store
    resources: Resources
    limits: Limits
    prefix: Prefix
    recovery: Literal["abandon", "resume"]
    ttl_active: float
    ttl_hitl: float
    accepting: bool = True
    live: dict[str, Ticket] = attrs.field(factory=dict)
    readers: WeakSet[Reader] = attrs.field(factory=WeakSet)
    _group: anyio.abc.TaskGroup | None = None

    async def run(self, *, ready: anyio.Event) -> None:
        """Host the turns until cancelled. `ready` is set when what the last process left open is settled."""
        async with anyio.create_task_group() as group:
            self._group = group
            await self._recover()
            group.start_soon(self._pulse)
            group.start_soon(self._sweep)
            ready.set()

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, request: TurnRequest) -> Ticket:
        """Reserve the task and start its turn. Raises `TaskBusy` or `HitlRequired` where one is open here already."""
        busy = self.live.get(request.task_id)
        if busy is not None and not busy.over:
            raise _busy(busy)
        ticket = self._seat(request.task_id, request.turn_id)
        self._spawn(ticket, self._open_turn(ticket, request, after=busy))
        return ticket

    async def _open_turn(self, ticket: Ticket, request: TurnRequest, *, after: Ticket | None) -> None:
        if after is not None:
            await after.closed.wait()
        row = await self._settled(request.task_id)
        now = self.resources.world.clock.now_ms()
        start = await plan_turn(self.store, row, request, now=now, limits=self.limits, prefix=self.prefix)
        row = row or TaskRow(task_id=request.task_id, epoch=0, last_ts=0, last_seq=0)
        await self._run(ticket, self._runner(row, request.turn_id, parent=start.parent), start)

    async def _settled(self, task_id: str) -> TaskRow | None:
        """The task's row with no open turn: one that a lost process left is closed first. Raises `HitlRequired`."""
        row = await self.store.task(task_id)
        if row is None or row.open_turn is None:
            return row
        facts = await read_turn(self.store, task_id, row.open_turn)
        state = fold(facts)
        if state.waiting_since is not None:
            raise _waiting(state)
        await self._runner(row, row.open_turn, parent=state.parent, facts=facts).run(
            Interrupted(now=self.resources.world.clock.now_ms())
        )
        return await self.store.task(task_id)

    def _runner(self, row: TaskRow, turn_id: str, *, parent: str | None, facts: list[Fact] | None = None) -> Runner:
        world = self.resources.world
        channel = Channel(store=self.store, clock=world.clock, crash=world.crash, row=row, turn_id=turn_id)
        return Runner(channel=channel, store=self.store, resources=self.resources, parent=parent, facts=facts or ())

    def _seat(self, task_id: str, turn_id: str) -> Ticket:
        ticket = self.live[task_id] = Ticket(task_id, turn_id)
        return ticket

    def _spawn(self, ticket: Ticket, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None
        self._group.start_soon(self._seated, ticket, work)

    async def _seated(self, ticket: Ticket, work: Coroutine[None, None, None]) -> None:
        """Nothing that goes wrong with one turn reaches another one."""
        try:
            await work
        except EngineError as error:
            ticket.error = error
        except Exception as error:
            ticket.error = EngineError(f"A fault inside the engine ({type(error).__name__}: {error}).")
        finally:
            if self.live.get(ticket.task_id) is ticket:
                del self.live[ticket.task_id]
            ticket.opened.set()
            ticket.closed.set()

    async def _run(self, ticket: Ticket, runner: Runner, first: Input | None) -> None:
        async with anyio.create_task_group() as group:
            ticket.runner = runner
            group.start_soon(_open_when_begun, ticket, runner)
            await runner.run(first)
        failure = runner.channel.failure
        if failure is not None and not runner.channel.claimed:
            taken = TaskBusy("Another process started a turn on this task.") if isinstance(failure, Fenced) else failure
            raise taken

    # ── turns that wait for a person ─────────────────────────────────────────────────────────────────────────────

    async def wake(self, task_id: str, first: Input | None) -> None:
        """Take up a turn that waits for a person and lives in no process, with what woke it, if that is known.

        Does nothing where there is no such turn. Returns when `first` was taken.
        """
        row = await self.store.task(task_id)
        if row is None or row.open_turn is None or task_id in self.live:
            return
        ticket = self._seat(task_id, row.open_turn)
        self._spawn(ticket, self._rouse(ticket, row, first))
        await ticket.opened.wait()
        if ticket.error is not None and ticket.runner is None:
            raise ticket.error

    async def _rouse(self, ticket: Ticket, row: TaskRow, first: Input | None) -> None:
        facts = await read_turn(self.store, row.task_id, ticket.turn_id)
        runner = self._runner(row, ticket.turn_id, parent=fold(facts).parent, facts=facts)
        await self._run(ticket, runner, first)

    # ── boot ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _recover(self) -> None:
        """Settle every turn that the last process left open, but for those that wait for a person."""
        for row in await self.store.open_tasks():
            if row.open_turn is None or row.waiting_since is not None:
                continue
            try:
                await self._recover_turn(row, row.open_turn)
            except EngineError:
                continue  # a task that cannot be read keeps its error for who asks for it; the others go on

    async def _recover_turn(self, row: TaskRow, turn_id: str) -> None:
        facts = await read_turn(self.store, row.task_id, turn_id)
        state = fold(facts)
        runner = self._runner(row, turn_id, parent=state.parent, facts=facts)
        now = self.resources.world.clock.now_ms()
        if self.recovery == "abandon":
            await runner.run(Interrupted(now=now))
            return
        blocks = await shown_blocks(self.store, row.task_id, turn_id, state.next_block)
        repeatable = [tool.name for tool in self.resources.tools.values() if tool.safe_to_repeat]
        ticket = self._seat(row.task_id, turn_id)
        self._spawn(ticket, self._run(ticket, runner, Resumed(now=now, blocks=blocks, repeatable=repeatable)))

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _pulse(self) -> None:
        clock = self.resources.world.clock
        while True:
            await clock.sleep(PULSE_SECONDS)
            for reader in list(self.readers):
                reader.pulse()

    async def _sweep(self) -> None:
        clock = self.resources.world.clock
        while True:
            await self.sweep()
            await clock.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Expire what nobody answered, and trim the events of turns that ended long ago. Harmless when repeated.

        A store that cannot write now is tried again at the next sweep.
        """
        now = self.resources.world.clock.now_ms()
        try:
            for row in await self.store.open_tasks():
                if row.waiting_since is not None and row.waiting_since + self.ttl_hitl * 1000 <= now:
                    await self._expire(row.task_id, now)
            while await self.store.trim(ended_before=round(now - self.ttl_active * 1000), limit=100) == 100:
                pass
        except EngineError:
            return

    async def _expire(self, task_id: str, now: int) -> None:
        ticket = self.live.get(task_id)
        if ticket is not None and ticket.runner is not None:
            await ticket.runner.tell(Expired(now=now))
        elif ticket is None:
            await self.wake(task_id, Expired(now=now))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def drain(self, seconds: float) -> None:
        """No new turns; wait for those that run, at most so long; then leave the rest to the next process."""
        self.accepting = False
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop_after, seconds, group.cancel_scope)
            for ticket in list(self.live.values()):
                if not _waits(ticket):
                    await ticket.closed.wait()
            group.cancel_scope.cancel()
        for ticket in list(self.live.values()):
            if ticket.runner is not None:
                ticket.runner.stop()
            await ticket.closed.wait()

    async def _stop_after(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self.resources.world.clock.sleep(seconds)
        scope.cancel()

    def stop_readers(self) -> None:
        """End every stream after what is committed."""
        for reader in list(self.readers):
            reader.stop()


async def _open_when_begun(ticket: Ticket, runner: Runner) -> None:
    await runner.begun.wait()
    ticket.opened.set()


def _waits(ticket: Ticket) -> bool:
    return ticket.runner is not None and ticket.runner.state.waiting_since is not None


def _busy(ticket: Ticket) -> EngineError:
    if ticket.runner is not None and ticket.runner.state.waiting_since is not None:
        return _waiting(ticket.runner.state)
    return TaskBusy(
        "A turn is already running on this task. Follow it with replay, cancel it, or wait for its end.",
        turn_id=ticket.turn_id,
    )


def _waiting(state: TurnState) -> HitlRequired:
    return HitlRequired(
        "The task waits for a person's answer. Answer the request or cancel the turn.",
        request_id=state.open_requests[0].id,
        turn_id=state.turn_id,
    )
