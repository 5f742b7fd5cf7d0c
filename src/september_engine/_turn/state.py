"""The state of a turn: the fold of its facts. `evolve` is total: it takes any fact in any state.

State is never stored. Whoever needs it folds the facts, which is why a turn can be picked up anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal, assert_never

import msgspec
from msgspec.structs import replace

from .._context.stored import is_media
from ..messages import JSON, Block, Usage, text_of, tool_uses
from ..permissions import Effect, Rule
from .facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Compacted,
    Fact,
    HumanAnswered,
    HumanAsked,
    Noted,
    NotesShown,
    OutputRefused,
    PlanChosen,
    PlanSkipped,
    PrefixChosen,
    Recalled,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
)
from .limits import Limits
from .progress import Progress, outcome_of, stepped, waited
from .size import budget_of, context_after

__all__ = [
    "Call",
    "Request",
    "TurnState",
    "counting",
    "cut_short",
    "evolve",
    "fold",
    "remembered",
]


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
    """A question to a person, open while `answer` is None. `opens` is as in `HumanAsked`."""

    id: str
    kind: Literal["permission", "question"]
    question: str
    tool_call_id: str
    asked_at: int
    digest: str = ""
    remember: tuple[Rule, ...] = ()
    opens: tuple[Effect, ...] | None = None
    answer: str | None = None


MEMORIES = "untrusted memories"
FILES = "attached files"
"""Among the names of tools where an untrusted memory was recalled, or a person attached something that others wrote."""


class TurnState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a rule may look at.

    `calls` are those of the current step; `step` counts answered model calls, `refusals` the answers that were not the
    output asked for. A cost of None is unknown; `task_tokens` and `task_usd` are those of the turns before this one.

    `planning` means that the planning step is owed; `quiet` that the turn only writes notes and shows nothing else,
    and `recalled` that long-term memory has been asked. `context` is how many tokens the next request has, as far as
    that is known; `since` the turn from which the thread is read for it. `too_long` says that a provider found it too
    long, `refused` that it refused what came before for another reason, `shortened` that it was summarised since the
    last answer. `called` are the names of tools called in the thread so far, with `MEMORIES` and `FILES` where such
    came in. `noted` is what this turn has noted last under each key.
    """

    status: Literal["new", "running", "completed", "errored"] = "new"
    task_id: str = ""
    turn_id: str = ""
    message_id: str = ""
    parent: str | None = None
    previous: str | None = None
    prefix: str = ""
    limits: Limits = Limits()
    planning: bool = False
    quiet: bool = False
    recalled: bool = False
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
    context: int = 0
    since: str | None = None
    began_with: tuple[int, str | None] = (0, None)
    too_long: bool = False
    refused: bool = False
    shortened: bool = False
    compactions: int = 0
    called: tuple[str, ...] = ()
    noted: tuple[Noted, ...] = ()

    @property
    def owes_compaction(self) -> bool:
        """Whether what came before is summarised before the next request."""
        if self.status != "running" or self.open_calls or self.limits.compactions == 0:
            return False
        budget = budget_of(self.limits)
        return self.too_long or (budget is not None and self.context > budget)

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

    def approval(self, call_id: str) -> Request | None:
        """The request for this very call to which a person said yes."""
        for request in self.requests:
            if request.tool_call_id == call_id and request.kind == "permission" and request.answer == "yes":
                return request
        return None

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
    context = context_after(state.context, state.began_with[0], fact)
    return _evolved(state if context == state.context else replace(state, context=context), fact)


