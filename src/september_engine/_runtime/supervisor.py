"""Supervisor: every turn that lives in this process, from its reservation to its end; and what happens at boot.

One task hosts them all, so the engine may be opened in one task and closed in another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Literal
from weakref import WeakSet

import anyio
import anyio.abc
import attrs

from .._context.causes import kind_of
from .._home import Home, running_loop
from .._memory.records import Memory
from .._output import Output
from .._turn.facts import Fact
from .._turn.inputs import Expired, Input, Interrupted, Resumed
from .._turn.limits import Limits
from .._turn.state import fold
from ..errors import EngineError, Fenced, TaskBusy
from ..store.base import Store, TaskRow
from .channel import Channel
from .media import Taken
from .reader import PULSE_SECONDS, Reader
from .remembering import forgetting
from .resources import Resources
from .runner import Runner
from .threads import Prefix, TurnRequest, plan_turn, read_turn, shown_blocks
from .tickets import Ticket, busy_error, closed_error, waiting_error

__all__ = ["Supervisor"]

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 60.0
"""How often expiry is looked at; more often where a lifetime is shorter than a few of these."""


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
    stopping: bool = False
    live: dict[str, Ticket] = attrs.field(factory=dict)
    readers: WeakSet[Reader] = attrs.field(factory=WeakSet)
    unwritten: dict[str, tuple[str, EngineError]] = attrs.field(factory=dict)
    """Turns whose end could not be written, by task: readers were told why, and a later replay tells the same."""
    home: Home = attrs.field(factory=lambda: Home(running_loop()))
    """The event loop that all of it belongs to: the one it is made in."""
    _group: anyio.abc.TaskGroup | None = None

    async def run(self, *, ready: anyio.Event) -> None:
        """Host the turns until cancelled. `ready` is set when what the last process left open is settled."""
        left_open = await self.store.open_tasks()
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                await self._recover(left_open)
                group.start_soon(self._pulse)
                group.start_soon(self._sweep)
                if self.resources.remembering is not None:
                    group.start_soon(self.resources.remembering.run)
                ready.set()
        finally:
            self._group = None

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, request: TurnRequest) -> Ticket:
        """Reserve the task and start its turn. Raises `TaskBusy` or `HitlRequired` where one is open here already."""
        busy = self.live.get(request.task_id)
        if busy is not None and not busy.over and not busy.quiet:
            raise busy_error(busy)
        ticket = self._seat(request.task_id, request.turn_id, quiet=request.kind == "note")
        self._spawn(ticket, self._open_turn(ticket, request, after=busy))
        return ticket

    async def _open_turn(self, ticket: Ticket, request: TurnRequest, *, after: Ticket | None) -> None:
        if after is not None:
            await after.closed.wait()
        media: Taken | None = None
        if self.stopping:
            raise closed_error(self.home.because)
        with anyio.CancelScope() as ticket.reading:
            media = await self.resources.attachments.take(request.task_id, request.media, "media")
        if media is None:
            raise closed_error(self.home.because)
        row = await self._settled(request.task_id)
        now = self.resources.world.clock.now_ms()
        shared = self.resources
        start = await plan_turn(
            self.store,
            row,
            request,
            media,
            now=now,
            limits=shared.limits_of(request.limits or self.limits),
            prefix=self.prefix,
            recent=shared.recent,
            planner=shared.planner is not None,
        )
        row = row or TaskRow(task_id=request.task_id, epoch=0, last_ts=0, last_seq=0)
        runner = self._runner(row, request.turn_id, parent=start.parent, begun=ticket.opened, output=request.output)
        await self._run(ticket, runner, start)

    async def _settled(self, task_id: str) -> TaskRow | None:
        """The task's row with no open turn: one that was lost is closed first. Raises `HitlRequired`."""
        row = await self.store.task(task_id)
        if row is None or row.open_turn is None:
            self.unwritten.pop(task_id, None)
            return row
        facts = await read_turn(self.store, task_id, row.open_turn)
        state = fold(facts)
        if state.waiting_since is not None:
            raise waiting_error(state)
        runner = self._runner(row, row.open_turn, parent=state.parent, facts=facts)
        await runner.run(self._interrupted(task_id, row.open_turn))
        if runner.channel.failure is not None:
            raise runner.channel.failure
        self.unwritten.pop(task_id, None)
        return await self.store.task(task_id)

    def _interrupted(self, task_id: str, turn_id: str) -> Interrupted:
        now = self.resources.world.clock.now_ms()
        lost_turn, error = self.unwritten.get(task_id, ("", None))
        if error is None or lost_turn != turn_id:
            return Interrupted(now=now)
        return Interrupted(now=now, code=error.code, message=error.message)

    def _runner(
        self,
        row: TaskRow,
        turn_id: str,
        *,
        parent: str | None,
        facts: Sequence[Fact] = (),
        begun: anyio.Event | None = None,
        output: Output[Any] | None = None,
    ) -> Runner:
        world = self.resources.world
        channel = Channel(store=self.store, clock=world.clock, crash=world.crash, row=row, turn_id=turn_id)
        return Runner(
            channel=channel,
            store=self.store,
            resources=self.resources,
            parent=parent,
            facts=facts,
            begun=begun,
            output=output,
        )

    def _seat(self, task_id: str, turn_id: str, *, quiet: bool = False) -> Ticket:
        ticket = self.live[task_id] = Ticket(task_id, turn_id, quiet=quiet)
        return ticket

    def _unseat(self, ticket: Ticket) -> None:
        if self.live.get(ticket.task_id) is ticket:
            del self.live[ticket.task_id]
        ticket.opened.set()
        ticket.closed.set()

    def _spawn(self, ticket: Ticket, work: Coroutine[None, None, None]) -> None:
        if self._group is None:
            work.close()
            self._unseat(ticket)
            raise closed_error(self.home.because)
        if asyncio.current_task() is None:  # a callback of the loop, or a line at the prompt of `python -m asyncio`
            asyncio.get_running_loop().create_task(self._spawn_in_task(ticket, work))
        else:
            self._group.start_soon(self._seated, ticket, work)

    async def _spawn_in_task(self, ticket: Ticket, work: Coroutine[None, None, None]) -> None:
        """anyio starts a task only for a task. What keeps it from starting is raised by the first use of the turn."""
        try:
            self._spawn(ticket, work)
        except EngineError as error:
            ticket.error = error

    async def _seated(self, ticket: Ticket, work: Coroutine[None, None, None]) -> None:
        """Nothing that goes wrong with one turn reaches another one."""
        try:
            await work
        except EngineError as error:
            ticket.error = error
        except Exception as error:
            logger.error("A fault inside the engine stopped a turn of task %r.", ticket.task_id, exc_info=error)
            ticket.error = EngineError(f"A fault inside the engine ({kind_of(error)}). Its log has more.")
            ticket.error.__cause__ = error
        finally:
            if ticket.runner is None and ticket.error is None and not ticket.closed.is_set():
                ticket.error = closed_error(self.home.because)
            self._unseat(ticket)

    async def _run(self, ticket: Ticket, runner: Runner, first: Input | None) -> None:
        if self.stopping:
            raise closed_error(self.home.because)
        if not self.accepting:
            runner.leave()
        ticket.runner = runner
        await runner.run(first)
        failure = runner.channel.failure
        if runner.channel.last_words and failure is not None:
            self.unwritten[ticket.task_id] = (ticket.turn_id, failure)
        if failure is not None and not runner.channel.claimed:
            taken = TaskBusy("Another process started a turn on this task.") if isinstance(failure, Fenced) else failure
            raise taken

    # ── turns that are open ──────────────────────────────────────────────────────────────────────────────────────

    async def attend(self, task_id: str) -> Ticket | None:
        """The place of the turn that is open, once it has begun; None where there is none.

        A turn that waits for a person and lives in no process is taken up, unless the engine is shutting down.
        """
        while True:
            ticket = self.live.get(task_id)
            if ticket is None:
                row = await self.store.task(task_id)
                if task_id in self.live:
                    continue
                if row is None or row.open_turn is None or row.waiting_since is None or not self.accepting:
                    return None
                ticket = self._seat(task_id, row.open_turn)
                self._spawn(ticket, self._rouse(ticket))
                await ticket.opened.wait()
                if ticket.error is not None:
                    raise ticket.error
            await ticket.opened.wait()
            if ticket.runner is not None and not ticket.over:
                return ticket
            await ticket.closed.wait()

    async def _rouse(self, ticket: Ticket) -> None:
        row = await self.store.task(ticket.task_id)
        if row is None or row.open_turn != ticket.turn_id or row.waiting_since is None:
            self._unseat(ticket)  # it was taken by an index that was old when it came
            return
        facts = await read_turn(self.store, row.task_id, ticket.turn_id)
        runner = self._runner(row, ticket.turn_id, parent=fold(facts).parent, facts=facts, begun=ticket.opened)
        await self._run(ticket, runner, None)

    async def cancel(self, task_id: str) -> bool:
        """Stop the open turn and wait for its end; False where there was none. Raises what the store raised."""
        ticket = await self.attend(task_id)
        if ticket is None or ticket.runner is None:
            return await self._settle(task_id)
        ticket.runner.cancel()
        await ticket.closed.wait()
        if ticket.runner.channel.failure is not None:
            raise ticket.runner.channel.failure
        return True

    async def delete(self, task_id: str) -> bool:
        """Remove the task, after cancelling its turn; nobody can start another one meanwhile.

        A turn that cannot be read or ended well is no reason to keep it: deleting is the way out of damage.
        """
        while True:
            with suppress(EngineError):
                await self.cancel(task_id)
            if (other := self.live.get(task_id)) is None:
                break
            await other.closed.wait()
        ticket = self._seat(task_id, "")
        try:
            self.resources.recent.drop(task_id)
            self.resources.attachments.drop(task_id)
            self.unwritten.pop(task_id, None)
            async with forgetting(self.resources.erasing, task_id):
                return await self.store.delete(task_id)
        finally:
            self._unseat(ticket)

    def unquote(self, task_id: str, memories: Sequence[Memory]) -> None:
        """Have the turn of this task that runs, if one does, forget memories that are being erased."""
        ticket = self.live.get(task_id)
        if ticket is not None and ticket.runner is not None:
            ticket.runner.unquote(memories)

    async def _settle(self, task_id: str) -> bool:
        """Close a turn that no process runs, because the log could not be written at the time."""
        row = await self.store.task(task_id)
        if row is None or row.open_turn is None or row.waiting_since is not None or task_id in self.live:
            return False
        ticket = self._seat(task_id, row.open_turn)
        try:
            await self._settled(task_id)
        finally:
            self._unseat(ticket)
        return True

    # ── boot ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _recover(self, left_open: Sequence[TaskRow]) -> None:
        """Settle every turn that the last process left open, but for those that wait for nothing but a person."""
        for row in left_open:
            if row.open_turn is None or row.waiting_since is not None:
                continue
            try:
                await self._recover_turn(row, row.open_turn)
            except EngineError:
                continue  # a task that cannot be read keeps its error for whoever asks for it; the others go on

    async def _recover_turn(self, row: TaskRow, turn_id: str) -> None:
        facts = await read_turn(self.store, row.task_id, turn_id)
        state = fold(facts)
        now = self.resources.world.clock.now_ms()
        # whom a person is asked to answer is kept, whatever else was under way: the question is out
        if self.recovery == "abandon" and not state.open_requests:
            await self._runner(row, turn_id, parent=state.parent, facts=facts).run(Interrupted(now=now))
            return
        blocks = await shown_blocks(self.store, row.task_id, turn_id, state.next_block)
        repeatable = [tool.name for tool in self.resources.tools.values() if tool.safe_to_repeat]
        ticket = self._seat(row.task_id, turn_id)
        runner = self._runner(row, turn_id, parent=state.parent, facts=facts, begun=ticket.opened)
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
        seconds = max(min(SWEEP_SECONDS, self.ttl_active / 4, self.ttl_hitl / 4), PULSE_SECONDS)
        while True:
            await self.sweep()
            await clock.sleep(seconds)

    async def sweep(self) -> None:
        """Expire what nobody answered, close what was lost, and trim the events of turns that ended long ago.

        Harmless when repeated. What the store cannot do now is tried again at the next sweep.
        """
        now = self.resources.world.clock.now_ms()
        with suppress(Exception):  # whatever one task or a store does, the turns of this engine go on
            for row in await self.store.open_tasks():
                with suppress(Exception):
                    await self._look_after(row, now)
            while await self.store.trim(ended_before=round(now - self.ttl_active * 1000), limit=100) == 100:
                pass

    async def _look_after(self, row: TaskRow, now: int) -> None:
        if row.waiting_since is None:
            await self._settle(row.task_id)
        elif row.waiting_since + self.ttl_hitl * 1000 <= now:
            ticket = await self.attend(row.task_id)
            if ticket is not None and ticket.runner is not None:
                if ticket.runner.state.waiting_since == row.waiting_since:
                    await ticket.runner.tell(Expired(now=now))

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def drain(self, seconds: float) -> None:
        """No new turns; wait for those that run, at most so long; then leave the rest to the next process.

        Those that wait for a person are left at once.
        """
        self.accepting = False
        for ticket in list(self.live.values()):
            if ticket.runner is not None:
                ticket.runner.leave()
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop_after, seconds, group.cancel_scope)
            for ticket in list(self.live.values()):
                await ticket.closed.wait()
            if self.resources.remembering is not None:
                await self.resources.remembering.settled()
            group.cancel_scope.cancel()
        self.stopping = True
        for ticket in list(self.live.values()):
            if ticket.runner is not None:
                ticket.runner.stop()
            if ticket.reading is not None:
                ticket.reading.cancel()  # a file on a disk that does not answer would hold up the end
        for ticket in list(self.live.values()):
            await ticket.closed.wait()

    async def _stop_after(self, seconds: float, scope: anyio.CancelScope) -> None:
        await self.resources.world.clock.sleep(seconds)
        scope.cancel()

    def stop_readers(self) -> None:
        """End every stream after what is committed."""
        for reader in list(self.readers):
            reader.stop()
