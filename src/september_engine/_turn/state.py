"""The state of a turn: the fold of its facts. `evolve` is total: it takes any fact in any state.

State is never stored. Whoever needs it folds the facts, which is why a turn can be picked up anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace

from ..messages import JSON, Block, Usage, text_of, tool_uses
from ..permissions import Rule
from .facts import (
    AssistantCut,
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
)
from .limits import Limits
from .progress import Progress, outcome_of, stepped, waited

__all__ = ["Call", "Request", "Standing", "TurnState", "cut_short", "evolve", "fold", "remembered", "standing"]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call of the current step. `outcome` tells its result from others.

    asked → owed → running → done; a call that needs no permission begins as owed.
    """

    id: str
    tool: str
    input: dict[str, JSON]
    status: Literal["asked", "owed", "running", "done"] = "owed"
    outcome: str = ""

    @property
    def digest(self) -> str:
        """What tells this call from every other one: the tool and the whole input."""
        return hashlib.sha256(msgspec.json.encode([self.tool, self.input], order="sorted")).hexdigest()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a person, open while `answer` is None."""

    id: str
    kind: Literal["permission", "question"]
    question: str
    tool_call_id: str
    asked_at: int
    digest: str = ""
    remember: tuple[Rule, ...] = ()
    answer: str | None = None


class TurnState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a rule may look at.

    `calls` are those of the current step; `step` counts answered model calls, `refusals` the answers that were not the
    output asked for. A cost of None is unknown; `task_tokens` and `task_usd` are those of the turns before this one.
    """

    status: Literal["new", "running", "completed", "errored"] = "new"
    task_id: str = ""
    turn_id: str = ""
    message_id: str = ""
    parent: str | None = None
    previous: str | None = None
    prefix: str = ""
    limits: Limits = Limits()
    step: int = 0
    attempt: int = 1
    wait_ms: int = 0
    next_block: int = 0
    fallback: bool = False
    raised: bool = False
    repairs: tuple[str, ...] = ()
    resumes: int = 0
    calls: tuple[Call, ...] = ()
    call_ids: frozenset[str] = frozenset()
    requests: tuple[Request, ...] = ()
    tool_calls: int = 0
    usage: Usage = Usage()
    cost_usd: float | None = 0.0
    task_tokens: int = 0
    task_usd: float | None = 0.0
    progress: Progress = Progress()
    output_schema: dict[str, JSON] | None = None
    refusals: int = 0
    counts: bool = True

    @property
    def task_tokens_now(self) -> int:
        """What all turns of the task have used, this one too."""
        return self.task_tokens + self.usage.tokens

    @property
    def task_usd_now(self) -> float | None:
        """What all turns of the task have cost, this one too; None where a part is unknown."""
        return _plus(self.task_usd, self.cost_usd)

    @property
    def open_calls(self) -> tuple[Call, ...]:
        """Calls that have no result yet."""
        return tuple(call for call in self.calls if call.status != "done")

    @property
    def open_requests(self) -> tuple[Request, ...]:
        """Questions nobody has answered, oldest first."""
        return tuple(request for request in self.requests if request.answer is None)

    def allowed(self, call: Call) -> bool:
        """Whether a person said yes to this very call."""
        return any(
            request.tool_call_id == call.id and request.kind == "permission" and request.answer == "yes"
            for request in self.requests
        )

    @property
    def waiting_since(self) -> int | None:
        """When the turn began to wait for nothing but a person, or None while something else is owed."""
        if self.status != "running" or not self.open_calls:
            return None
        if any(call.status != "asked" for call in self.open_calls):
            return None
        return max(request.asked_at for request in self.open_requests)


def fold(facts: Iterable[Fact], state: TurnState | None = None) -> TurnState:
    """All facts, one after the other."""
    folded = TurnState() if state is None else state
    for fact in facts:
        folded = evolve(folded, fact)
    return folded


def evolve(state: TurnState, fact: Fact) -> TurnState:
    """The state after one more fact."""
    match fact:
        case TurnStarted():
            return _started(state, fact)
        case AssistantReplied():
            return _replied(state, fact)
        case OutputRefused():
            return replace(state, refusals=state.refusals + 1, raised=state.raised or fact.cut)
        case AttemptFailed():
            return replace(
                _costing(state, fact.usage, fact.cost_usd),
                attempt=1 if fact.fallback else state.attempt + 1,
                wait_ms=fact.wait_ms,
                next_block=state.next_block + fact.blocks,
                fallback=state.fallback or fact.fallback,
                repairs=state.repairs if fact.repair is None else (*state.repairs, fact.repair),
            )
        case ToolStarted():
            return _with_call(state, fact.tool_call_id, "running")
        case ToolFinished():
            return _finished(state, fact)
        case HumanAsked():
            request = Request(
                id=fact.request_id,
                kind=fact.kind,
                question=fact.question,
                tool_call_id=fact.tool_call_id,
                asked_at=fact.at,
                digest=fact.digest,
                remember=fact.remember,
            )
            return _with_call(replace(state, requests=(*state.requests, request)), fact.tool_call_id, "asked")
        case HumanAnswered():
            return _answered(state, fact)
        case TurnResumed():
            resumed = replace(
                state, resumes=state.resumes + 1, next_block=state.next_block + fact.blocks, attempt=1, wait_ms=0
            )
            for call_id in fact.repeats:
                resumed = _with_call(resumed, call_id, "owed")
            return resumed
        case TurnCompleted():
            return replace(state, status="completed", counts=fact.counts)
        case TurnFailed():
            return replace(_costing(state, fact.usage, fact.cost_usd), status="errored", counts=fact.counts)
        case AssistantCut() | PrefixChosen():
            return state
        case _:
            assert_never(fact)


