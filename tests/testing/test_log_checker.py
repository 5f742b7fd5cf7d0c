"""The log checker must say nothing of a whole log, and something of every other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from september_engine._context.stored import take_out
from september_engine._turn.facts import (
    AssistantReplied,
    AttemptFailed,
    Fact,
    HumanAnswered,
    HumanAsked,
    OutputRefused,
    PrefixChosen,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
    decode_fact,
    encode_fact,
    message_id_of,
)
from september_engine._turn.inputs import Answered, Cancelled, Interrupted, Resumed
from september_engine._turn.limits import Limits
from september_engine.events import ContentBlockStart, Event, Heartbeat, TextDelta, ThinkingDelta, encode, name_of
from september_engine.messages import Block, Usage
from september_engine.store.base import Batch, Blob, EventRow, FactRow, TaskRow, TurnRow
from september_engine.store.memory import MemoryStore
from september_engine.testing._blob_checker import blob_problems
from september_engine.testing.log_checker import check_log, check_task

from .._context.pictures import image, png
from .._turn.build import text, think, use
from .._turn.shell import Shell

Log = tuple[list[FactRow], list[EventRow]]


def go(shell: Shell, *content: Block, stop_reason: str = "end_turn") -> None:
    """One model call with this answer, and the tools it calls."""
    shell.obey(lambda: list(content))
    shell.reply(stop_reason=stop_reason, usage=Usage(input_tokens=3), broken=[])
    for request in shell.state.open_requests:
        shell.take(Answered(now=shell.clock, request_id=request.id, answer="yes"))
    while shell.owes and shell.attempt is None and shell.state.open_calls:
        shell.obey(list)
        for call_id in sorted(shell.running):
            shell.finish(call_id, "seen")


def start(shell: Shell, said: str = "Hi", **more: Any) -> None:
    shell.start(content=[text(said)], limits=Limits(), prefix="p1", **more)


@pytest.fixture
def shell() -> Shell:
    """A task that has seen a little of everything."""
    shell = Shell()
    start(shell)
    shell.obey(lambda: [text("Hello")])
    shell.stream()
    shell.fail(code="LLM_TIMEOUT", retryable=True, chance=0.0)
    go(shell, think(), text("Let me see."), use("a"), use("b", "gated"))
    go(shell, text("Seen."))
    start(shell, "And now?")
    go(shell, text("No."), stop_reason="refusal")
    start(shell, "What?", kind="edit", target="msg_2")
    shell.obey(lambda: [text("It is")])
    shell.stream()
    shell.take(Resumed(now=shell.clock, blocks=shell.shown_in_vain(), repeatable=[]))
    shell.crash()
    shell.obey(lambda: [text("It was")])
    shell.stream()
    shell.take(Cancelled(now=shell.clock, message_id="msg_c", text=shell.land()))
    start(shell, "Stop")
    shell.obey(lambda: [use("a")])
    shell.reply(stop_reason="tool_use", usage=Usage(), broken=[])
    shell.take(Cancelled(now=shell.clock, message_id="msg_d"))
    start(shell, "Again")
    go(shell, text("I look"), use("a"))
    shell.obey(lambda: [text("Half")])
    shell.stream()
    return shell


def test_a_whole_log_has_nothing_wrong(shell: Shell) -> None:
    assert check_log(shell.facts, shell.events) == []
    assert check_log(shell.facts, shell.events, every_prefix=False) == []
    assert check_log([], []) == []


def test_the_log_of_these_tests_has_seen_a_little_of_everything(shell: Shell) -> None:
    kinds = {type(decode_fact(row.body)) for row in shell.facts}
    assert kinds >= {TurnStarted, AttemptFailed, HumanAsked, HumanAnswered, ToolStarted, TurnResumed, TurnFailed}


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def place(rows: Sequence[FactRow], kind: type[Any], number: int = 0) -> int:
    return [at for at, row in enumerate(rows) if isinstance(decode_fact(row.body), kind)][number]


def changed(kind: type[Any], number: int = 0, **changes: Any) -> Callable[[Log], Log]:
    """A fact with other fields."""

    def change(log: Log) -> Log:
        facts = [*log[0]]
        at = place(facts, kind, number)
        fact: Fact = replace(decode_fact(facts[at].body), **changes)
        facts[at] = replace(facts[at], body=encode_fact(fact), message_id=message_id_of(fact))
        return facts, log[1]

    return change


def without(kind: type[Any], number: int = 0) -> Callable[[Log], Log]:
    """A fact that was lost; the others close the gap."""

    def lose(log: Log) -> Log:
        facts = [*log[0]]
        del facts[place(facts, kind, number)]
        return renumbered(facts), log[1]

    return lose


def twice(kind: type[Any], number: int = 0) -> Callable[[Log], Log]:
    def repeat(log: Log) -> Log:
        facts = [*log[0]]
        at = place(facts, kind, number)
        return renumbered([*facts[: at + 1], *facts[at:]]), log[1]

    return repeat


def inserted(kind: type[Any], fact: Fact, number: int = 0) -> Callable[[Log], Log]:
    """A fact that should not be there, before one of this kind."""

    def insert(log: Log) -> Log:
        facts = [*log[0]]
        at = place(facts, kind, number)
        stray = replace(facts[at], body=encode_fact(fact), message_id=message_id_of(fact))
        return renumbered([*facts[:at], stray, *facts[at:]]), log[1]

    return insert


def renumbered(facts: Sequence[FactRow]) -> list[FactRow]:
    return [replace(row, seq=seq) for seq, row in enumerate(facts, 1)]


def row(number: int, **changes: Any) -> Callable[[Log], Log]:
    def change(log: Log) -> Log:
        facts = [*log[0]]
        facts[number] = replace(facts[number], **changes)
        return facts, log[1]

    return change


def event(kind: str, number: int = 0, **changes: Any) -> Callable[[Log], Log]:
    """An event row with other fields; with none, it is lost."""

    def change(log: Log) -> Log:
        events = [*log[1]]
        at = [at for at, row in enumerate(events) if row.type == kind][number]
        events[at : at + 1] = [replace(events[at], **changes)] if changes else []
        return log[0], events

    return change


def added(kind: str, event: Event, number: int = 0) -> Callable[[Log], Log]:
    """A stray event behind one of this kind."""

    def add(log: Log) -> Log:
        at = [at for at, row in enumerate(log[1]) if row.type == kind][number]
        stray = replace(log[1][at], type=name_of(event), body=encode(event))
        rows = [*log[1][: at + 1], stray, *log[1][at + 1 :]]
        return log[0], [replace(row, ts=ts) for ts, row in enumerate(rows, 1)]

    return add


CALLS = [use("a"), use("b", "gated")]
PREFIX = PrefixChosen(at=1, prefix="p1", system="Be rude.", tools=[])

DAMAGE: list[tuple[str, Callable[[Log], Log]]] = [
    ("should be number 3", row(2, seq=4)),
    ("cannot be decoded", row(3, body=b'{"type":"turn_started"}')),
    ("its row names message None, it is msg_2", row(0, message_id=None)),
    ("goes on after", row(5, turn_id="turn_x")),
    ("there is no such turn", event("usage", turn_id="turn_x")),
    ("times must grow", event("usage", ts=1)),
    # facts
    ("does not begin with its start", without(TurnStarted)),
    ("does not begin with its start", changed(TurnStarted, turn_id="turn_x")),
    ("comes before the start", without(TurnStarted)),
    ("a turn starts once", twice(TurnStarted)),
    ("began where the thread stood at turn_x", changed(TurnStarted, 1, previous="turn_x")),
    ("goes on from None, and is neither an edit nor a retry", changed(TurnStarted, 1, parent=None)),
    ("goes on from turn_x, which is not there", changed(TurnStarted, 2, parent="turn_x")),
    ("began where the task had spent (5, 0.0) tokens and USD", changed(TurnStarted, task_tokens=5)),
    ("began where the task had spent (0, None) tokens and USD", changed(TurnStarted, task_usd=None)),
    ("no value was asked for here", inserted(TurnCompleted, OutputRefused(at=1, message_id="msg_2", message="No."))),
    ("comes after the end", twice(TurnCompleted)),
    ("is open, and another turn began", without(TurnCompleted)),
    ("is open, and another turn began", without(TurnFailed)),
    ("have no result yet", without(ToolFinished)),
    ("ended, and the calls ['a'] have no result", without(ToolFinished, 2)),
    ("a is done", twice(ToolFinished)),
    ("zzz is unknown", changed(ToolFinished, tool_call_id="zzz")),
    ("a is running, not owed", twice(ToolStarted)),
    ("zzz is unknown, not owed", changed(ToolStarted, tool_call_id="zzz")),
    ("b is asked, not owed", without(HumanAnswered)),
    ("a cannot be run: cut off", changed(AssistantReplied, broken={"a": "cut off"})),
    ("zzz is unknown, not owed", changed(HumanAsked, tool_call_id="zzz")),
    ("is not open", twice(HumanAnswered)),
    ("'maybe' is no answer to a permission", changed(HumanAnswered, answer="maybe")),
    ("the answer was whole", inserted(ToolStarted, AttemptFailed(at=1, code="X", message="", wait_ms=0))),
    ("a call has an id that was used before", changed(AssistantReplied, 1, content=CALLS[:1])),
    # events
    ("cannot be decoded", event("usage", body=b"{}")),
    ("cannot be decoded", event("usage", type="never_heard_of")),
    ("shows tool_result", event("tool_result")),
    ("shows tool_call", event("tool_call", body=b'{"tool":"x","tool_call_id":"a","input":{}}')),
    ("and nothing is there", event("tool_result", 3)),
    ("the text that was shown is not the text that was stored", event("text_delta", 2, body=b'{"text":"Xx"}')),
    (
        "the text that was shown is not the text that was stored",
        changed(AssistantReplied, content=[text("Other"), *CALLS]),
    ),
    ("the text that was shown is not the text that was kept", event("text_delta", 11, body=b'{"text":"X"}')),
    ("the blocks that were shown are not the blocks that were stored", changed(AssistantReplied, blocks=9)),
    ("what was shown in vain is not what is taken back", event("content_block_start", 0)),
    ("is out of order", event("content_block_start", 1, body=b'{"block_index":7,"block_type":"thinking"}')),
    ("text outside a block", event("content_block_start", 0)),
    ("thinking outside a block", added("text_delta", ThinkingDelta(text="hm"))),
    ("stops, and is not open", event("content_block_start", 1)),
    ("starts, and block 1 is open", event("content_block_stop", 1)),
    ("block 0 was not closed", event("content_block_stop", 0)),
    ("block 1 was not closed", event("content_block_stop", 7)),
    ("text_delta is there, and no fact shows it", added("error", TextDelta(text="late"))),
    ("starts, and block", added("text_delta", ContentBlockStart(block_index=9, block_type="text"), -1)),
    # prompts
    ("the first message must be the user's", changed(TurnStarted, content=[text(" ")])),
    ("does not go on from the one before it: system: has changed", inserted(AssistantReplied, PREFIX, 1)),
]


@pytest.mark.parametrize(("says", "damage"), DAMAGE)
def test_damage_is_told(shell: Shell, says: str, damage: Callable[[Log], Log]) -> None:
    facts, events = damage((shell.facts, shell.events))
    found = check_log(facts, events)
    assert any(says in problem for problem in found), found


def test_an_answer_that_was_refused_takes_back_what_was_shown_of_it() -> None:
    shell = Shell()
    start(shell, output_schema={"type": "object"})
    shell.obey(lambda: [text("No JSON.")])
    shell.reply(stop_reason="end_turn", usage=Usage(), broken=[], misfit="It is no JSON.")
    go(shell, text("{}"))
    assert check_log(shell.facts, shell.events) == []
    told = b'{"attempt":1,"reason":"INVALID_OUTPUT","wait_ms":0,"retracts":[0,1]}'
    facts, events = event("retry", body=told)(changed(OutputRefused, retracts=[0, 1])((shell.facts, shell.events)))
    assert any("what was refused is not what is taken back" in each for each in check_log(facts, events))


def test_what_has_no_consequence_may_stand_anywhere(shell: Shell) -> None:
    for kind in ("usage", "text_delta", "content_block_stop", "hitl_request"):
        facts, events = added(kind, Heartbeat(timestamp="now"))((shell.facts, shell.events))
        assert check_log(facts, events) == []


def test_turns_whose_events_were_trimmed_are_judged_by_their_facts(shell: Shell) -> None:
    first = shell.facts[0].turn_id
    last = max(row.ts for row in shell.events if row.turn_id == first)
    kept = [row for row in shell.events if row.turn_id != first]
    assert check_log(shell.facts, kept, trimmed_to=last) == []
    assert any("and nothing is there" in problem for problem in check_log(shell.facts, kept))


def test_a_turn_that_a_crash_left_open_is_whole() -> None:
    shell = Shell()
    start(shell)
    shell.obey(lambda: [text("Hello")])
    shell.stream()
    assert check_log(shell.facts, shell.events) == []
    shell.crash()
    shell.take(Interrupted(now=shell.clock))
    assert check_log(shell.facts, shell.events) == []


# ── a store ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def stored(shell: Shell, **changes: Any) -> MemoryStore:
    """The log in a store, with its index rows; `changes` make the task's row lie."""
    store = MemoryStore()
    await store.open()
    row = TaskRow(
        task_id="task",
        epoch=1,
        last_ts=shell.last_ts,
        last_seq=len(shell.facts),
        head=shell.row.head,
        open_turn=shell.row.open_turn,
        waiting_since=shell.row.waiting_since,
        prefix=shell.row.prefix,
        created_at=1,
        spent_tokens=shell.row.tokens,
        spent_usd=shell.row.usd,
    )
    by_turn: dict[str, list[Fact]] = {}
    for fact in shell.facts:
        by_turn.setdefault(fact.turn_id, []).append(decode_fact(fact.body))
    for number, (turn_id, facts) in enumerate(by_turn.items()):
        started, last = facts[0], facts[-1]
        assert isinstance(started, TurnStarted)
        turn = TurnRow(
            turn_id=turn_id,
            parent=started.parent,
            message_id=started.message_id,
            started_at=started.at,
            ended_at=last.at if isinstance(last, TurnCompleted | TurnFailed) else None,
        )
        await store.append(
            Batch(
                task_id="task",
                epoch=number + 1,
                facts=[row for row in shell.facts if row.turn_id == turn_id],
                events=[row for row in shell.events if row.turn_id == turn_id],
                task=replace(row, epoch=number + 1, **changes),
                turn=turn,
                claim=True,
            )
        )
    return store


