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

from collections.abc import Iterator, Sequence
from itertools import pairwise

import attrs
import msgspec

from .._context.check import changed_prefix, problems
from .._turn.facts import (
    AssistantReplied,
    AttemptFailed,
    Compacted,
    Fact,
    TurnStarted,
    decode_fact,
    message_id_of,
)
from .._turn.history import prompt_of
from .._turn.standing import Standing, standing
from .._turn.state import TurnState, evolve
from ..messages import Block, Prompt
from ..store.base import EventRow, FactRow, Store, TaskRow, TurnRow
from ._blob_checker import blob_problems, with_stand_ins
from ._log_events import shown_problems
from ._log_order import misplaced

__all__ = ["check_log", "check_task"]


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
            problems += shown_problems(turn.rows, turn.facts, shown.get(turn.turn_id, []))
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
    elif started.kind in ("new", "note") and started.parent != head:
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
        if (problem := misplaced(state, fact, broken)) is not None:
            yield f"fact {row.seq} ({type(fact).__name__}): {problem}"
        state = evolve(state, fact)
    if state.status != "running" and state.open_calls:
        yield f"ended, and the calls {[call.id for call in state.open_calls]} have no result"


# ── prompts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _projects(turn: _Turn, turns: dict[str, _Turn], *, every_prefix: bool) -> Iterator[str]:
    """Whether every prefix gives a valid prompt, and each request goes on from the one before."""
    parent = turns.get(turn.started.parent or "") if turn.started is not None else None
    ancestors = parent.thread if parent is not None else []
    turn.thread = [*ancestors, *turn.facts]
    began_with = parent.request if parent is not None else None
    before, repaired = began_with, False
    looked_at: dict[str, Prompt] = {}
    speaks = turn.state.counts and not turn.state.quiet
    for count, (row, fact) in enumerate(zip(turn.rows, turn.facts, strict=True), len(ancestors)):
        if isinstance(fact, AssistantReplied):
            prompt = prompt_of(turn.thread[:count], prefix=fact.prefix, model=fact.model)
            yield from (f"the request before fact {row.seq}: {problem}" for problem in problems(with_stand_ins(prompt)))
            if before is not None and (changed := _changed(before, fact, prompt)) is not None:
                yield f"the request before fact {row.seq} does not go on from the one before it: {changed}"
            before = (prompt, fact)
        elif isinstance(fact, AttemptFailed) and fact.repair is not None:
            before, repaired = None, True
        elif isinstance(fact, Compacted):
            before = None
        if every_prefix:
            for prefix, model in ((turn.state.prefix, _writer(turn)), ("another prefix", "another model")):
                prompt, last = prompt_of(turn.thread[: count + 1], prefix=prefix, model=model), looked_at.get(model)
                looked_at[model] = prompt
                if prompt != last and (prompt.messages or speaks):  # of a refused or quiet turn nothing may be left
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
