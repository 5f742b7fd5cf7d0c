"""A shell without an event loop: one task whose turns are driven step by step, and cut anywhere.

It does what the real one does (start what is owed, take one input, append facts and events together, remember nothing
else) and checks after every append what must hold then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
from msgspec.structs import replace

from september_engine._memory.records import Knowledge
from september_engine._turn.commands import CallModel, Command, Compact, MakePlan, RunTool, todo
from september_engine._turn.compaction import Summary, cut_of, excerpts, most_summary_bytes, outcome, summary_text
from september_engine._turn.decide import decide
from september_engine._turn.facts import (
    Compacted,
    Fact,
    NotesShown,
    Recalled,
    RecalledItem,
    TurnStarted,
    decode_fact,
    encode_fact,
    message_id_of,
)
from september_engine._turn.inputs import (
    Answered,
    Ask,
    Input,
    MemoriesRecalled,
    ModelFailed,
    ModelReplied,
    NotesSet,
    PlanFailed,
    Planned,
    Start,
    ToolReturned,
    ToolsStarting,
    Write,
    WriteNote,
    WritePlan,
)
from september_engine._turn.kept import kept_facts
from september_engine._turn.limits import Limits
from september_engine._turn.memories import Scored, items_of
from september_engine._turn.notes import current, notes_of, recall
from september_engine._turn.present import block_start, block_stop, delta, present
from september_engine._turn.standing import Standing, standing
from september_engine._turn.state import TurnState, counting, evolve, fold
from september_engine.events import Event, encode, name_of
from september_engine.messages import Block, Usage, tool_uses
from september_engine.store.base import EventRow, FactRow

from .build import LOOK, steps

SHOWN = ("text", "thinking", "tool_use")
CONCURRENCY = 2
NOWHERE = Standing(head=None, open_turn=None, prefix=None, waiting_since=None)


@attrs.define
class Attempt:
    """A model call under way: its whole answer, and how much of it was shown."""

    command: CallModel
    content: list[Block]
    shown: int = 0
    half: bool = False
    text: str = ""

    @property
    def showable(self) -> list[Block]:
        return [block for block in self.content if block["type"] in SHOWN]


@attrs.define
class Shell:
    """One task. `facts` and `events` are what is durable; the rest, but for `row`, dies with the process."""

    facts: list[FactRow] = attrs.field(factory=list)
    events: list[EventRow] = attrs.field(factory=list)
    row: Standing = attrs.field(factory=lambda: NOWHERE)
    state: TurnState = attrs.field(factory=TurnState)
    attempt: Attempt | None = None
    planning: bool = False
    running: set[str] = attrs.field(factory=set)
    taken: list[Input] = attrs.field(factory=list)
    clock: int = 1_000_000
    last_ts: int = 0
    count: int = 0

    def copy(self) -> Shell:
        """What is durable now, as another process would find it; its state is that of the log."""
        copied = attrs.evolve(self, facts=[*self.facts], events=[*self.events], taken=[], running=set())
        copied.crash()
        return copied

    def id(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    # ── the log ──────────────────────────────────────────────────────────────────────────────────────────────────

    def turn(self, turn_id: str | None) -> list[Fact]:
        return [decode_fact(row.body) for row in self.facts if row.turn_id == turn_id]

    def thread(self, turn_id: str | None) -> list[Fact]:
        """The facts of a turn and its ancestors."""
        if turn_id is None:
            return []
        facts = self.turn(turn_id)
        assert isinstance(facts[0], TurnStarted)
        return [*self.thread(facts[0].parent), *facts]

    def messages(self) -> dict[str, TurnStarted]:
        """Every message that an edit or retry may name, and the message of a person that is meant by it."""
        return {
            row.message_id: next(fact for fact in self.turn(row.turn_id) if isinstance(fact, TurnStarted))
            for row in self.facts
            if row.message_id is not None
        }

    def emit(self, turn_id: str, *events: Event) -> None:
        for event in events:
            self.last_ts = max(self.clock, self.last_ts + 1)
            self.events.append(EventRow(ts=self.last_ts, turn_id=turn_id, type=name_of(event), body=encode(event)))

    def take(self, input: Input) -> list[Fact]:
        """Decide, append what follows at once, fold: and look whether all is as it must be."""
        facts = decide(self.state, input)
        if not facts:
            return []
        self.taken.append(input)
        state, events = self.state, list[Event]()
        for fact in facts:
            events += present(state, fact)
            state = evolve(state, fact)
        for fact in facts:
            self.facts.append(
                FactRow(
                    seq=len(self.facts) + 1,
                    ts=max(self.clock, self.last_ts + 1),
                    turn_id=state.turn_id,
                    body=encode_fact(fact),
                    message_id=message_id_of(fact),
                )
            )
        self.emit(state.turn_id, *events)
        self.state, self.row = state, standing(state)
        if state.status != "running":
            self.attempt, self.planning, self.running = None, False, set()
        self.check()
        return facts

    def check(self) -> None:
        """What holds after every append."""
        last = self.facts[-1].turn_id
        assert fold(self.turn(last)) == self.state
        waits, ended = self.row.waiting_since is not None, self.state.status != "running"
        works = bool(todo(self.state)) or any(call.status == "running" for call in self.state.calls)
        assert [waits, ended, works].count(True) == 1, "a turn works, waits for a person, or is over"
        assert self.row.open_turn == (None if ended else last)
        if ended:
            keeps = self.state.counts or self.state.status == "completed"
            assert self.row.head == (last if keeps else self.state.previous)
            assert not self.state.open_calls

    # ── what a client does ───────────────────────────────────────────────────────────────────────────────────────

    def start(
        self,
        *,
        content: list[Block],
        limits: Limits,
        prefix: str,
        kind: Literal["new", "edit", "retry"] = "new",
        target: str | None = None,
        planner: bool = False,
        direct: bool = False,
        output_schema: dict[str, Any] | None = None,
    ) -> None:
        parent = self.row.head
        if target is not None:
            aimed_at = self.messages()[target]
            parent = aimed_at.parent
            content = aimed_at.content if kind == "retry" else content
        known = self.row.prefix == prefix and parent == self.row.head is not None
        left = fold(self.turn(parent))
        self.state, self.taken = TurnState(), []
        previous = self.row.head
        self.take(
            Start(
                now=self.clock,
                turn_id=self.id("turn"),
                task_id="task",
                message_id=self.id("msg"),
                content=content,
                limits=limits,
                prefix=prefix,
                system=None if known else f"This is {prefix}.",
                tools=None if known else [LOOK],
                parent=parent,
                previous=previous,
                kind=kind,
                target=target,
                context=left.context,
                since=left.since,
                planner=planner,
                direct=direct,
                output_schema=output_schema,
                task_tokens=self.row.tokens,
                task_usd=self.row.usd,
            )
        )

    def note(self, *notes: WriteNote) -> None:
        """The program writes working memory: into the turn that is open, else in one of its own."""
        if self.row.open_turn is not None:
            self.take(NotesSet(now=self.clock, notes=list(notes)))
            return
        left = fold(self.turn(self.row.head))
        self.state, self.taken = TurnState(), []
        self.take(
            Start(
                now=self.clock,
                turn_id=self.id("turn"),
                task_id="task",
                message_id="",
                content=[],
                limits=Limits(),
                prefix=self.row.prefix or "",
                parent=self.row.head,
                previous=self.row.head,
                kind="note",
                context=left.context,
                since=left.since,
                notes=list(notes),
                task_tokens=self.row.tokens,
                task_usd=self.row.usd,
            )
        )

    # ── what the world does ──────────────────────────────────────────────────────────────────────────────────────

    def obey(self, answer: Callable[[], list[Block]]) -> None:
        """Start what is owed and not under way. `answer` is asked for what a model call will answer."""
        for command in todo(self.state, concurrency=CONCURRENCY):
            match command:
                case MakePlan() if not self.planning:
                    self.recall()
                    self.planning = True
                case CallModel() if self.attempt is None:
                    self.recall()
                    self.attempt = Attempt(command, answer())
                case Compact():
                    self.compact(command)
                case RunTool(id=call_id) if call_id not in self.running:
                    self.take(ToolsStarting(now=self.clock, tool_call_ids=[call_id]))
                    self.running.add(call_id)
                case _:
                    pass

    @property
    def owes(self) -> bool:
        return not all(map(self._under_way, todo(self.state, concurrency=CONCURRENCY)))

    def _under_way(self, command: Command) -> bool:
        match command:
            case CallModel() | Compact():
                return self.attempt is not None
            case MakePlan():
                return self.planning
            case RunTool():
                return command.id in self.running

    def recall(self) -> None:
        """Before a turn's first request: then the model has been shown what is noted."""
        if self.state.step > 0:
            return
        thread = self.thread(self.state.turn_id)
        recalled = recall(thread, self.clock)
        if recalled is not None:
            assert self.take(recalled)
            thread = self.thread(self.state.turn_id)
        shown = [fact for fact in counting(thread) if isinstance(fact, NotesShown | Compacted)]
        last = shown[-1] if shown else None
        in_sight = last.notes if isinstance(last, NotesShown) else {}
        if isinstance(last, Compacted):  # its summary stands beside the notes of then
            in_sight = current({note.key: note for note in last.notes}, last.at)
        assert current(notes_of(thread), self.clock) == in_sight
        assert recall(thread, self.clock) is None
        if not self.state.recalled:
            assert self.take(MemoriesRecalled(now=self.clock, items=self._found(thread)))
        assert self.state.recalled

    def _found(self, thread: list[Fact]) -> list[RecalledItem]:
        """What a memory of three things has, of which the thread is not shown any twice."""
        memories = [Knowledge(id=f"mem_{name}", subject="Fox", content=name) for name in ("red", "shy", "fast")]
        found = [Scored(memory=each, passage=each.content, score=0.5, why="It is about the fox.") for each in memories]
        items = items_of(found[: self.clock % 4], task_id="task", thread=thread)
        shown = [item.id for fact in counting(kept_facts(thread)) if isinstance(fact, Recalled) for item in fact.items]
        assert not {item.id for item in items} & set(shown)
        return items

    def plan(self, input: Planned | PlanFailed) -> None:
        """The planner under way ends."""
        self.planning = False
        self.take(input)

    def compact(self, command: Compact) -> None:
        """Tell what came before in excerpts, as an engine does whose model fails."""
        model = "small" if command.fallback else "big"
        facts = self.thread(self.state.turn_id)
        cut = cut_of(facts, command, model=model)
        text = summary_text(excerpts(cut.dropped, most_summary_bytes(command)), most_summary_bytes(command))
        block = {"type": "compaction", "content": text} if self.count % 2 else None
        told = Summary(text=text, strategy="excerpts", block=block, model=model, usage=Usage(input_tokens=1))
        self.take(outcome(facts, command, cut, told, now=self.clock, model=model))

    def stream(self) -> None:
        """Show the next half of a block."""
        attempt = self.attempt
        assert attempt is not None
        if attempt.shown == len(attempt.showable):
            return
        block, first = attempt.showable[attempt.shown], attempt.command.first_block
        if not attempt.half:
            self.emit(self.state.turn_id, block_start(first, attempt.shown, block["type"]))
            text: str = block.get("text") or block.get("thinking") or ""
            for piece in (text[:2], text[2:]):
                if piece:
                    self.emit(self.state.turn_id, delta(block["type"], piece))
            attempt.text += text if block["type"] == "text" else ""
            attempt.half = True
        else:
            self.close()

    def close(self) -> None:
        """End the block that is open."""
        attempt = self.attempt
        if attempt is not None and attempt.half:
            kind = attempt.showable[attempt.shown]["type"]
            self.emit(self.state.turn_id, block_stop(attempt.command.first_block, attempt.shown, kind))
            attempt.half, attempt.shown = False, attempt.shown + 1

    def reply(self, *, stop_reason: str, broken: Sequence[str], **changes: Any) -> None:
        """The model call under way ends well."""
        attempt = self.attempt
        assert attempt is not None
        while attempt.shown < len(attempt.showable):
            self.stream()
        uses = tool_uses(attempt.content)
        reply = ModelReplied(
            now=self.clock,
            step=attempt.command.step,
            message_id=self.id("msg"),
            content=attempt.content,
            stop_reason=stop_reason,
            usage=changes.pop("usage"),
            model="small" if attempt.command.fallback else "big",
            blocks=attempt.shown,
            broken={use["id"]: "The input was cut off." for use in uses if use["id"] in broken},
            asks=[self._ask(use) for use in uses],
        )
        self.attempt = None
        self.take(replace(reply, **changes))

    def _ask(self, use: Block) -> Ask | Write | None:
        match use["name"]:
            case "gated":
                return Ask(request_id=self.id("hitl"), question="?")
            case "note":
                return WriteNote(key=use["id"], value=self.count, minutes=1)
            case "update_plan":
                return WritePlan(steps=steps("Look", "Tell", Look="done"))
            case _:
                return None

    def fail(self, **how: Any) -> None:
        """The model call under way fails."""
        attempt = self.attempt
        assert attempt is not None
        self.close()
        self.attempt = None
        step, blocks = attempt.command.step, attempt.shown
        self.take(ModelFailed(now=self.clock, step=step, message="It broke.", blocks=blocks, **how))

    def finish(self, call_id: str, output: Any, error: Any = None, write: Write | None = None) -> None:
        """A tool under way ends."""
        self.running.discard(call_id)
        self.take(ToolReturned(now=self.clock, tool_call_id=call_id, output=output, error=error, write=write))

    def land(self) -> str:
        """Stop what is under way; the text that was shown of an answer."""
        self.close()
        text = "" if self.attempt is None else self.attempt.text
        self.attempt, self.planning, self.running = None, False, set()
        return text

    def stop(self, input: Input) -> list[Fact]:
        """Tell it what may end the turn; what is under way is stopped where it does."""
        if decide(self.state, input):
            self.land()
        return self.take(input)

    # ── the end of a process ─────────────────────────────────────────────────────────────────────────────────────

    def crash(self) -> None:
        """All is lost but the log and its index; a new process folds the facts."""
        self.attempt, self.planning, self.running, self.taken = None, False, set(), []
        self.state = fold(self.turn(self.row.open_turn or self.facts[-1].turn_id))

    def shown_in_vain(self) -> int:
        """How many blocks clients have seen of an answer that is not in the log."""
        rows = [row for row in self.events if row.turn_id == self.state.turn_id]
        return sum(row.type == "content_block_start" for row in rows) - self.state.next_block

    def duplicates(self) -> list[Input]:
        """Inputs of this turn that mean nothing any more: what was taken and is final, and failures that come late."""
        late = ModelFailed(
            now=self.clock, step=0, code="LLM_TIMEOUT", message="Late.", retryable=True, chance=0.5, has_fallback=True
        )
        steps = range(self.state.step + (1 if self.state.open_calls else 0))
        return [*self._final(), *(replace(late, step=step) for step in steps)]

    def _final(self) -> list[Input]:
        if self.state.status != "running":
            return self.taken
        final: tuple[type, ...] = (Start, Planned, PlanFailed, ModelReplied, ToolReturned, Answered)
        if self.state.resumes == 0:
            final = (*final, ToolsStarting)
        return [input for input in self.taken if isinstance(input, final)]