async def test_a_task_in_a_store_is_whole_with_its_index(shell: Shell) -> None:
    assert await check_task(await stored(shell), "task") == []
    assert await check_task(await stored(shell), "unknown") == []


@pytest.mark.parametrize(
    ("says", "lie"),
    [
        ("the task's row says Standing(head='turn_x'", {"head": "turn_x"}),
        ("the task's row says Standing(", {"open_turn": None}),
        ("the task's row says Standing(", {"prefix": "p9"}),
        ("the task's row says Standing(", {"waiting_since": 5}),
        ("the task's row says Standing(", {"spent_tokens": 5}),
        ("the task's row says Standing(", {"spent_usd": 0.5}),
        ("the task's row says that fact 3 is the last", {"last_seq": 3}),
        ("the task's row says that event 3 is the last", {"last_ts": 3}),
    ],
)
async def test_an_index_that_lies_is_told(shell: Shell, says: str, lie: dict[str, Any]) -> None:
    found = await check_task(await stored(shell, **lie), "task")
    assert any(says in problem for problem in found), found


async def test_a_turn_whose_row_lies_is_told(shell: Shell) -> None:
    store = await stored(shell)
    row = await store.task("task")
    assert row is not None
    ended = TurnRow(turn_id=shell.state.turn_id, parent=None, message_id="", started_at=0, ended_at=9)
    other = TurnRow(turn_id="turn_x", parent=None, message_id="msg_x", started_at=0)
    for turn in (ended, other):
        await store.append(Batch(task_id="task", epoch=row.epoch, turn=turn))
    found = await check_task(store, "task")
    assert f"{shell.state.turn_id}: its row says that it ended at 9, and it is running" in found
    assert "turn_x: its row does not say what its start says" in found


