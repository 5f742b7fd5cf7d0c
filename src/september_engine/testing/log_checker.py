"""Is a stored log whole? What every test of a store, a crash or an engine may ask at its end.

    assert check_log(facts, events) == []
    assert await check_task(store, "task-001") == []

A log is whole when

- its facts decode, are numbered without a gap, and each follows from the ones before: one turn at a time, a result for
  each call exactly once, no tool run that nobody allowed, exactly one end and nothing behind it;
- its events are the ones that the facts show, in the contract's order, at times that only grow, and the text that was
  shown is the text that was stored;
- whatever the log is cut down to, what is left gives a prompt that a provider takes, and each request begins with the
  one before it and its reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import attrs
import msgspec

from .._context.check import changed_prefix, problems
from .._turn.facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Fact,
    HumanAnswered,
    HumanAsked,
    OutputRefused,
    ToolFinished,
    ToolStarted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    decode_fact,
    message_id_of,
)
from .._turn.history import prompt_of
from .._turn.present import present
from .._turn.state import Standing, TurnState, evolve, standing
from ..events import (
    Error,
    Event,
    HitlRequest,
    HitlResolved,
    Retry,
    Rewound,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
    UsageEvent,
    decode,
    encode,
    name_of,
)
from ..messages import Block, Prompt, text_of, tool_uses
from ..store.base import EventRow, FactRow, Store, TaskRow, TurnRow
from ._blob_checker import blob_problems, with_stand_ins
from ._log_screen import Screen

__all__ = ["check_log", "check_task"]

PRESENTED = (ThreadLifecycle, Error, ToolCall, ToolResult, HitlRequest, HitlResolved, UsageEvent, Retry, Rewound)
"""The events that come from facts; those of the model's stream and of no consequence stand between them."""


def check_log(
    facts: Sequence[FactRow], events: Sequence[EventRow], *, trimmed_to: int = 0, every_prefix: bool = True
) -> list[str]:
    """Everything that is wrong with the log of one task, each as one line; [] where it is whole.

    Args:
        facts: All rows of the task, in the order of `seq`.
        events: All rows that are kept, in the order of `ts`.
        trimmed_to: Turns whose last fact is not after this may have lost their events.
        every_prefix: Project every prefix of every turn, which costs the square of the log's length; otherwise only
            where the model was really asked.
    """
    found = list(_numbering(facts, events))
    turns, broken = _turns_of(facts)
    found += broken
    shown: dict[str, list[EventRow]] = {}
    for row in events:
        shown.setdefault(row.turn_id, []).append(row)
    found += [f"events of {turn_id}: there is no such turn" for turn_id in shown if turn_id not in turns]
    before = standing(TurnState())
    for turn in turns.values():
        problems = [*_follows(turn, turns, before), *_projects(turn, turns, every_prefix=every_prefix)]
        if turn.turn_id in shown or turn.rows[-1].ts > trimmed_to:
            problems += _shows(turn, shown.get(turn.turn_id, []))
        found += [f"{turn.turn_id}: {problem}" for problem in problems]
        before = standing(turn.state)
    open_turns = [turn.turn_id for turn in turns.values() if turn.state.status == "running"]
    found += [f"{turn_id}: is open, and another turn began" for turn_id in open_turns if turn_id != [*turns][-1]]
    return found


async def check_task(store: Store, task_id: str, *, every_prefix: bool = True) -> list[str]:
    """`check_log` of a task in a store, and whether its index rows say what its facts say. Reads only.

    A task that is not there has nothing wrong. Raises what the store raises.
    """
    row = await store.task(task_id)
    if row is None:
        return []
    turns = await store.turns(task_id)
    facts = [fact for turn in turns for fact in await store.turn(task_id, turn.turn_id)]
    facts.sort(key=lambda fact: fact.seq)
    events: list[EventRow] = []
    while page := await store.events(task_id, after=events[-1].ts if events else 0):
        events += page
    found = check_log(facts, events, trimmed_to=row.trimmed_to, every_prefix=every_prefix)
    return found + list(_index(row, turns, facts, events)) + await blob_problems(store, task_id, facts)


