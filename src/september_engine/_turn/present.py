"""present: the events a fact or a chunk of the model's stream shows to clients. Pure, and the only place that knows.

`state` is the state before the fact.
"""

from __future__ import annotations

from typing import Literal, assert_never

from msgspec.structs import replace

from ..events import (
    ContentBlockStart,
    ContentBlockStop,
    Error,
    Event,
    HitlRequest,
    HitlResolved,
    Retry,
    Rewound,
    TextDelta,
    ThinkingDelta,
    ThreadLifecycle,
    ToolCall,
    ToolResult,
    UsageEvent,
    timestamp,
)
from ..messages import tool_uses
from ..permissions import in_words
from .facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Fact,
    HumanAnswered,
    HumanAsked,
    PrefixChosen,
    ToolFinished,
    ToolStarted,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
    TurnStarted,
)
from .limits import shown
from .state import Request, TurnState, evolve

__all__ = ["BlockType", "block_start", "block_stop", "delta", "present", "request_event"]


def present(state: TurnState, fact: Fact) -> list[Event]:
    """The events of one fact, in the contract's order."""
    match fact:
        case TurnStarted():
            return _started(fact)
        case AssistantReplied():
            return _replied(fact)
        case AttemptFailed():
            wait, retracts = fact.wait_ms, fact.retracts or None
            return [Retry(attempt=state.attempt, reason=fact.code, wait_ms=wait, retracts=retracts)]
        case ToolFinished():
            return _finished(state, fact)
        case HumanAsked():
            asked = evolve(state, fact)
            return [request_event(asked, asked.requests[-1])]
        case HumanAnswered():
            return [HitlResolved(request_id=fact.request_id, task_id=state.task_id, answer=fact.answer)]
        case TurnResumed():
            retracts = fact.retracts or None
            return [Retry(attempt=state.resumes + 1, reason="INTERRUPTED", wait_ms=0, retracts=retracts)]
        case TurnCompleted():
            return [
                ThreadLifecycle(
                    phase="completed",
                    task_id=state.task_id,
                    turn_id=state.turn_id,
                    timestamp=timestamp(fact.at),
                    message_id=fact.message_id,
                    stop_reason=fact.stop_reason,
                    usage=state.usage,
                )
            ]
        case TurnFailed():
            return [
                ThreadLifecycle(
                    phase="errored", task_id=state.task_id, turn_id=state.turn_id, timestamp=timestamp(fact.at)
                ),
                Error(error=fact.code, message=fact.message, details=fact.details or None),
            ]
        case PrefixChosen() | AssistantCut() | ToolStarted():
            return []
        case _:
            assert_never(fact)


def _started(fact: TurnStarted) -> list[Event]:
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
    usage = UsageEvent(
        input_tokens=fact.usage.input_tokens,
        output_tokens=fact.usage.output_tokens,
        cache_hit_tokens=fact.usage.cache_hit_tokens,
    )
    calls = [
        ToolCall(
            tool=use["name"],
            tool_call_id=use["id"],
            input=shown(use["input"], message_id=fact.message_id, tool_call_id=use["id"]),
        )
        for use in tool_uses(fact.content)
    ]
    return [usage, *calls]


def _finished(state: TurnState, fact: ToolFinished) -> list[Event]:
    """A second result for a call shows nothing: the first is final."""
    call = next((call for call in state.calls if call.id == fact.tool_call_id and call.status != "done"), None)
    if call is None:
        return []
    output = shown(fact.output, tool_call_id=call.id, turn_id=state.turn_id)
    return [ToolResult(tool_call_id=call.id, tool=call.tool, output=output, error=fact.error)]


def request_event(state: TurnState, request: Request) -> HitlRequest:
    """What a person is shown of a request: with a permission, the call that would run."""
    event = HitlRequest(
        request_id=request.id,
        task_id=state.task_id,
        kind=request.kind,
        question=request.question,
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
