from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from september_engine._turn.facts import (
    AssistantCut,
    AttemptFailed,
    HumanAnswered,
    HumanAsked,
    PrefixChosen,
    ToolStarted,
    TurnFailed,
    TurnResumed,
)
from september_engine._turn.inputs import Broken, Cancelled
from september_engine._turn.limits import EVENT_BYTES
from september_engine._turn.present import block_start, block_stop, delta, present
from september_engine._turn.state import TurnState, fold
from september_engine.events import (
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
    ToolResultError,
    UsageEvent,
    encode,
    name_of,
)
from september_engine.messages import Usage

from .build import NOW, Turn, answered, asking, failure, finished, replied, returned, starting, text, think, use

AT = "2023-11-14T22:13:20.000Z"


def shown_by(turn: Turn) -> list[Event]:
    """What a client sees of the whole turn, but for text."""
    return [event for count, fact in enumerate(turn.facts) for event in present(fold(turn.facts[:count]), fact)]


def test_a_turn_that_ends_well_begins_and_ends_with_its_lifecycle() -> None:
    turn = Turn(replied(text(), use("a", "look", at=1)), starting("a"), returned("a", [1]), replied(text(), step=1))
    usage = UsageEvent(input_tokens=10, output_tokens=5, cache_hit_tokens=4)
    assert shown_by(turn) == [
        ThreadLifecycle(phase="started", task_id="task", turn_id="turn_1", timestamp=AT, message_id="msg_1"),
        usage,
        ToolCall(tool="look", tool_call_id="a", input={"at": 1}),
        ToolResult(tool_call_id="a", tool="look", output=[1]),
        usage,
        ThreadLifecycle(
            phase="completed",
            task_id="task",
            turn_id="turn_1",
            timestamp=AT,
            message_id="msg_3",
            stop_reason="end_turn",
            usage=Usage(input_tokens=20, output_tokens=10, cache_hit_tokens=8),
        ),
    ]


def test_a_turn_that_fails_ends_with_its_lifecycle_and_then_the_error() -> None:
    turn = Turn(replied(use("a"), use("b")), starting("a"), Cancelled(now=NOW, message_id="m"))
    assert [name_of(event) for event in shown_by(turn)] == [
        "thread_lifecycle",
        "usage",
        "tool_call",
        "tool_call",
        "tool_result",
        "tool_result",
        "thread_lifecycle",
        "error",
    ]
    assert shown_by(turn)[-2:] == [
        ThreadLifecycle(phase="errored", task_id="task", turn_id="turn_1", timestamp=AT),
        Error(error="CANCELLED", message="The turn was cancelled.", details={"retry_message_id": "msg_1"}),
    ]


def test_an_error_carries_its_details_where_it_has_some() -> None:
    failed = TurnFailed(at=NOW, code="LLM_RATE_LIMITED", message="Too fast.", details={"retry_after": 3})
    assert present(Turn().state, failed)[-1] == Error(
        error="LLM_RATE_LIMITED",
        message="Too fast.",
        details={"retry_after": 3, "retry_message_id": "msg_1"},
    )


@pytest.mark.parametrize("kind", ["edit", "retry"])
def test_an_edit_or_retry_says_where_it_moved_the_thread(kind: Any) -> None:
    turn = Turn(parent=None, previous="turn_0", kind=kind, target="msg_0")
    assert shown_by(turn)[1:] == [Rewound(message_id="msg_0", kind=kind)]
    assert len(shown_by(Turn(kind="new", target="msg_0"))) == 1
    assert len(shown_by(Turn(kind=kind, target=None))) == 1


def test_the_calls_of_a_message_come_before_any_of_their_results() -> None:
    turn = Turn(replied(use("a"), use("b"), use("c")), starting("b", "a"), returned("b"), returned("a"))
    seen = [
        (name_of(event), event.tool_call_id) for event in shown_by(turn) if isinstance(event, ToolCall | ToolResult)
    ]
    assert seen == [
        ("tool_call", "a"),
        ("tool_call", "b"),
        ("tool_call", "c"),
        ("tool_result", "b"),
        ("tool_result", "a"),
    ]


def test_a_failing_tool_is_a_result_with_its_error() -> None:
    error = ToolResultError(reason="tool_failed", message="KeyError: 'x'")
    turn = Turn(replied(use("a")), starting("a"), returned("a", None, error=error))
    assert shown_by(turn)[-1] == ToolResult(tool_call_id="a", tool="look", output=None, error=error)


def test_a_second_result_or_one_of_an_unknown_call_shows_nothing() -> None:
    turn = Turn(replied(use("a")), starting("a"), returned("a"))
    assert present(turn.state, finished("a")) == []
    assert present(turn.state, finished("unknown")) == []


def test_a_failed_attempt_is_shown_with_the_blocks_it_takes_back() -> None:
    turn = Turn(failure(), failure(blocks=2, code="LLM_TIMEOUT"))
    assert shown_by(turn)[1:] == [
        Retry(attempt=1, reason="LLM_PROVIDER_ERROR", wait_ms=250),
        Retry(attempt=2, reason="LLM_TIMEOUT", wait_ms=500, retracts=[0, 1]),
    ]
    costly = AttemptFailed(at=NOW, code="LLM_AUTH", message="", wait_ms=0, usage=Usage(input_tokens=9, output_tokens=1))
    assert present(TurnState(), costly) == [
        UsageEvent(input_tokens=9, output_tokens=1, cache_hit_tokens=0),
        Retry(attempt=1, reason="LLM_AUTH", wait_ms=0),
    ]
    fallback = AttemptFailed(at=NOW, code="LLM_AUTH", message="", wait_ms=0, fallback=True)
    assert present(TurnState(), fallback) == [Retry(attempt=1, reason="LLM_AUTH", wait_ms=0)]