def _evolved(state: TurnState, fact: Fact) -> TurnState:
    match fact:
        case TurnStarted():
            return _started(state, fact)
        case AssistantReplied():
            return _replied(state, fact)
        case OutputRefused():
            return replace(state, refusals=state.refusals + 1, raised=state.raised or fact.cut)
        case Compacted():
            return replace(
                _costing(state, fact.usage, fact.cost_usd),
                since=fact.since,
                too_long=False,
                refused=False,
                shortened=True,
                compactions=state.compactions + 1,
            )
        case AttemptFailed():
            return _failed(state, fact)
        case ToolStarted():
            return _with_call(state, fact.tool_call_id, "running")
        case ToolFinished():
            return _finished(state, fact)
        case HumanAsked():
            return _asked(state, fact)
        case HumanAnswered():
            return _answered(state, fact)
        case PlanChosen(by="planner") | PlanSkipped():
            return replace(_costing(state, fact.usage, fact.cost_usd), planning=False)
        case Recalled():
            untrusted = any(item.trust == "untrusted" for item in fact.items)
            return replace(state, recalled=True, called=_with_names(state.called, [MEMORIES] if untrusted else []))
        case TurnResumed():
            resumed = replace(
                state, resumes=state.resumes + 1, next_block=state.next_block + fact.blocks, attempt=1, wait_ms=0
            )
            for call_id in fact.repeats:
                resumed = _with_call(resumed, call_id, "owed")
            return resumed
        case TurnCompleted():
            since = state.since if fact.counts else state.began_with[1]
            return replace(state, status="completed", counts=fact.counts, since=since)
        case TurnFailed():
            since = state.since if fact.counts else state.began_with[1]
            ended = _costing(state, fact.usage, fact.cost_usd)
            return replace(ended, status="errored", counts=fact.counts, since=since)
        case Noted():
            return replace(state, noted=(*(note for note in state.noted if note.key != fact.key), fact))
        case AssistantCut() | PrefixChosen() | PlanChosen() | NotesShown():
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
        planning=fact.planning,
        quiet=fact.kind == "note",
        output_schema=fact.output_schema,
        task_tokens=fact.task_tokens,
        task_usd=fact.task_usd,
        since=fact.since,
        began_with=(fact.context, fact.since),
        called=_with_names(fact.called, [FILES for block in fact.content if is_media(block)]),
    )


def _failed(state: TurnState, fact: AttemptFailed) -> TurnState:
    return replace(
        _costing(state, fact.usage, fact.cost_usd),
        attempt=1 if fact.fallback else state.attempt + 1,
        wait_ms=fact.wait_ms,
        next_block=state.next_block + fact.blocks,
        fallback=state.fallback or fact.fallback,
        repairs=state.repairs if fact.repair is None else (*state.repairs, fact.repair),
        too_long=state.too_long or fact.too_long,
        refused=state.refused or (fact.too_long and fact.code != "CONTEXT_OVERFLOW"),
    )


def _replied(state: TurnState, fact: AssistantReplied) -> TurnState:
    calls = tuple(Call(id=use["id"], tool=use["name"], input=use["input"]) for use in tool_uses(fact.content))
    return replace(
        _costing(state, fact.usage, fact.cost_usd),
        step=state.step + 1,
        attempt=1,
        wait_ms=0,
        shortened=False,
        next_block=state.next_block + fact.blocks,
        raised=state.raised or cut_short(fact.content, fact.stop_reason),
        calls=calls,
        call_ids=state.call_ids | {call.id for call in calls},
        tool_calls=state.tool_calls + len(calls),
        called=_with_names(state.called, [call.tool for call in calls]),
    )


def _with_names(known: tuple[str, ...], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *more)))


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


def _asked(state: TurnState, fact: HumanAsked) -> TurnState:
    request = Request(
        id=fact.request_id,
        kind=fact.kind,
        question=fact.question,
        tool_call_id=fact.tool_call_id,
        asked_at=fact.at,
        digest=fact.digest,
        remember=fact.remember,
        opens=fact.opens,
    )
    return _with_call(replace(state, requests=(*state.requests, request)), fact.tool_call_id, "asked")


def _answered(state: TurnState, fact: HumanAnswered) -> TurnState:
    requests = tuple(replace(r, answer=fact.answer) if r.id == fact.request_id else r for r in state.requests)
    called = _with_names(state.called, [FILES for block in fact.content_blocks if is_media(block)])
    after = replace(state, requests=requests, progress=waited(state.progress), called=called)
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
    rules: tuple[Rule, ...] = ()
    for fact in facts:
        if isinstance(fact, HumanAnswered):
            rules += fact.remember
        elif isinstance(fact, Compacted):
            rules = fact.remember
    return rules


def counting(facts: Iterable[Fact]) -> Iterator[Fact]:
    """The facts of a thread without those of turns that do not count."""
    turn: list[Fact] = []
    for fact in facts:
        if isinstance(fact, TurnStarted):
            yield from turn
            turn = []
        turn.append(fact)
        if isinstance(fact, (TurnCompleted, TurnFailed)) and not fact.counts:
            turn = []
    yield from turn
