"""Runner: the loop that obeys one turn's core.

Start what is owed and not in flight; wait for one input; decide; append the facts and the events they present in one
transaction; fold; again. The loop belongs to the engine, never to a reader.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

import anyio
from msgspec.structs import replace

from .._context.causes import kind_of
from .._memory.records import Memory
from .._output import Output
from .._turn.commands import CallModel, Command, Compact, MakePlan, RunTool, todo
from .._turn.decide import decide
from .._turn.facts import Fact, TurnStarted
from .._turn.inputs import (
    Broken,
    Cancelled,
    Input,
    ModelFailed,
    ModelReplied,
    OutOfTime,
    PlanFailed,
    Planned,
    Summarised,
    ToolReturned,
    ToolsStarting,
)
from .._turn.present import present
from .._turn.quotes import unquoted
from .._turn.results import has_result, pieces_of
from .._turn.standing import standing
from .._turn.state import TurnState, evolve, fold, remembered
from ..errors import EngineError
from ..events import Event
from ..permissions import Effect
from ..store.base import Blob, Store, TurnRow
from .channel import Channel
from .compacting import Compaction
from .effects import ModelCall
from .letters import Cancel, Flight, Leave, Letter, Stop
from .planner import PlanCall
from .recall import bring_to_mind
from .resources import Resources
from .stopwatch import Stopwatch, worked
from .threads import Thread, left_by, read_thread
from .tool_calls import run_tool

__all__ = ["Runner"]

logger = logging.getLogger(__name__)

_End = TypeVar("_End", bound=Cancelled | OutOfTime | Broken)

MODEL = "model"
"""The key of the one flight that asks a model: for an answer, a plan or a summary. A tool's key is its call id."""

RETURNS = (ModelReplied, ModelFailed, Planned, PlanFailed, Summarised, ToolReturned)
"""What comes back from an effect."""