@attrs.define
class _Turn:
    """One turn of the log. `request` is the last prompt of its thread and its answer: the next one begins with them."""

    turn_id: str
    rows: list[FactRow] = attrs.field(factory=list)
    facts: list[Fact] = attrs.field(factory=list)
    state: TurnState = attrs.field(factory=TurnState)
    thread: list[Fact] = attrs.field(factory=list)
    request: tuple[Prompt, AssistantReplied] | None = None

    @property
    def started(self) -> TurnStarted | None:
        first = self.facts[0]
        return first if isinstance(first, TurnStarted) else None


def _numbering(facts: Sequence[FactRow], events: Sequence[EventRow]) -> Iterator[str]:
    for count, row in enumerate(facts, 1):
        if row.seq != count:
            yield f"fact {row.seq}: should be number {count}"
            break
    for before, after in pairwise(events):
        if after.ts <= before.ts:
            yield f"event {after.ts}: comes after {before.ts}; times must grow"


def _turns_of(rows: Sequence[FactRow]) -> tuple[dict[str, _Turn], list[str]]:
    turns: dict[str, _Turn] = {}
    found: list[str] = []
    last = ""
    for row in rows:
        try:
            fact = decode_fact(row.body)
        except msgspec.DecodeError as error:
            found.append(f"fact {row.seq}: cannot be decoded ({error})")
            continue
        if row.message_id != message_id_of(fact):
            found.append(f"fact {row.seq}: its row names message {row.message_id}, it is {message_id_of(fact)}")
        if row.turn_id in turns and row.turn_id != last:
            found.append(f"fact {row.seq}: {row.turn_id} goes on after {last} began")
        last = row.turn_id
        turn = turns.setdefault(last, _Turn(last))
        turn.rows.append(row)
        turn.facts.append(fact)
        turn.state = evolve(turn.state, fact)
    return turns, found


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _follows(turn: _Turn, turns: dict[str, _Turn], before: Standing) -> Iterator[str]:
    """Whether each fact of a turn follows from those before it."""
    started, head = turn.started, before.head
    if started is None or started.turn_id != turn.turn_id:
        yield "does not begin with its start"
    elif started.previous != head:
        yield f"began where the thread stood at {started.previous}, but it stood at {head}"
    elif started.kind == "new" and started.parent != head:
        yield f"goes on from {started.parent}, and is neither an edit nor a retry"
    elif started.parent is not None and started.parent not in list(turns)[: list(turns).index(turn.turn_id)]:
        yield f"goes on from {started.parent}, which is not there"
    if started is not None and (started.task_tokens, started.task_usd) != (before.tokens, before.usd):
        said, spent = (started.task_tokens, started.task_usd), (before.tokens, before.usd)
        yield f"began where the task had spent {said} tokens and USD, but it had spent {spent}"
    state, broken = TurnState(), dict[str, str]()
    for row, fact in zip(turn.rows, turn.facts, strict=True):
        if isinstance(fact, AssistantReplied):
            broken = fact.broken
        if (problem := _misplaced(state, fact, broken)) is not None:
            yield f"fact {row.seq} ({type(fact).__name__}): {problem}"
        state = evolve(state, fact)
    if state.status != "running" and state.open_calls:
        yield f"ended, and the calls {[call.id for call in state.open_calls]} have no result"


