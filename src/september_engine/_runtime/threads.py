"""Threads: from rows to facts, and from a request to the input that starts its turn. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import msgspec

from .._context.tokens import tokens_of
from .._output import Output
from .._turn.facts import AssistantCut, AssistantReplied, Fact, TurnStarted, decode_fact, encode_fact
from .._turn.inputs import Start, WriteNote
from .._turn.limits import Limits
from .._turn.state import TurnState, fold
from .._turn.transcript import REFUSED_SUFFIX, RESULTS_SUFFIX
from ..errors import InvalidRequest, MessageNotFound, StoreCorrupt
from ..messages import Block, Media
from ..store.base import FactRow, Store, TaskRow
from .media import Taken

__all__ = [
    "Left",
    "Prefix",
    "RecentThreads",
    "Thread",
    "TurnRequest",
    "decoded",
    "left_by",
    "plan_turn",
    "read_thread",
    "read_turn",
    "shown_blocks",
]


@attrs.frozen(kw_only=True)
class Prefix:
    """What every prompt of this engine begins with. Its `id` is a digest: the same prefix has the same id anywhere."""

    system: str
    tools: list[Block]
    id: str
    tokens: int
    """A guess."""

    @classmethod
    def of(cls, system: str, tools: list[Block]) -> Prefix:
        raw = msgspec.json.encode([system, tools], order="sorted")
        size = tokens_of(system) + tokens_of(tools)
        return cls(system=system, tools=tools, id=hashlib.sha256(raw).hexdigest()[:16], tokens=size)


@attrs.frozen(kw_only=True)
class TurnRequest:
    """What was asked for, checked as far as it can be without the log. `content` is its text alone.

    `limits` None are the engine's. Kind "note" only writes `notes`.
    """

    task_id: str
    turn_id: str
    message_id: str
    content: list[Block]
    media: Sequence[Media] = ()
    direct: bool = False
    kind: Literal["new", "edit", "retry", "note"] = "new"
    target: str | None = None
    notes: list[WriteNote] = attrs.field(factory=list)
    limits: Limits | None = None
    output: Output[Any] | None = None


async def read_turn(store: Store, task_id: str, turn_id: str) -> list[Fact]:
    """The facts of one turn that exists. Raises `StoreCorrupt` where there are none."""
    return decoded(await store.turn(task_id, turn_id))


async def read_thread(store: Store, task_id: str, turn_id: str | None, *, since: str | None = None) -> list[Fact]:
    """The facts of a turn that exists and its ancestors, the oldest first, from turn `since` on; [] for no turn.

    Raises `StoreCorrupt`.
    """
    return [] if turn_id is None else decoded(await store.thread(task_id, turn_id, since=since))


@attrs.frozen
class Left:
    """How a turn leaves its thread: the tokens of its context, the turn from which requests read it, and what it has
    called upon.
    """

    context: int = 0
    since: str | None = None
    called: tuple[str, ...] = ()


def left_by(state: TurnState) -> Left:
    """How the turn of this state leaves its thread."""
    return Left(state.context, state.since, state.called)


@attrs.define
class Thread:
    """What a request needs of the facts of a turn and its ancestors, the oldest first.

    `size` is how many bytes they are in the log; `left` how the last turn left the thread, where that is known.
    """

    facts: list[Fact] = attrs.field(factory=list)
    size: int = 0
    left: Left | None = None

    def add(self, facts: Sequence[Fact], left: Left) -> None:
        """Go on with what came after; what no request needs any more is let go."""
        self.facts += facts
        self.size += sum(len(encode_fact(fact)) for fact in facts)
        if self.left is None or left.since != self.left.since:
            self.facts = list(_since(self.facts, left.since))
            self.size = sum(len(encode_fact(fact)) for fact in self.facts)
        self.left = left


def _since(facts: Sequence[Fact], turn_id: str | None) -> Sequence[Fact]:
    """The facts from the start of this turn on; all of them where it is not among them."""
    starts = (place for place, fact in enumerate(facts) if isinstance(fact, TurnStarted) and fact.turn_id == turn_id)
    return facts[next(starts, 0) :]


class RecentThreads:
    """The threads on which turns ended last, so that the next turn need not read them again.

    What lies before a turn never changes: a thread that is kept may be old, but never wrong. The one that was used
    longest ago goes first.
    """

    MOST_BYTES = 16 * 2**20
    """As the log has them; in memory the facts of many small turns take about three times as many."""

    def __init__(self) -> None:
        self._threads: dict[str, tuple[str, Thread]] = {}
        self._size = 0

    async def take(self, store: Store, task_id: str, turn_id: str | None, *, since: str | None = None) -> Thread:
        """The thread up to and including this turn, which is kept no more. Raises `StoreCorrupt`.

        It begins with turn `since`, and is empty where that is not an ancestor but the turn that goes on.
        """
        if turn_id is None:
            return Thread()
        if task_id in self._threads and self._threads[task_id][0] == turn_id:
            return self._forget(task_id)
        rows = await store.thread(task_id, turn_id, since=since)
        return Thread(decoded(rows), sum(len(row.body) for row in rows))

    def left(self, task_id: str, turn_id: str) -> Left | None:
        """How this turn left its thread, where it is the last one of a thread that is kept."""
        kept_for, thread = self._threads.get(task_id, ("", None))
        return thread.left if thread is not None and kept_for == turn_id else None

    def keep(self, task_id: str, turn_id: str, thread: Thread) -> None:
        """Keep the thread whose last turn is this one."""
        self.drop(task_id)
        self._threads[task_id] = (turn_id, thread)
        self._size += thread.size
        while self._size > self.MOST_BYTES:
            self._forget(next(iter(self._threads)))

    def go_on(self, task_id: str, parent: str | None, turn_id: str, facts: Sequence[Fact], left: Left) -> None:
        """Where the thread up to `parent` is kept, keep it with the facts of the turn that followed."""
        if parent is not None and task_id in self._threads and self._threads[task_id][0] == parent:
            thread = self._forget(task_id)
            thread.add(facts, left)
            self.keep(task_id, turn_id, thread)

    def drop(self, task_id: str) -> None:
        """Keep nothing of this task."""
        if task_id in self._threads:
            self._forget(task_id)

    def _forget(self, task_id: str) -> Thread:
        _, thread = self._threads.pop(task_id)
        self._size -= thread.size
        return thread


def decoded(rows: Sequence[FactRow]) -> list[Fact]:
    """The facts of these rows. Raises `StoreCorrupt`, also where there are none.

    An index that names a turn which is not there must not be taken for a thread without a past.
    """
    if not rows:
        raise StoreCorrupt("The facts of a turn of this task are missing: the file was damaged.")
    try:
        return [decode_fact(row.body) for row in rows]
    except msgspec.MsgspecError as error:
        raise StoreCorrupt(f"The log of this task holds something that no release wrote: {error}") from error


async def shown_blocks(store: Store, task_id: str, turn_id: str, first: int) -> int:
    """How many blocks from number `first` on clients have seen begin: those of an answer that was cut by a crash."""
    # from the turn's first event on: a fact that shows none may have a later time than the events after it
    after, most = (await store.turn(task_id, turn_id))[0].ts - 1, first
    while events := await store.events(task_id, after=after):
        for row in events:
            if row.type == "content_block_start" and row.turn_id == turn_id:
                most = max(most, msgspec.json.decode(row.body)["block_index"] + 1)
        after = events[-1].ts
    return most - first


async def plan_turn(
    store: Store,
    row: TaskRow | None,
    request: TurnRequest,
    media: Taken,
    *,
    now: int,
    limits: Limits,
    prefix: Prefix,
    recent: RecentThreads,
    planner: bool = False,
) -> Start:
    """The input that starts the turn: where it goes on from, and whether the prefix must be written with it.

    Raises `MessageNotFound` and `InvalidRequest`; nothing was written then.
    """
    head = None if row is None else row.head
    content, blobs, parent = [*media.blocks, *request.content], media.contents, head
    if request.kind != "new" and request.target is not None:
        aimed_at = await _aimed_at(store, request.task_id, request.target, request.kind)
        parent = aimed_at.parent
        if request.kind == "retry":
            content, blobs = aimed_at.content, {}
    known = row is not None and row.prefix == prefix.id and parent == head and head is not None
    left = await _left(store, recent, request.task_id, parent)
    if request.kind == "note":
        return _quiet(row, request, left, now=now, limits=limits)
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
        context=left.context or prefix.tokens,  # what a thread has begun with is in what it has
        since=left.since,
        planner=planner,
        output_schema=None if request.output is None else request.output.schema,
        task_tokens=0 if row is None else row.spent_tokens,
        task_usd=0.0 if row is None else row.spent_usd,
        called=left.called,
        blobs=blobs,
    )


async def _left(store: Store, recent: RecentThreads, task_id: str, turn_id: str | None) -> Left:
    if turn_id is None:
        return Left()
    if (known := recent.left(task_id, turn_id)) is not None:
        return known
    return left_by(fold(await read_turn(store, task_id, turn_id)))


def _quiet(row: TaskRow | None, request: TurnRequest, left: Left, *, now: int, limits: Limits) -> Start:
    """A turn without a message and without a prompt: the prefix stays what it was."""
    head = None if row is None else row.head
    return Start(
        now=now,
        turn_id=request.turn_id,
        task_id=request.task_id,
        message_id="",
        content=[],
        limits=limits,
        prefix="" if row is None or row.prefix is None else row.prefix,
        parent=head,
        previous=head,
        kind="note",
        notes=request.notes,
        context=left.context,
        since=left.since,
        task_tokens=0 if row is None else row.spent_tokens,
        task_usd=0.0 if row is None else row.spent_usd,
        called=left.called,
    )


async def _aimed_at(store: Store, task_id: str, message_id: str, kind: str) -> TurnStarted:
    """The user message that an edit or retry means. The same answer for an unknown id and for one of another task."""
    row = await store.find(task_id, message_id)
    if row is None:
        for suffix, what in ((RESULTS_SUFFIX, "a tool's results"), (REFUSED_SUFFIX, "a note of the engine")):
            if message_id.endswith(suffix) and await store.find(task_id, message_id.removesuffix(suffix)):
                raise InvalidRequest(f"{kind}_message_id names {what}; name a message of a person or the agent.")
        raise MessageNotFound(f"This task has no message {message_id!r}. GET /tasks/{{task_id}}/messages lists them.")
    [fact] = decoded([row])
    if isinstance(fact, AssistantReplied | AssistantCut):
        if kind == "edit":
            raise InvalidRequest("edit_message_id names an answer of the agent; only a person's message can be edited.")
        fact = (await read_turn(store, task_id, row.turn_id))[0]
    if not isinstance(fact, TurnStarted):
        raise MessageNotFound(f"This task has no message {message_id!r}.")
    return fact