class Runner:
    """One turn, from an input to its end.

    `facts` are those of the turn so far (none for a new one); `begun` is set once the first input is durable.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        store: Store,
        resources: Resources,
        parent: str | None,
        facts: Sequence[Fact] = (),
        begun: anyio.Event | None = None,
        output: Output[Any] | None = None,
    ) -> None:
        self.channel = channel
        self._store = store
        self._resources = resources
        self._parent = parent
        self.output = output
        self._thread: Thread | None = None
        self._facts = list(facts)
        self._erased: list[Memory] = []
        self._flights: dict[str, Flight] = {}
        self._shown: list[str] = []
        self._call: ModelCall | PlanCall | Compaction | None = None
        self._inbox: list[Letter] = []
        self._arrived = anyio.Event()
        self._stopwatch = Stopwatch(resources.world.clock, worked=worked(facts, channel.row.last_ts))
        self._leaving = False
        self.begun = begun or anyio.Event()
        self.ended = anyio.Event()
        self.state = fold(facts)
        channel.message_id = self.state.message_id
        self._stopwatch.note(waits=self.state.waiting_since is not None)

    @property
    def facts(self) -> Sequence[Fact]:
        """The facts of the turn so far, as the log has them."""
        return self._facts

    @property
    def saying(self) -> str:
        """What of the answer under way has been shown; "" between two."""
        return "".join(self._shown)

    async def tell(self, item: Input) -> Sequence[Fact]:
        """Tell the turn something and wait for the facts that follow; () where it was stale or the turn is over.

        Cancelling stops the wait; the input is taken all the same.
        """
        letter = self._put(item)
        while not letter.read.is_set() and not self.ended.is_set():
            async with anyio.create_task_group() as group:
                for event in (letter.read, self.ended):
                    group.start_soon(_then_cancel, event, group.cancel_scope)
        return letter.facts

    def unquote(self, memories: Sequence[Memory]) -> None:
        """Forget what this turn was told of these memories, and what it may still make of it."""
        self._erased += memories
        if self._thread is not None:
            self._thread.facts = unquoted(self._thread.facts, memories)
        self._facts = self._unquoted(self._facts)

    def _unquoted(self, facts: Sequence[Fact]) -> list[Fact]:
        """These facts, which follow on those of the thread and of the turn so far."""
        before = [] if self._thread is None else self._thread.facts
        mine = [] if facts is self._facts else self._facts
        return unquoted([*before, *mine, *facts], self._erased)[len(before) + len(mine) :]

    def cancel(self) -> None:
        """End the turn: what was shown stays, every call gets a result."""
        self._put(Cancel())

    def stop(self) -> None:
        """Leave the turn as it is in the log, as a crash would; what is in flight is cancelled."""
        self._put(Stop())

    def leave(self) -> None:
        """Stop when the turn waits for nothing but a person: that pause needs no process."""
        self._put(Leave())

    def _put(self, item: Input | Stop | Leave | Cancel) -> Letter:
        letter = Letter(item)
        self._inbox.append(letter)
        self._arrived.set()
        return letter

    async def run(self, first: Input | None) -> None:
        """Take the first input, if any, and go on until the turn ends, the store fails or `stop` is called."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._write)
                group.start_soon(self._watch)
                await self._loop(first, group)
                group.cancel_scope.cancel()
        finally:
            self.channel.close()
            self._keep_thread()
            self.begun.set()
            self.ended.set()

    async def _write(self) -> None:
        """A log that cannot be written ends the turn at once, not when the model has finished for nothing."""
        await self.channel.run()
        if self.channel.failure is not None:
            self._put(Stop())

    async def _loop(self, first: Input | None, group: anyio.abc.TaskGroup) -> None:
        try:
            if first is None:
                self.begun.set()
            letter = await self._next() if first is None else Letter(first)
            while not isinstance(letter.item, Stop):
                letter.facts = await self._take(letter.item)
                letter.read.set()
                self.begun.set()
                if self.state.status != "running":
                    return
                if self._leaving and self.state.waiting_since is not None:
                    break
                await self._obey(group)
                if self.state.status != "running":
                    return
                letter = await self._next()
            await self._land()
        except EngineError:
            await self._land()  # the channel has told its readers; what the log holds is closed at the next start
        except Exception as error:
            await self._land()
            await self._give_up(error)

    async def _give_up(self, error: Exception) -> None:
        """A fault of ours ends the turn as an error that a client can read, never as silence."""
        try:
            await self._decide(self._fault(error))
        except EngineError:
            return

    def _fault(self, error: Exception) -> Broken:
        """What happened goes into the program's log, where there is one; clients get its kind and where to look."""
        turn_id, task_id = self.channel.turn_id, self.channel.row.task_id
        logger.error("A fault inside the engine ended turn %s of task %r.", turn_id, task_id, exc_info=error)
        message = f"A fault inside the engine ended the turn ({kind_of(error)}). The log has more under its id."
        return Broken(now=self._now(), code="INTERNAL_ERROR", message=message, details={"id": turn_id})

    async def _next(self) -> Letter:
        while not self._inbox:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        return self._inbox.pop(0)

    async def _take(self, item: Input | Leave | Cancel) -> Sequence[Fact]:
        match item:
            case ModelReplied() | ModelFailed() | Planned() | PlanFailed() | Summarised():
                self._flights.pop(MODEL, None)
                self._shown, self._call = [], None
            case ToolReturned():
                self._flights.pop(item.tool_call_id, None)
            case OutOfTime() | Broken():
                await self._come_down()
                item = self._costing(item)
            case Cancel():
                return await self._cancel()
            case Leave():
                self._leaving = True
                return ()
            case _:
                pass
        return await self._decide(item)

    async def _cancel(self) -> Sequence[Fact]:
        await self._come_down()
        message_id, text = self._resources.world.ids("msg_"), "".join(self._shown)
        return await self._decide(self._costing(Cancelled(now=self._now(), message_id=message_id, text=text)))

    def _costing(self, end: _End) -> _End:
        """With what the attempt cost that was under way, as far as its provider had said."""
        return end if self._call is None else replace(end, usage=self._call.usage, cost_usd=self._call.cost_usd)

    async def _come_down(self) -> None:
        """Before an end from outside. What had come back by then counts: it may be an answer that was seen in full."""
        await self._land()
        arrived = [one for one in self._inbox if isinstance(one.item, RETURNS)]
        self._inbox = [one for one in self._inbox if one not in arrived]
        for letter in arrived:
            letter.facts = await self._take(letter.item)  # type: ignore[arg-type]  # no stop is among them
            letter.read.set()

    async def _decide(self, item: Input) -> Sequence[Fact]:
        facts = decide(self.state, item)
        if not facts:
            return ()
        if self._erased:
            facts = self._unquoted(facts)
        events: list[Event] = []
        state = self.state
        for fact in facts:
            events += present(state, fact)
            state = evolve(state, fact)

        def landed() -> None:
            self._facts += facts
            self._stopwatch.note(waits=state.waiting_since is not None)
            self.state = state
            self.channel.message_id = state.message_id
            if state.status != "running" and self._resources.remembering is not None:
                self._resources.remembering.went_on(state.task_id)

        row = self._turn_row(state, facts)
        bodies = {**item.blobs, **pieces_of(item, facts)}
        blobs = [Blob(sha256=sha256, body=body) for sha256, body in bodies.items()]
        await self.channel.append(facts, events, standing=standing(state), turn=row, blobs=blobs, landed=landed)
        return facts

    def _turn_row(self, state: TurnState, facts: Sequence[Fact]) -> TurnRow | None:
        """The turn's own row, where these facts begin or end it."""
        began = facts[0] if isinstance(facts[0], TurnStarted) else None
        ended = state.status != "running"
        if began is None and not ended:
            return None
        first = began or next(fact for fact in self._facts if isinstance(fact, TurnStarted))
        return TurnRow(
            turn_id=state.turn_id,
            parent=state.parent,
            message_id=state.message_id,
            started_at=first.at,
            ended_at=facts[-1].at if ended else None,
        )

    async def _obey(self, group: anyio.abc.TaskGroup) -> None:
        """Start what is owed. Where a call may not run any more, its result is there at once, and more may be owed."""
        while self.state.status == "running" and (commands := self._owed()):
            verdicts: dict[str, str | tuple[Effect, ...]] = {}
            if starting := [command for command in commands if isinstance(command, RunTool)]:
                verdicts = await self._verdicts(starting)
                refused = {call_id: said for call_id, said in verdicts.items() if isinstance(said, str)}
                ids = [command.id for command in starting]
                await self._decide(ToolsStarting(now=self._now(), tool_call_ids=ids, refused=refused))
            running = {call.id for call in self.state.calls if call.status == "running"}
            for command in commands:
                if isinstance(command, RunTool):
                    granted = verdicts[command.id]
                    if command.id not in running or isinstance(granted, str):
                        continue
                    command = replace(command, granted=granted)
                self._flights[_key(command)] = flight = Flight()
                group.start_soon(self._fly, command, flight)

    async def _verdicts(self, commands: Sequence[RunTool]) -> dict[str, str | tuple[Effect, ...]]:
        """By call: what is opened for it, or why it may not run by the rules of now; a yes does not outrank a rule."""
        rules = remembered([*(await self._ancestors()).facts, *self._facts])
        return {one.id: self._resources.verdict(one, rules, self.state.approval(one.id)) for one in commands}

    def _owed(self) -> list[Command]:
        owed = todo(self.state, concurrency=self._resources.concurrency)
        return [command for command in owed if _key(command) not in self._flights]

    async def _fly(self, command: Command, flight: Flight) -> None:
        shared, task_id = self._resources, self.channel.row.task_id
        try:
            with flight.scope:
                match command:
                    case CallModel():
                        facts, output = await self._recalled(), self.output
                        call = ModelCall(command, facts=facts, channel=self.channel, resources=shared, output=output)
                        self._shown, self._call = call.text, call
                        self._put(await call.run())
                    case MakePlan():
                        facts = await self._recalled()
                        planning = PlanCall(command=command, facts=facts, resources=shared, task_id=task_id)
                        self._call = planning
                        self._put(await planning.run())
                    case Compact():
                        facts = [*(await self._ancestors()).facts, *self._facts]
                        compaction = Compaction(command, facts=facts, resources=shared, task_id=task_id)
                        self._call = compaction
                        self._put(await compaction.run())
                    case RunTool():
                        shared.world.crash("runner.tool.before")
                        page = self.state.limits.output_bytes * 3 // 4
                        returned = await run_tool(
                            command, shared, self._facts, task_id=task_id, stored=self._whole, page=page
                        )
                        shared.world.crash("runner.tool.after")
                        self._put(returned)
        except EngineError as error:
            details = dict(error.details)
            self._put(Broken(now=self._now(), code=error.code, message=error.message, details=details))
        except Exception as error:
            self._put(self._fault(error))
        finally:
            flight.landed.set()

    async def _recalled(self) -> Sequence[Fact]:
        """The facts of the thread, for a request; before the turn's first one, with what the model must be shown."""
        ancestors = await self._ancestors()
        thread = [*ancestors.facts, *self._facts]
        await bring_to_mind(thread, state=self.state, tell=self.tell, resources=self._resources)
        return [*ancestors.facts, *self._facts]

    async def _whole(self, sha256: str) -> bytes | None:
        """A large output of this thread; None for those of branches that were left."""
        thread = [*(await self._ancestors()).facts, *self._facts]
        if not has_result(thread, sha256):  # a compaction may have left it behind, and its summary may name it
            task_id = self.channel.row.task_id
            if not has_result(await read_thread(self._store, task_id, self._parent), sha256):
                return None
        return await self._store.blob(self.channel.row.task_id, sha256)

    async def _ancestors(self) -> Thread:
        """The thread before this turn: asked for only because a request must be built."""
        if self._thread is None:
            # what this turn began with: a compaction of its own may not count in the end
            since, recent = self.state.began_with[1], self._resources.recent
            self._thread = await recent.take(self._store, self.channel.row.task_id, self._parent, since=since)
            if self._erased:  # what was read may be older than that
                self._thread.facts = unquoted(self._thread.facts, self._erased)
        return self._thread

    def _keep_thread(self) -> None:
        """For the turn that goes on from here, if this is where the thread stands now."""
        thread, self._thread = self._thread, None
        if self._erased:  # the log is the one to read
            return
        row, recent, turn_id = self.channel.row, self._resources.recent, self.state.turn_id
        if row.head != turn_id or row.open_turn is not None:
            return
        left = left_by(self.state)
        if thread is None:  # the turn asked no model
            recent.go_on(row.task_id, self._parent, turn_id, self._facts, left)
        else:
            thread.add(self._facts, left)
            recent.keep(row.task_id, turn_id, thread)

    async def _land(self) -> None:
        """Cancel what is in flight and wait for its end, so that nothing is shown after the turn's last event."""
        for flight in self._flights.values():
            flight.scope.cancel()
        for flight in self._flights.values():
            await flight.landed.wait()
        self._flights.clear()

    async def _watch(self) -> None:
        """No wait without a limit: the model's silence, and the turn's time without its waits for a person."""
        clock = self._resources.world.clock
        await self.begun.wait()
        while self.state.status == "running":
            left = self._stopwatch.left(self.state.limits.seconds)
            if left <= 0:
                self._put(OutOfTime(now=self._now()))
                return
            # a call that begins during the sleep cannot be silent for too long before its end
            silence = self._resources.progress_timeout
            if isinstance(self._call, ModelCall | Compaction):
                silence = self._call.patience.left(clock.monotonic()) or silence
            await clock.sleep(max(min(left, silence), 0.001))

    def _now(self) -> int:
        return self._resources.world.clock.now_ms()


async def _then_cancel(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _key(command: Command) -> str:
    return command.id if isinstance(command, RunTool) else MODEL
