"""present: the events a fact or a chunk of the model's stream shows to clients. Pure, and the only place that knows.

`state` is the state before the fact. Every event fits one frame, under 1 MB, whatever the fact holds: values are
`shown`, texts that are not ours are `brief`, ids and names are short before they are facts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, assert_never

from msgspec.structs import replace

from ..events import (
    CompactionEvent,
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    HitlRequest,
    HitlResolved,
    Plan,
    Retry,
    Rewound,
    TextDelta,
    ThinkingDelta,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
    ToolResultError,
    UsageEvent,
    WorkingMemoryUpdate,
    timestamp,
)
from ..messages import JSON, Usage, tool_uses
from ..permissions import in_words
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
from .limits import brief, shown
from .state import Request, TurnState, evolve

__all__ = [
    "BlockType",
    "block_start",
    "block_stop",
    "delta",
    "failure_details",
    "present",
    "request_event",
    "with_retry",
]


def present(state: TurnState, fact: Fact) -> list[Event]:
    """The events of one fact, in the contract's order. A turn that only writes notes shows the notes."""
    match fact:
        case TurnStarted():
            return _started(fact)
        case AssistantReplied():
            return _replied(fact)
        case AttemptFailed():
            wait, retracts = fact.wait_ms, fact.retracts or None
            retry = Retry(attempt=state.attempt, reason=brief(fact.code), wait_ms=wait, retracts=retracts)
            return [*_used(fact.usage), retry]
        case Compacted():
            told = CompactionEvent(
                before_tokens=fact.before_tokens, after_tokens=fact.after_tokens, strategy=fact.strategy
            )
            return [*_used(fact.usage), told]
        case OutputRefused():
            retracts = fact.retracts or None
            return [Retry(attempt=state.refusals + 1, reason="INVALID_OUTPUT", wait_ms=0, retracts=retracts)]
        case ToolFinished():
            return _finished(state, fact)
        case HumanAsked():
            asked = evolve(state, fact)
            return [request_event(asked, asked.requests[-1])]
        case HumanAnswered():
            answer = brief(fact.answer)
            return [HitlResolved(request_id=fact.request_id, task_id=state.task_id, answer=answer)]
        case PlanChosen():
            return [*_used(fact.usage), Plan(steps=fact.steps)]
        case PlanSkipped():
            return _used(fact.usage)
        case Noted():
            return [WorkingMemoryUpdate(key=brief(fact.key), value=shown(fact.value, turn_id=state.turn_id))]
        case TurnResumed():
            retracts = fact.retracts or None
            return [Retry(attempt=state.resumes + 1, reason="INTERRUPTED", wait_ms=0, retracts=retracts)]
        case TurnCompleted() if not state.quiet:
            return [
                ThreadLifecycle(
                    phase="completed",
                    task_id=state.task_id,
                    turn_id=state.turn_id,
                    timestamp=timestamp(fact.at),
                    message_id=fact.message_id,
                    stop_reason=brief(fact.stop_reason),
                    usage=state.usage,
                    cost_usd=state.cost_usd,
                )
            ]
        case TurnFailed():
            return _failed(state, fact)
        case PrefixChosen() | AssistantCut() | ToolStarted() | NotesShown() | Recalled() | TurnCompleted():
            return []
        case _:
            assert_never(fact)


def _started(fact: TurnStarted) -> list[Event]:
    if fact.kind == "note":
        return []
    started = ThreadLifecycle(
        phase="started",
        task_id=fact.task_id,
        turn_id=fact.turn_id,
        timestamp=timestamp(fact.at),
        message_id=fact.message_id,
    )
    if fact.kind == "new" or fact.target is None:
        return [started]
    return [started, Rewound(message_id=fact.target, kind=fact.kind)]


def _replied(fact: AssistantReplied) -> list[Event]:
    calls = [
        ToolCall(
            tool=use["name"],
            tool_call_id=use["id"],
            input=shown(use["input"], message_id=fact.message_id, tool_call_id=use["id"]),
        )
        for use in tool_uses(fact.content)
    ]
    return [*_used(fact.usage), *calls]


def _used(usage: Usage | None) -> list[Event]:
    """The tokens of one model call, as far as they are known."""
    if usage is None:
        return []
    return [
        UsageEvent(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_hit_tokens=usage.cache_hit_tokens,
        )
    ]


def _failed(state: TurnState, fact: TurnFailed) -> list[Event]:
    details = failure_details(fact, message_id=state.message_id, turn_id=state.turn_id) or None
    return [
        *_used(fact.usage),
        ThreadLifecycle(phase="errored", task_id=state.task_id, turn_id=state.turn_id, timestamp=timestamp(fact.at)),
        Error(error=brief(fact.code), message=brief(fact.message), details=details),
    ]


def failure_details(fact: TurnFailed, *, message_id: str, turn_id: str) -> dict[str, JSON]:
    """The facts of a failure, short enough to be shown, and the message to run again from."""
    return with_retry(shown(fact.details, turn_id=turn_id), message_id)


def with_retry(details: Mapping[str, JSON], message_id: str) -> dict[str, JSON]:
    """The details with the message to run the failed turn again from: sent anew it would stand there twice."""
    return {**details, "retry_message_id": message_id} if message_id else dict(details)


def _finished(state: TurnState, fact: ToolFinished) -> list[Event]:
    """A second result for a call shows nothing: the first is final."""
    call = next((call for call in state.calls if call.id == fact.tool_call_id and call.status != "done"), None)
    if call is None:
        return []
    output = shown(fact.output, tool_call_id=call.id, turn_id=state.turn_id)
    error = fact.error
    if error is not None:
        error = ToolResultError(reason=brief(error.reason), message=brief(error.message))
    return [ToolResult(tool_call_id=call.id, tool=call.tool, output=output, error=error)]


def request_event(state: TurnState, request: Request) -> HitlRequest:
    """What a person is shown of a request: with a permission, the call that would run."""
    event = HitlRequest(
        request_id=request.id,
        task_id=state.task_id,
        kind=request.kind,
        question=brief(request.question),
        created_at=timestamp(request.asked_at),
    )
    call = next((call for call in state.calls if call.id == request.tool_call_id), None)
    if request.kind == "question" or call is None:
        return event
    return replace(
        event,
        tool_call_id=call.id,
        tool=call.tool,
        input=shown(call.input, tool_call_id=call.id, turn_id=state.turn_id),
        remember=[in_words(rule) for rule in request.remember] or None,
    )


BlockType = Literal["text", "thinking", "tool_use"]


def block_start(first_block: int, index: int, block_type: BlockType) -> ContentBlockStart:
    """A block of an attempt whose blocks are numbered from `first_block` on."""
    return ContentBlockStart(block_index=first_block + index, block_type=block_type)


def block_stop(first_block: int, index: int, block_type: BlockType) -> ContentBlockStop:
    """Its end."""
    return ContentBlockStop(block_index=first_block + index, block_type=block_type)


def delta(block_type: BlockType, text: str) -> TextDelta | ThinkingDelta:
    """What the open block shows next."""
    return ThinkingDelta(text=text) if block_type == "thinking" else TextDelta(text=text)
