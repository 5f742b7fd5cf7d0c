from __future__ import annotations

import pytest
from msgspec.structs import replace

from september_engine._turn.facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Fact,
    HumanAnswered,
    HumanAsked,
    ToolStarted,
    TurnCompleted,
    TurnFailed,
    TurnResumed,
)
from september_engine._turn.inputs import Cancelled, Interrupted
from september_engine._turn.limits import Limits
from september_engine._turn.standing import Standing, standing
from september_engine._turn.state import TurnState, evolve, fold
from september_engine.messages import Usage

from .build import NOW, Turn, answered, asking, failure, finished, replied, returned, starting, text, use


def reply(*call_ids: str, blocks: int = 3, stop_reason: str = "tool_use") -> AssistantReplied:
    return AssistantReplied(
        at=NOW,
        message_id="msg",
        content=[text(), *[use(id) for id in call_ids]],
        stop_reason=stop_reason,
        usage=Usage(input_tokens=10, output_tokens=5, cache_hit_tokens=4),
        model="big",
        prefix="p1",
        blocks=blocks,
    )


def asked(call_id: str, request_id: str = "hitl_1", at: int = NOW) -> HumanAsked:
    return HumanAsked(at=at, request_id=request_id, kind="permission", question="May it?", tool_call_id=call_id)


def statuses(state: TurnState) -> dict[str, str]:
    return {call.id: call.status for call in state.calls}


def test_a_turn_begins_with_what_its_first_fact_says() -> None:
    limits = Limits(steps=3)
    state = Turn(parent="turn_0", previous="turn_00", kind="edit", target="msg_0", limits=limits).state
    assert state == TurnState(
        status="running",
        task_id="task",
        turn_id="turn_1",
        message_id="msg_1",
        parent="turn_0",
        previous="turn_00",
        prefix="p1",
        limits=limits,
        context=state.context,
    )


def test_a_reply_is_a_step_with_its_calls_its_blocks_and_its_cost() -> None:
    state = fold([reply("a", "b"), finished("a"), finished("b"), reply("c", blocks=2)])
    assert state.step == 2
    assert statuses(state) == {"c": "owed"}
    assert state.call_ids == {"a", "b", "c"}
    assert state.tool_calls == 3
    assert state.next_block == 5
    assert state.usage == Usage(input_tokens=20, output_tokens=10, cache_hit_tokens=8)


def test_a_call_goes_from_asked_to_owed_to_running_to_done() -> None:
    facts: list[Fact] = [
        reply("a"),
        asked("a"),
        HumanAnswered(at=NOW, request_id="hitl_1", answer="yes"),
        ToolStarted(at=NOW, tool_call_id="a"),
        finished("a"),
    ]
    seen = [statuses(fold(facts[: count + 1]))["a"] for count in range(len(facts))]
    assert seen == ["owed", "asked", "owed", "running", "done"]


def test_a_result_is_final() -> None:
    done = fold([reply("a"), finished("a")])
    for fact in (ToolStarted(at=NOW, tool_call_id="a"), asked("a"), finished("a", "another")):
        assert statuses(evolve(done, fact)) == {"a": "done"}


def test_failed_attempts_are_counted_until_a_reply() -> None:
    failed = AttemptFailed(at=NOW, code="LLM_TIMEOUT", message="", wait_ms=500, blocks=2, retracts=[0, 1])
    state = fold([failed, replace(failed, wait_ms=900, repair="thinking")])
    assert (state.attempt, state.wait_ms, state.next_block, state.repairs) == (3, 900, 4, ("thinking",))
    after = evolve(state, reply())
    assert (after.attempt, after.wait_ms, after.next_block, after.repairs) == (1, 0, 7, ("thinking",))


def test_the_fallback_model_begins_with_its_first_attempt_and_stays_for_the_turn() -> None:
    failed = AttemptFailed(at=NOW, code="LLM_AUTH", message="", wait_ms=0, fallback=True)
    state = fold([replace(failed, fallback=False), failed])
    assert (state.attempt, state.fallback) == (1, True)
    assert fold([replace(failed, fallback=False), reply()], state).fallback


@pytest.mark.parametrize(
    ("stop_reason", "call_ids", "raised"),
    [("max_tokens", ["a"], True), ("max_tokens", [], False), ("tool_use", ["a"], False)],
)
def test_only_an_answer_that_was_cut_in_a_tool_call_gets_more_room(
    stop_reason: str, call_ids: list[str], raised: bool
) -> None:
    assert evolve(TurnState(), reply(*call_ids, stop_reason=stop_reason)).raised is raised


def test_the_next_process_begins_anew_but_for_what_was_shown() -> None:
    failed = AttemptFailed(at=NOW, code="LLM_TIMEOUT", message="", wait_ms=500)
    state = evolve(evolve(TurnState(), failed), TurnResumed(at=NOW, blocks=2, retracts=[0, 1]))
    assert (state.resumes, state.attempt, state.wait_ms, state.next_block) == (1, 1, 0, 2)


