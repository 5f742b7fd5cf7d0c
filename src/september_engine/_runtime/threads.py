"""Threads: from rows to facts, and from a request to the input that starts its turn. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import attrs
import msgspec

from .._turn.facts import AssistantCut, AssistantReplied, Fact, TurnStarted, decode_fact
from .._turn.inputs import Start
from .._turn.limits import Limits
from .._turn.transcript import RESULTS_SUFFIX
from ..errors import InvalidRequest, MessageNotFound
from ..messages import Block
from ..store.base import Store, TaskRow

__all__ = ["Prefix", "TurnRequest", "plan_turn", "read_thread", "read_turn", "shown_blocks"]


@attrs.frozen(kw_only=True)
class Prefix:
    """What every prompt of this engine begins with. Its `id` is a digest: the same prefix has the same id anywhere."""

    system: str
    tools: list[Block]
    id: str

    @classmethod
    def of(cls, system: str, tools: list[Block]) -> Prefix:
        raw = msgspec.json.encode([system, tools], order="sorted")
        return cls(system=system, tools=tools, id=hashlib.sha256(raw).hexdigest()[:16])


@attrs.frozen(kw_only=True)
class TurnRequest:
    """What `execute` was asked for, checked as far as it can be without the log."""

    task_id: str
    turn_id: str
    message_id: str
    content: list[Block]
    direct: bool
    kind: Literal["new", "edit", "retry"]
    target: str | None


async def read_turn(store: Store, task_id: str, turn_id: str) -> list[Fact]:
    """The facts of one turn."""
    return [decode_fact(row.body) for row in await store.turn(task_id, turn_id)]


async def read_thread(store: Store, task_id: str, turn_id: str | None) -> list[Fact]:
    """The facts of a turn and its ancestors, the oldest turn first; [] for no turn."""
    if turn_id is None:
        return []
    return [decode_fact(row.body) for row in await store.thread(task_id, turn_id)]


async def shown_blocks(store: Store, task_id: str, turn_id: str, first: int) -> int:
    """How many blocks from number `first` on clients have seen begin: those of an answer that was cut by a crash."""
    after, most = max(row.ts for row in await store.turn(task_id, turn_id)) - 1, first
    while events := await store.events(task_id, after=after):
        for row in events:
            if row.type == "content_block_start" and row.turn_id == turn_id:
                most = max(most, msgspec.json.decode(row.body)["block_index"] + 1)
        after = events[-1].ts
    return most - first


async def plan_turn(
    store: Store, row: TaskRow | None, request: TurnRequest, *, now: int, limits: Limits, prefix: Prefix
) -> Start:
    """The input that starts the turn: where it goes on from, and whether the prefix must be written with it.

    Raises `MessageNotFound` and `InvalidRequest`; nothing was written then.
    """
    head = None if row is None else row.head
    content, parent = request.content, head
    if request.kind != "new" and request.target is not None:
        aimed_at = await _aimed_at(store, request.task_id, request.target, request.kind)
        parent = aimed_at.parent
        content = aimed_at.content if request.kind == "retry" else content
    known = row is not None and row.prefix == prefix.id and parent == head and head is not None
    return Start(
        now=now,
        turn_id=request.turn_id,
        task_id=request.task_id,
        message_id=request.message_id,
        content=content,
        limits=limits,
        prefix=prefix.id,
        system=None if known else prefix.system,
        tools=None if known else prefix.tools,
        parent=parent,
        previous=head,
        kind=request.kind,
        target=request.target,
        direct=request.direct,
    )


async def _aimed_at(store: Store, task_id: str, message_id: str, kind: str) -> TurnStarted:
    """The user message that an edit or retry means. The same answer for an unknown id and for one of another task."""
    row = await store.find(task_id, message_id)
    if row is None:
        if message_id.endswith(RESULTS_SUFFIX) and await store.find(task_id, message_id.removesuffix(RESULTS_SUFFIX)):
            raise InvalidRequest(f"{kind}_message_id names a tool's results; name a message of a person or the agent.")
        raise MessageNotFound(f"This task has no message {message_id!r}. GET /tasks/{{task_id}}/messages lists them.")
    fact = decode_fact(row.body)
    if isinstance(fact, AssistantReplied | AssistantCut):
        if kind == "edit":
            raise InvalidRequest("edit_message_id names an answer of the agent; only a person's message can be edited.")
        fact = _first(await read_turn(store, task_id, row.turn_id))
    if not isinstance(fact, TurnStarted):
        raise MessageNotFound(f"This task has no message {message_id!r}.")
    return fact


def _first(facts: Sequence[Fact]) -> Fact:
    return facts[0]