def test_a_turn_that_is_taken_up_again_says_so_like_a_failed_attempt() -> None:
    state = Turn().state
    resumed = TurnResumed(at=NOW, blocks=2, retracts=[0, 1])
    assert present(state, resumed) == [Retry(attempt=1, reason="INTERRUPTED", wait_ms=0, retracts=[0, 1])]
    assert present(fold([resumed], state), TurnResumed(at=NOW)) == [Retry(attempt=2, reason="INTERRUPTED", wait_ms=0)]


def test_a_person_sees_what_would_run_and_that_it_was_answered() -> None:
    turn = Turn(asking("a"), answered("no"))
    assert shown_by(turn)[3:5] == [
        HitlRequest(
            request_id="hitl_1",
            task_id="task",
            kind="permission",
            question="May a run?",
            created_at=AT,
            tool_call_id="a",
            tool="look",
            input={},
        ),
        HitlResolved(request_id="hitl_1", task_id="task", answer="no"),
    ]


def test_a_request_about_a_call_that_is_not_known_can_still_be_shown() -> None:
    asked = HumanAsked(at=NOW, request_id="h", kind="permission", question="May it?", tool_call_id="gone")
    (event,) = present(Turn().state, asked)
    assert isinstance(event, HitlRequest)
    assert (event.tool_call_id, event.tool, event.input) == (None, None, None)


def test_what_is_too_large_for_a_frame_is_shown_by_a_reference() -> None:
    large = "x" * EVENT_BYTES
    turn = Turn(replied(use("a", data=large), asks={"a": "May it?"}), answered("yes"), starting("a"))
    turn.tell(returned("a", "short"))
    _, _, call, request, *_ = shown_by(turn)
    assert isinstance(call, ToolCall)
    assert isinstance(request, HitlRequest)
    assert call.input["reference"] == {"message_id": "msg_2", "tool_call_id": "a"}
    assert request.input is not None
    assert request.input["reference"] == {"tool_call_id": "a", "turn_id": "turn_1"}
    (result,) = present(Turn(replied(use("a"))).state, finished("a", large))
    assert isinstance(result, ToolResult)
    assert result.output["reference"] == {"tool_call_id": "a", "turn_id": "turn_1"}


@pytest.mark.parametrize(
    "fact",
    [
        PrefixChosen(at=NOW, prefix="p", system="", tools=[]),
        AssistantCut(at=NOW, message_id="m", text="Hel"),
        ToolStarted(at=NOW, tool_call_id="a"),
    ],
)
def test_what_is_nobodys_business_shows_nothing(fact: Any) -> None:
    assert present(Turn(replied(use("a"))).state, fact) == []


def test_an_answer_shows_no_text_of_its_own_since_its_deltas_were_seen() -> None:
    turn = Turn(replied(think(), text("Hello")))
    assert not any(isinstance(event, TextDelta | ThinkingDelta) for event in shown_by(turn))


def test_an_answered_request_needs_nothing_of_the_state_but_its_task() -> None:
    fact = HumanAnswered(at=NOW, request_id="h", answer="blue")
    assert present(TurnState(task_id="t"), fact) == [HitlResolved(request_id="h", task_id="t", answer="blue")]


def test_blocks_are_numbered_through_the_turn_and_deltas_say_whose_they_are() -> None:
    assert block_start(3, 1, "text") == ContentBlockStart(block_index=4, block_type="text")
    assert block_stop(3, 1, "tool_use") == ContentBlockStop(block_index=4, block_type="tool_use")
    assert delta("text", "a") == TextDelta(text="a")
    assert delta("thinking", "a") == ThinkingDelta(text="a")


HUGE: list[Callable[[str], Turn]] = [
    lambda huge: Turn(failure(message=huge)),
    lambda huge: Turn(failure(code=huge, message=huge, retryable=False, details={"body": huge})),
    lambda huge: Turn(failure(code=huge, message=huge, retryable=False, bad_history=True), failure(bad_history=True)),
    lambda huge: Turn(replied(text(), stop_reason=huge)),
    lambda huge: Turn(replied(use("a", huge, at=huge)), starting("a"), returned("a", huge)),
    lambda huge: Turn(replied(use(huge), use(huge), use(huge + "2")), Cancelled(now=NOW, message_id="m")),
    lambda huge: Turn(replied(use("a", "look"), broken={"a": huge})),
    lambda huge: Turn(
        replied(use("a")), starting("a"), returned("a", huge, error=ToolResultError(reason=huge, message=huge))
    ),
    lambda huge: Turn(replied(use("a"), asks={"a": huge}), answered("no", feedback=huge)),
    lambda huge: Turn(Broken(now=NOW, code=huge, message=huge, details={"what": [huge]})),
]


@pytest.mark.parametrize("piece", ["x", "\x00", "\u2028", "\U0001f98a"])
@pytest.mark.parametrize("turn", HUGE)
def test_every_event_fits_one_frame_whatever_the_world_told_the_turn(turn: Callable[[str], Turn], piece: str) -> None:
    shown = shown_by(turn(piece * 3_000_000))
    assert max(len(encode(event)) for event in shown) < 1_000_000
    assert len(shown) > 1


def test_an_answer_to_a_question_fits_one_frame_too() -> None:
    (event,) = present(TurnState(), HumanAnswered(at=NOW, request_id="hitl_1", answer="x" * 3_000_000))
    assert len(encode(event)) < 1_000_000