@pytest.mark.parametrize("large", [False, True])
async def test_every_content_that_a_fact_refers_to_must_be_there_and_be_it(large: bool) -> None:
    shell, data = Shell(), png()
    if large:
        data = b"y" * 300
        shell.start(content=[text("Look.")], limits=Limits(output_bytes=100), prefix="p1")
        shell.obey(lambda: [use("a")])
        shell.reply(stop_reason="tool_use", usage=Usage(), broken=[])
        shell.obey(list)
        shell.finish(next(iter(shell.running)), data.decode())
    else:
        shell.start(content=[*take_out([image()])[0], text("What is it?")], limits=Limits(), prefix="p1")
    sha256 = hashlib.sha256(data).hexdigest()
    for body, problem in ((None, "not there"), (b"another", "something else"), (data, None)):
        store = MemoryStore()
        await store.open()
        first = shell.facts[0]
        turn = TurnRow(turn_id=first.turn_id, parent=None, message_id="m", started_at=1)
        blobs = [] if body is None else [Blob(sha256=sha256, body=body)]
        row = TaskRow(task_id="t", epoch=1, last_ts=0, last_seq=0)
        await store.append(Batch(task_id="t", epoch=1, blobs=blobs, task=row, turn=turn, claim=True))
        found = await blob_problems(store, "t", shell.facts)
        assert len(found) == (problem is not None)
        assert problem is None or problem in found[0]