def test_a_call_that_is_safe_to_repeat_is_owed_again() -> None:
    running = fold([reply("a", "b"), ToolStarted(at=NOW, tool_call_id="a"), ToolStarted(at=NOW, tool_call_id="b")])
    assert statuses(evolve(running, TurnResumed(at=NOW, repeats=["b"]))) == {"a": "running", "b": "owed"}


def test_facts_that_change_nothing_owed_change_nothing() -> None:
    state = Turn().state
    cut = evolve(state, AssistantCut(at=NOW, message_id="m", text="Hel"))
    assert cut == replace(state, context=state.context + 1)
    assert fold(Turn().facts[1:], state) == state


@pytest.mark.parametrize(
    ("fact", "status", "counts"),
    [
        (TurnCompleted(at=NOW, message_id="m", stop_reason="end_turn"), "completed", True),
        (TurnCompleted(at=NOW, message_id="m", stop_reason="refusal", counts=False), "completed", False),
        (TurnFailed(at=NOW, code="CANCELLED", message=""), "errored", True),
        (TurnFailed(at=NOW, code="INTERRUPTED", message="", counts=False), "errored", False),
    ],
)
def test_a_turn_ends_well_or_not_and_counts_or_not(fact: Fact, status: str, counts: bool) -> None:
    state = evolve(Turn().state, fact)
    assert (state.status, state.counts) == (status, counts)


@pytest.mark.parametrize(
    "fact",
    [
        ToolStarted(at=NOW, tool_call_id="unknown"),
        finished("unknown"),
        HumanAnswered(at=NOW, request_id="unknown", answer="yes"),
        TurnResumed(at=NOW, repeats=["unknown"]),
    ],
)
def test_a_fact_about_something_unknown_is_taken(fact: Fact) -> None:
    state = Turn(asking("a")).state
    assert evolve(state, fact).calls == state.calls
    assert evolve(state, fact).requests == state.requests


class TestWaiting:
    """A turn waits when nothing but a person's answer is outstanding."""

    def test_it_waits_since_the_request_was_made(self) -> None:
        turn = Turn(replace(asking("a", "b"), now=NOW + 5))
        assert turn.state.waiting_since == NOW + 5
        assert [request.id for request in turn.state.open_requests] == ["hitl_1", "hitl_2"]

    def test_it_does_not_while_another_call_is_owed_or_running(self) -> None:
        turn = Turn(replied(use("a"), use("b"), asks={"a": "May a run?"}))
        assert turn.state.waiting_since is None
        turn.tell(starting("b"))
        assert turn.state.waiting_since is None
        turn.tell(returned("b"))
        assert turn.state.waiting_since == NOW

    def test_it_does_not_once_the_last_request_is_answered(self) -> None:
        turn = Turn(asking("a", "b"), answered("no", "hitl_2"))
        assert [request.id for request in turn.state.open_requests] == ["hitl_1"]
        assert turn.state.waiting_since == NOW
        turn.tell(answered("yes", "hitl_1"))
        assert turn.state.open_requests == ()
        assert turn.state.waiting_since is None

    def test_it_does_not_while_the_model_is_owed_or_after_the_end(self) -> None:
        assert Turn().state.waiting_since is None
        assert Turn(asking("a"), Cancelled(now=NOW, message_id="m")).state.waiting_since is None


class TestStanding:
    """Where a turn leaves its thread."""

    def test_while_it_runs_the_thread_stands_where_it_stood(self) -> None:
        turn = Turn(parent="turn_p", previous="turn_0", kind="edit", target="msg_0")
        assert standing(turn.state) == Standing(head="turn_0", open_turn="turn_1", prefix=None, waiting_since=None)

    def test_while_it_waits_the_thread_says_since_when(self) -> None:
        assert standing(Turn(asking("a")).state).waiting_since == NOW

    @pytest.mark.parametrize("end", [replied(text()), Cancelled(now=NOW, message_id="m"), failure(retryable=False)])
    def test_a_turn_that_counts_is_the_new_head(self, end: object) -> None:
        turn = Turn(end, previous="turn_0")  # type: ignore[arg-type]  # each is an input
        now = Standing(head="turn_1", open_turn=None, prefix="p1", waiting_since=None)
        assert standing(turn.state) == replace(now, tokens=turn.state.usage.tokens, usd=turn.state.cost_usd)

    def test_a_turn_that_does_not_count_leaves_no_trace_of_itself(self) -> None:
        turn = Turn(Interrupted(now=NOW), previous="turn_0")
        assert standing(turn.state) == Standing(head="turn_0", open_turn=None, prefix=None, waiting_since=None)

    def test_a_refused_turn_stays_readable(self) -> None:
        turn = Turn(replied(text(), stop_reason="refusal"), previous="turn_0")
        assert standing(turn.state).head == "turn_1"


def test_folding_in_two_parts_is_folding_at_once() -> None:
    turn = Turn(asking("a", "b"), answered(), starting("a"), answered("no", "hitl_2"), returned("a"))
    for cut in range(len(turn.facts)):
        assert fold(turn.facts[cut:], fold(turn.facts[:cut])) == turn.state == fold(turn.facts)