def _misplaced(state: TurnState, fact: Fact, broken: Mapping[str, str]) -> str | None:
    """Why this fact cannot follow in this state, or None. `broken` says which calls of the step cannot be run."""
    if isinstance(fact, TurnStarted):
        return None if state.status == "new" else "a turn starts once"
    if state.status != "running":
        return "comes after the end" if state.status != "new" else "comes before the start"
    calls = {call.id: call.status for call in state.calls}
    match fact:
        case AssistantReplied():
            ids = [use["id"] for use in tool_uses(fact.content)]
            if state.open_calls:
                return f"the calls {[call.id for call in state.open_calls]} have no result yet"
            return (
                "a call has an id that was used before"
                if len(state.call_ids.union(ids)) < len(state.call_ids) + len(ids)
                else None
            )
        case AssistantCut() | AttemptFailed():
            return "the answer was whole" if state.open_calls else None
        case ToolStarted():
            status = calls.get(fact.tool_call_id)
            if fact.tool_call_id in broken:
                return f"{fact.tool_call_id} cannot be run: {broken[fact.tool_call_id]}"
            return None if status == "owed" else f"{fact.tool_call_id} is {status or 'unknown'}, not owed"
        case ToolFinished():
            status = calls.get(fact.tool_call_id)
            return f"{fact.tool_call_id} is {status or 'unknown'}" if status in ("done", None) else None
        case OutputRefused():
            return None if state.output_schema is not None and not state.calls else "no value was asked for here"
        case HumanAsked():
            status = calls.get(fact.tool_call_id)
            return None if status == "owed" else f"{fact.tool_call_id} is {status or 'unknown'}, not owed"
        case HumanAnswered():
            request = next((one for one in state.open_requests if one.id == fact.request_id), None)
            if request is None:
                return f"{fact.request_id} is not open"
            unclear = request.kind == "permission" and fact.answer not in ("yes", "no")
            return f"{fact.answer!r} is no answer to a permission" if unclear else None
        case _:
            return None


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _shows(turn: _Turn, rows: Sequence[EventRow]) -> Iterator[str]:
    """Whether the events are what the facts show, with the model's stream between them."""
    events: list[Event] = []
    for shown in rows:
        try:
            events.append(decode(shown.type, shown.body))
        except (KeyError, msgspec.DecodeError):
            yield f"event {shown.ts}: {shown.type} cannot be decoded"
            return
    state, screen, at = TurnState(), Screen(), 0
    for row, fact in zip(turn.rows, turn.facts, strict=True):
        for expected in present(state, fact):
            while at < len(events) and not isinstance(events[at], PRESENTED):
                if (problem := screen.take(events[at])) is not None:
                    yield f"event {rows[at].ts}: {problem}"
                at += 1
            if at == len(events) or encode(events[at]) != encode(expected) or name_of(events[at]) != name_of(expected):
                there = "nothing" if at == len(events) else f"{name_of(events[at])} {encode(events[at])!r}"
                yield f"fact {row.seq}: shows {name_of(expected)} {encode(expected)!r}, and {there} is there"
                return
            at += 1
        yield from _shown_text(screen, state, fact)
        state = evolve(state, fact)
    yield from _rest(turn, events[at:], screen)


def _shown_text(screen: Screen, state: TurnState, fact: Fact) -> Iterator[str]:
    match fact:
        case AssistantReplied():
            if screen.text != text_of(fact.content):
                yield f"step {state.step}: the text that was shown is not the text that was stored"
            if screen.blocks != state.next_block + fact.blocks:
                yield f"step {state.step}: the blocks that were shown are not the blocks that were stored"
        case AssistantCut():
            screen.cut = fact.text  # what was shown of it comes with the events of the end
            return
        case TurnFailed():
            if screen.cut not in (None, screen.text):
                yield f"step {state.step}: the text that was shown is not the text that was kept"
        case OutputRefused():
            first = fact.retracts[0] if fact.retracts else screen.blocks
            if fact.retracts != list(range(first, screen.blocks)):
                yield f"step {state.step}: what was refused is not what is taken back"
            return
        case AttemptFailed() | TurnResumed():
            if fact.retracts != list(range(state.next_block, screen.blocks)):
                yield f"step {state.step}: what was shown in vain is not what is taken back"
        case _:
            return
    crashed = isinstance(fact, TurnResumed) or (isinstance(fact, TurnFailed) and not fact.counts)
    if screen.block is not None and not crashed:
        yield f"step {state.step}: block {screen.block.block_index} was not closed"
    screen.text, screen.block = "", None


def _rest(turn: _Turn, events: Sequence[Event], screen: Screen) -> Iterator[str]:
    """What stands behind the events of the last fact: the answer that is being written, and nothing after the end."""
    for event in events:
        if isinstance(event, PRESENTED) or turn.state.status != "running":
            yield f"{name_of(event)} is there, and no fact shows it"
        elif (problem := screen.take(event)) is not None:
            yield problem


# ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _projects(turn: _Turn, turns: dict[str, _Turn], *, every_prefix: bool) -> Iterator[str]:
    """Whether every prefix gives a valid prompt, and each request goes on from the one before."""
    parent = turns.get(turn.started.parent or "") if turn.started is not None else None
    ancestors = parent.thread if parent is not None else []
    turn.thread = [*ancestors, *turn.facts]
    began_with = parent.request if parent is not None else None
    before, repaired = began_with, False
    looked_at: dict[str, Prompt] = {}
    for count, (row, fact) in enumerate(zip(turn.rows, turn.facts, strict=True), len(ancestors)):
        if isinstance(fact, AssistantReplied):
            prompt = prompt_of(turn.thread[:count], prefix=fact.prefix, model=fact.model)
            yield from (f"the request before fact {row.seq}: {problem}" for problem in problems(with_stand_ins(prompt)))
            if before is not None and (changed := _changed(before, fact, prompt)) is not None:
                yield f"the request before fact {row.seq} does not go on from the one before it: {changed}"
            before = (prompt, fact)
        elif isinstance(fact, AttemptFailed) and fact.repair is not None:
            before, repaired = None, True
        if every_prefix:
            for prefix, model in ((turn.state.prefix, _writer(turn)), ("another prefix", "another model")):
                prompt, last = prompt_of(turn.thread[: count + 1], prefix=prefix, model=model), looked_at.get(model)
                looked_at[model] = prompt
                if prompt != last and (prompt.messages or turn.state.counts):  # of a refused turn nothing may be left
                    yield from (f"cut after fact {row.seq}: {problem}" for problem in problems(with_stand_ins(prompt)))
    refused = turn.state.status == "completed" and not turn.state.counts
    turn.request = before if not refused else None if repaired else began_with


def _writer(turn: _Turn) -> str:
    return next((fact.model for fact in turn.facts if isinstance(fact, AssistantReplied)), "")


def _changed(before: tuple[Prompt, AssistantReplied], reply: AssistantReplied, prompt: Prompt) -> str | None:
    """Where the append-only law is broken; another model or prefix begins anew, and so does old media that gave way."""
    request, answer = before
    if (answer.prefix, answer.model) != (reply.prefix, reply.model):
        return None
    if _media(prompt.messages[: len(request.messages)]) < _media(request.messages):
        return None
    return changed_prefix(request, answer.content, prompt)


def _media(content: Sequence[Block]) -> int:
    """How many images and documents these messages or blocks hold, at any depth."""
    inner = [block["content"] for block in content if isinstance(block.get("content"), list)]
    return sum("source" in block for block in content) + sum(map(_media, inner))


# ── the index ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _index(
    row: TaskRow, turns: Sequence[TurnRow], facts: Sequence[FactRow], events: Sequence[EventRow]
) -> Iterator[str]:
    """Whether the rows that save reading the facts say what the facts say."""
    known, _ = _turns_of(facts)
    says = Standing(
        head=row.head,
        open_turn=row.open_turn,
        prefix=row.prefix,
        waiting_since=row.waiting_since,
        tokens=row.spent_tokens,
        usd=row.spent_usd,
    )
    if known and says != (is_so := standing([*known.values()][-1].state)):
        yield f"the task's row says {says}, and it is {is_so}"
    if facts and row.last_seq != facts[-1].seq:
        yield f"the task's row says that fact {row.last_seq} is the last, and it is {facts[-1].seq}"
    if events and row.last_ts < events[-1].ts:
        yield f"the task's row says that event {row.last_ts} is the last, and it is {events[-1].ts}"
    for turn in turns:
        state = known[turn.turn_id].state if turn.turn_id in known else TurnState()
        if (turn.parent, turn.message_id) != (state.parent, state.message_id):
            yield f"{turn.turn_id}: its row does not say what its start says"
        if (turn.ended_at is None) is not (state.status == "running"):
            yield f"{turn.turn_id}: its row says that it ended at {turn.ended_at}, and it is {state.status}"
