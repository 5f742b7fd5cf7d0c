"""What must hold of a house when its history is over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec

from september_engine._context.stored import take_out
from september_engine._turn.facts import (
    AssistantReplied,
    Fact,
    Noted,
    PlanChosen,
    ToolStarted,
    TurnStarted,
    decode_fact,
)
from september_engine._turn.history import prompt_of
from september_engine._turn.notes import current
from september_engine._turn.state import counting, fold
from september_engine.errors import EngineError, TaskNotFound
from september_engine.events import ThreadLifecycle, UsageEvent
from september_engine.memory.base import Episode
from september_engine.messages import Block, Prompt, Usage, text_of
from tests.faults.house import TASKS, House

__all__ = ["inspect", "inspect_empty"]

FORGOTTEN = "(forgotten by the agent"


async def inspect(house: House) -> None:
    """All of it; every task takes a message first."""
    async with anyio.create_task_group() as group:
        group.start_soon(house.pass_time)
        await _inspect(house)
        group.cancel_scope.cancel()


async def _inspect(house: House) -> None:
    for task_id in TASKS:
        answered = await house.engine.execute("say #0", task_id=task_id)
        assert answered.text == "So it is."
    await house.engine.remembered()
    spent: list[Usage] = []
    for task_id in TASKS:
        await house.replays_what_was_seen(task_id)
        turns = await house.store.turns(task_id)
        for row in turns:
            thread = _facts(await house.store.thread(task_id, row.turn_id))
            facts = _facts(await house.store.turn(task_id, row.turn_id))
            _was_sent(house, thread, facts)
            _ran_once(facts)
        whole = [_facts(await house.store.turn(task_id, row.turn_id)) for row in turns]
        spent.append(await _adds_up(house, task_id, whole))
        await _rewinds(house, task_id)
        await _is_remembered(house, task_id)
    if house.exact:
        assert sum(spent, Usage()) == house.spent


def _facts(rows: Sequence[Any]) -> list[Fact]:
    for row in rows:
        assert b"was refused" not in row.body, row.body
        assert b"INTERNAL_ERROR" not in row.body, row.body
    return [decode_fact(row.body) for row in rows]


def _was_sent(house: House, thread: list[Fact], facts: list[Fact]) -> None:
    """Every answer was given to the very request that the log gives now."""
    first = len(thread) - len(facts)
    for place, fact in enumerate(thread[first:], first):
        if isinstance(fact, AssistantReplied):
            prompt = prompt_of(thread[:place], prefix=fact.prefix, model=fact.model)
            plain = _plain(fact.content)
            asked = [sent for sent, content in house.models[fact.model].replies if _plain(content) == plain]
            assert any(_references(sent.prompt) == prompt for sent in asked)


def _plain(content: Sequence[Block]) -> list[Block]:
    return [{**block, "id": ""} if block["type"] == "tool_use" else block for block in content]


def _references(prompt: Prompt) -> Prompt:
    return msgspec.structs.replace(prompt, messages=[_without_contents(message) for message in prompt.messages])


def _without_contents(block: Block) -> Block:
    inner = block.get("content")
    if not isinstance(inner, list):
        return block
    return {**block, "content": [_without_contents(each) for each in take_out(inner)[0]]}


def _ran_once(facts: Sequence[Fact]) -> None:
    started = [fact.tool_call_id for fact in facts if isinstance(fact, ToolStarted)]
    repeatable = {
        use["id"]
        for fact in facts
        if isinstance(fact, AssistantReplied)
        for use in fact.content
        if use["type"] == "tool_use" and use["name"] in ("remember", "forget", "read_result")
    }
    once = [each for each in started if each not in repeatable]
    assert len(set(once)) == len(once)


async def _adds_up(house: House, task_id: str, turns: Sequence[Sequence[Fact]]) -> Usage:
    """What the events, the ends, the results and the task's totals say was spent is the same."""
    shown: dict[str, tuple[int, int]] = {}
    ends: dict[str, ThreadLifecycle] = {}
    turn_id = ""
    for _, event in await house.events(task_id):
        if isinstance(event, ThreadLifecycle):
            turn_id = event.turn_id
            if event.phase == "completed":
                ends[turn_id] = event
        elif isinstance(event, UsageEvent):
            input, output = shown.get(turn_id, (0, 0))
            shown[turn_id] = (input + event.input_tokens, output + event.output_tokens)
    total, cost = Usage(), 0.0
    for facts in turns:
        state = fold(facts)
        assert shown.get(state.turn_id, (0, 0)) == (state.usage.input_tokens, state.usage.output_tokens)
        if (end := ends.get(state.turn_id)) is not None:
            assert (end.usage, end.cost_usd) == (state.usage, state.cost_usd)
        assert state.cost_usd is not None
        total, cost = total + state.usage, cost + state.cost_usd
    row = await house.store.task(task_id)
    assert row is not None
    assert row.spent_tokens == total.tokens
    assert row.spent_usd is not None
    assert abs(row.spent_usd - cost) < 1e-9
    assert abs(cost - (total.input_tokens + 2 * total.output_tokens) / 1e6) < 1e-9
    for turn in house.turns:
        if turn.task_id == task_id and turn.turn_id in ends:
            try:
                result = await turn
            except EngineError:
                continue  # its process died, and another one went on
            end = ends[turn.turn_id]
            assert (result.usage, result.cost_usd) == (end.usage, end.cost_usd)
    return total


async def _rewinds(house: House, task_id: str) -> None:
    """Plan and notes are those of the branch that the thread stands on, whatever was summarised of it."""
    row = await house.store.task(task_id)
    assert row is not None
    assert row.head is not None
    notes: dict[str, Noted] = {}
    steps: Any = []
    for fact in counting(_facts(await house.store.thread(task_id, row.head))):
        if isinstance(fact, Noted):
            notes.pop(fact.key, None)
            if fact.value is not None:
                notes[fact.key] = fact
        elif isinstance(fact, PlanChosen):
            steps = fact.steps
    assert await house.engine.plan(task_id) == steps
    assert await house.engine.notes.get(task_id) == current(notes, house.bench.clock.wall)


async def _is_remembered(house: House, task_id: str) -> None:
    """What people said on this branch is remembered, and what was said on others is not any more."""
    row = await house.store.task(task_id)
    assert row is not None
    assert row.head is not None
    facts = list(counting(_facts(await house.store.thread(task_id, row.head))))
    said = [
        (fact.message_id, text_of(fact.content))
        for fact in facts
        if isinstance(fact, TurnStarted) and fact.kind != "note"
    ]
    current: list[Any] = []
    forgotten: list[Any] = []
    after: str | None = None
    while page := await house.engine.memory.page(kinds=["episode"], past=True, after=after, limit=1_000):
        for each in page:
            if isinstance(each, Episode) and each.source.task_id == task_id and each.speaker == "user":
                by_agent = FORGOTTEN in str(each.retired_because)
                (current if each.retired_at is None else forgotten if by_agent else []).append(each)
        after = page[-1].id
    gone = {each.source.message_id for each in forgotten}
    kept = [(each.source.message_id, each.text) for each in current]
    assert set(kept) <= set(said) or house.done["delete"]  # a memory that failed is no reason to keep a task
    assert len(kept) == len(set(kept))
    assert {message_id for message_id, _ in said} <= {message_id for message_id, _ in kept} | gone


async def inspect_empty(house: House) -> None:
    """With the tasks goes everything that was theirs."""
    for task_id in TASKS:
        assert await house.engine.delete(task_id)
        try:
            await house.engine.task(task_id)
        except TaskNotFound:
            continue
        raise AssertionError("it is still there")