def _started(state: TurnState, fact: TurnStarted) -> TurnState:
    return replace(
        state,
        status="running",
        task_id=fact.task_id,
        turn_id=fact.turn_id,
        message_id=fact.message_id,
        parent=fact.parent,
        previous=fact.previous,
        prefix=fact.prefix,
        limits=fact.limits,
        output_schema=fact.output_schema,
        task_tokens=fact.task_tokens,
        task_usd=fact.task_usd,
    )


def _replied(state: TurnState, fact: AssistantReplied) -> TurnState:
    calls = tuple(Call(id=use["id"], tool=use["name"], input=use["input"]) for use in tool_uses(fact.content))
    return replace(
        _costing(state, fact.usage, fact.cost_usd),
        step=state.step + 1,
        attempt=1,
        wait_ms=0,
        next_block=state.next_block + fact.blocks,
        raised=state.raised or cut_short(fact.content, fact.stop_reason),
        calls=calls,
        call_ids=state.call_ids | {call.id for call in calls},
        tool_calls=state.tool_calls + len(calls),
    )


def _costing(state: TurnState, usage: Usage | None, cost: float | None) -> TurnState:
    """After a model call; of one that failed before its provider said anything, nothing is known to have been used."""
    if usage is None:
        return state
    return replace(state, usage=state.usage + usage, cost_usd=_plus(state.cost_usd, cost))


def _plus(one: float | None, other: float | None) -> float | None:
    """Unknown where a part is. Rounded, so that many small sums do not show what binary fractions are."""
    return None if one is None or other is None else round(one + other, 10)


def _finished(state: TurnState, fact: ToolFinished) -> TurnState:
    """With the result of one call; with the last one, the step is over. A second result changes nothing."""
    if not any(call.id == fact.tool_call_id for call in state.open_calls):
        return state
    ended = _with_call(state, fact.tool_call_id, "done", outcome=outcome_of(fact.output, fact.error))
    progress = ended.progress if fact.duration_ms is None else waited(ended.progress, fact.duration_ms)
    if not ended.open_calls:
        progress = stepped(progress, [(call.tool, call.input, call.outcome) for call in ended.calls])
    return replace(ended, progress=progress)


def cut_short(content: list[Block], stop_reason: str) -> bool:
    """Whether an answer met its limit before it could be of use: within a call, or before its first word."""
    return stop_reason == "max_tokens" and (bool(tool_uses(content)) or not text_of(content).strip())


def _answered(state: TurnState, fact: HumanAnswered) -> TurnState:
    requests = tuple(replace(r, answer=fact.answer) if r.id == fact.request_id else r for r in state.requests)
    after = replace(state, requests=requests, progress=waited(state.progress))
    for request in requests:
        if request.id == fact.request_id:
            after = _with_call(after, request.tool_call_id, "owed")
    return after


def _with_call(
    state: TurnState, call_id: str, status: Literal["asked", "owed", "running", "done"], *, outcome: str = ""
) -> TurnState:
    """A result is final: a call that is done stays done."""
    calls = tuple(
        replace(call, status=status, outcome=outcome) if call.id == call_id and call.status != "done" else call
        for call in state.calls
    )
    return replace(state, calls=calls)


def remembered(facts: Iterable[Fact]) -> tuple[Rule, ...]:
    """The rules that people laid down by their answers on this thread."""
    return tuple(rule for fact in facts if isinstance(fact, HumanAnswered) for rule in fact.remember)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a turn leaves its thread: what the task's index row must say after these facts.

    `tokens` and `usd` (None: unknown) are what all turns of the task have spent: whichever branch they are on, whether
    they count or not, what was spent stays spent.
    """

    head: str | None
    open_turn: str | None
    prefix: str | None
    waiting_since: int | None
    tokens: int = 0
    usd: float | None = 0.0


def standing(state: TurnState) -> Standing:
    """The index of a thread whose latest turn is in this state.

    While a turn is open the thread stands where it stood before, and so it does again when the turn does not count.
    A prefix is only claimed where `head` really has it: None makes the next turn write its own.
    """
    ended = state.status in ("completed", "errored")
    counted = ended and (state.counts or state.status == "completed")
    return Standing(
        head=state.turn_id if counted else state.previous,
        open_turn=None if ended else state.turn_id,
        prefix=state.prefix if counted else None,
        waiting_since=state.waiting_since,
        tokens=state.task_tokens_now,
        usd=state.task_usd_now,
    )
