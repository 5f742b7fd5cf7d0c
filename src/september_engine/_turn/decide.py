"""decide: what an input means. All rules of a turn begin here; those that fill a page have a module of their own.

1. A stale or duplicate input decides to nothing: a second answer, a result after a cancel, anything after the end.
2. The facts of one `decide` are appended in one transaction, so no state between them ever exists.
3. A turn that ends leaves no tool call without a result and ends with exactly one terminal fact.
4. Only what `decide` returns ends a turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, assert_never

from msgspec.structs import replace

from ..messages import JSON, tool_uses
from .budget import exceeded, spent
from .calls import UNKNOWN_OUTCOME, asked_of, closing, no_result, noted, rekeyed, written
from .facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Fact,
    HumanAnswered,
    Noted,
    NotesShown,
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
from .inputs import (
    Answered,
    Broken,
    Cancelled,
    Expired,
    Input,
    Interrupted,
    MemoriesRecalled,
    ModelFailed,
    ModelReplied,
    NotesRecalled,
    NotesSet,
    OutOfTime,
    PlanFailed,
    Planned,
    Resumed,
    Start,
    Summarised,
    ToolReturned,
    ToolsStarting,
)
from .limits import backoff_ms, brief
from .output import answer_refused, output_missing
from .planning import is_small_talk
from .request import is_answer
from .results import in_part
from .shortening import may_shorten, over_budget, summarised
from .state import TurnState, cut_short, evolve, fold

__all__ = ["MOST_RESUMES", "decide"]

MOST_RESUMES = 2
"""A turn that took three processes down with it is not tried again."""

Repair: TypeAlias = Literal["thinking", "media", "other_media", "foreign"]
REPAIRS: tuple[Repair, ...] = ("thinking", "media", "foreign")
"""What is taken out of a history that the provider refuses, in this order, each once; what it named goes first."""

MODEST: Mapping[str, Repair] = {"media": "other_media"}
"""Nobody is answered about a picture that the model did not see, unless that is wanted."""


def decide(state: TurnState, input: Input) -> list[Fact]:
    """The facts that follow from this input in this state; [] where it is stale."""
    if state.status != ("new" if isinstance(input, Start) else "running"):
        return []
    facts = _follows(state, input)
    after = fold(facts, state)
    if facts and after.status == "running" and not after.open_calls:
        over = exceeded(after) or over_budget(after)
        if over is not None:
            # a message that no model was sent does not stay in the thread
            counts = not isinstance(input, Start)
            facts.append(
                TurnFailed(at=input.now, code="BUDGET_EXCEEDED", message=over, details=spent(after), counts=counts)
            )
    return facts


def _follows(state: TurnState, input: Input) -> list[Fact]:
    match input:
        case Start():
            return _start(input)
        case ModelReplied():
            return _model_replied(state, input)
        case ModelFailed():
            return _model_failed(state, input)
        case Planned() | PlanFailed():
            return _planned(state, input)
        case NotesRecalled():
            return _recalled(state, input)
        case MemoriesRecalled():
            if state.step > 0 or state.recalled:
                return []
            return [Recalled(at=input.now, items=input.items, problem=input.problem and brief(input.problem))]
        case NotesSet():
            return [noted(note, input.now, by="code") for note in input.notes]
        case Summarised():
            return summarised(state, input)
        case ToolsStarting():
            return _tools_starting(state, input)
        case ToolReturned():
            return _tool_returned(state, input)
        case Answered():
            return _answered(state, input)
        case Cancelled():
            return _cancelled(state, input)
        case Expired():
            return _expired(state, input)
        case OutOfTime():
            return _out_of_time(state, input)
        case Interrupted():
            return _end(state, input.now, code=input.code, message=input.message, counts=False)
        case Resumed():
            return _resumed(state, input)
        case Broken():
            ends = _end(state, input.now, code=input.code, message=input.message, details=input.details)
            return _costing(ends, input)
        case _:
            assert_never(input)


def _start(input: Start) -> list[Fact]:
    started = TurnStarted(
        at=input.now,
        turn_id=input.turn_id,
        task_id=input.task_id,
        message_id=input.message_id,
        content=input.content,
        prefix=input.prefix,
        limits=input.limits,
        parent=input.parent,
        previous=input.previous,
        kind=input.kind,
        target=input.target,
        direct=input.direct,
        planning=input.planner and not input.direct and not is_small_talk(input.content),
        context=input.context,
        since=input.since,
        output_schema=input.output_schema,
        task_tokens=input.task_tokens,
        task_usd=input.task_usd,
        called=input.called,
    )
    if input.kind == "note":
        notes = [noted(note, input.now, by="code") for note in input.notes]
        return [started, *notes, TurnCompleted(at=input.now, message_id=input.message_id, stop_reason="noted")]
    if input.system is None or input.tools is None:
        return [started]
    return [started, PrefixChosen(at=input.now, prefix=input.prefix, system=input.system, tools=input.tools)]


def _planned(state: TurnState, input: Planned | PlanFailed) -> list[Fact]:
    """A planner that fails costs the turn its plan, and nothing else."""
    if not state.planning:
        return []
    now, usage, cost, model = input.now, input.usage, input.cost_usd, input.model
    if isinstance(input, PlanFailed):
        problem = brief(input.problem)
        return [PlanSkipped(at=now, usage=usage, cost_usd=cost, model=model, problem=problem)]
    if not input.steps:
        return [PlanSkipped(at=now, usage=usage, cost_usd=cost, model=model)]
    return [PlanChosen(at=now, steps=input.steps, by="planner", usage=usage, cost_usd=cost, model=model)]


def _recalled(state: TurnState, input: NotesRecalled) -> list[Fact]:
    """Only before the first answer: what comes later would change what was sent already."""
    if state.step > 0:
        return []
    expired: list[Fact] = [Noted(at=input.now, key=key, value=None, by="expiry") for key in input.expired]
    return expired if input.notes is None else [*expired, NotesShown(at=input.now, notes=input.notes)]


def _model_replied(state: TurnState, input: ModelReplied) -> list[Fact]:
    if input.step != state.step or state.open_calls or state.planning:
        return []
    content, renamed, refused = rekeyed(input.content, state.call_ids, state.step)
    uses = tool_uses(content)
    broken = {renamed.get(id, id): brief(why) for id, why in input.broken.items()} | refused
    replied = AssistantReplied(
        at=input.now,
        message_id=input.message_id,
        content=content,
        stop_reason=brief(input.stop_reason),
        usage=input.usage,
        model=input.model,
        prefix=state.prefix,
        blocks=input.blocks,
        broken=broken,
        stop_details=input.stop_details,
        cost_usd=input.cost_usd,
    )
    if input.stop_reason == "refusal":
        closed = [no_result(use["id"], input.now, "not_run", "The model refused to go on.") for use in uses]
        if state.output_schema is not None:
            return [replied, *closed, output_missing(input)]
        end = TurnCompleted(at=input.now, message_id=input.message_id, stop_reason="refusal", counts=False)
        return [replied, *closed, end]
    if not uses and cut_short(content, input.stop_reason) and not state.raised:
        return [replied]  # nothing was said yet: the model is asked again, with more room
    if not uses and state.output_schema is not None and input.misfit is not None:
        return [replied, answer_refused(state, input, input.misfit)]
    if not uses:
        return [replied, TurnCompleted(at=input.now, message_id=input.message_id, stop_reason=replied.stop_reason)]
    return [replied, *asked_of(state, input, uses, broken)]


def _tools_starting(state: TurnState, input: ToolsStarting) -> list[Fact]:
    """What may still run is begun. What runs is what was shown: an answer to another call is no leave for this one."""
    facts: list[Fact] = []
    shown = {request.tool_call_id: request.digest for request in state.requests}
    for call in state.calls:
        if call.status != "owed" or call.id not in input.tool_call_ids:
            continue
        refused = input.refused.get(call.id)
        if shown.get(call.id) and shown[call.id] != call.digest:
            refused = "Not run: this is not the call that a person was shown."
        if refused is None:
            facts.append(ToolStarted(at=input.now, tool_call_id=call.id))
        else:
            facts.append(no_result(call.id, input.now, "permission_denied", refused))
    return facts


def _model_failed(state: TurnState, input: ModelFailed) -> list[Fact]:
    if input.step != state.step or state.open_calls or state.planning:
        return []
    retracts = list(range(state.next_block, state.next_block + input.blocks))
    failed = AttemptFailed(
        at=input.now,
        code=brief(input.code),
        message=brief(input.message),
        wait_ms=0,
        blocks=input.blocks,
        retracts=retracts,
        usage=input.usage,
        cost_usd=input.cost_usd,
    )
    if input.code == "CONTEXT_OVERFLOW" and not input.bad_history and may_shorten(state):
        return [replace(failed, too_long=True)]
    ladder = [repair if input.recovers_media else MODEST.get(repair, repair) for repair in REPAIRS]
    suspect = ladder[REPAIRS.index(input.suspect)] if input.suspect is not None else None
    left = [repair for repair in ladder if repair not in state.repairs]
    if input.bad_history and left:
        return [replace(failed, repair=suspect if suspect in left else left[0])]
    if input.retryable and state.attempt < state.limits.attempts:
        return [replace(failed, wait_ms=backoff_ms(state.attempt, input.retry_after, input.chance))]
    if input.has_fallback and not state.fallback and input.code != "CONTEXT_OVERFLOW":
        return [replace(failed, fallback=True)]
    if input.bad_history and may_shorten(state):
        return [replace(failed, too_long=True)]  # what is refused may lie in the past: the thread goes on without it
    if input.bad_history or input.code == "CONTEXT_OVERFLOW":
        # a message that no model takes would be refused again with every message after it: the thread goes on without
        message = f"{brief(input.message)} The message was left out; the conversation stands where it stood before it."
        ends = _end(state, input.now, code=input.code, message=message, details=input.details, counts=False)
    else:
        ends = _end(state, input.now, code=input.code, message=input.message, details=input.details)
    return _costing(ends, input)


def _costing(ends: list[Fact], input: ModelFailed | Cancelled | OutOfTime | Broken) -> list[Fact]:
    """The end of a turn, with what the attempt had cost that ended with it."""
    usage, cost = input.usage, input.cost_usd
    return [replace(fact, usage=usage, cost_usd=cost) if isinstance(fact, TurnFailed) else fact for fact in ends]


def _tool_returned(state: TurnState, input: ToolReturned) -> list[Fact]:
    if not any(call.id == input.tool_call_id and call.status == "running" for call in state.calls):
        return []
    output, stored = in_part(input.output, state.limits.output_bytes)
    finished = ToolFinished(
        at=input.now,
        tool_call_id=input.tool_call_id,
        output=output,
        error=input.error,
        duration_ms=input.duration_ms,
        stored=stored,
    )
    return [finished] if input.write is None else [written(input.write, input.now), finished]


def _answered(state: TurnState, input: Answered) -> list[Fact]:
    request = next((r for r in state.open_requests if r.id == input.request_id), None)
    if request is None or not is_answer(request, input.answer):
        return []
    answered = HumanAnswered(
        at=input.now,
        request_id=input.request_id,
        answer=input.answer,
        feedback=input.feedback,
        content_blocks=input.content_blocks,
        remember=request.remember if input.remember and input.answer == "yes" else (),
    )
    if request.kind == "permission" and input.answer == "yes":
        return [answered]
    if request.kind == "permission":
        message = input.feedback or "A person did not allow this."
        return [answered, no_result(request.tool_call_id, input.now, "permission_denied", message)]
    output, stored = in_part(input.answer, state.limits.output_bytes)
    return [answered, ToolFinished(at=input.now, tool_call_id=request.tool_call_id, output=output, stored=stored)]


def _cancelled(state: TurnState, input: Cancelled) -> list[Fact]:
    cut: list[Fact] = []
    if input.text.strip() and not state.open_calls:
        cut = [AssistantCut(at=input.now, message_id=input.message_id, text=input.text)]
    ends = _end(state, input.now, code="CANCELLED", message="The turn was cancelled.")
    return [*cut, *_costing(ends, input)]


def _expired(state: TurnState, input: Expired) -> list[Fact]:
    if state.waiting_since is None:
        return []
    details: dict[str, JSON] = {"request_id": state.open_requests[0].id}
    return _end(
        state, input.now, code="HITL_EXPIRED", message="Nobody answered in time. The tool was not run.", details=details
    )


def _out_of_time(state: TurnState, input: OutOfTime) -> list[Fact]:
    if state.limits.seconds is None:
        return []
    message = f"The turn took longer than {state.limits.seconds:g} seconds (limit: seconds)."
    *closed, end = _costing(_end(state, input.now, code="BUDGET_EXCEEDED", message=message), input)
    assert isinstance(end, TurnFailed)  # as every end is
    return [*closed, replace(end, details=spent(evolve(state, end)))]


def _resumed(state: TurnState, input: Resumed) -> list[Fact]:
    if state.resumes >= MOST_RESUMES:
        message = f"This turn was interrupted {state.resumes + 1} times. Send the message again."
        return _end(state, input.now, code="INTERRUPTED", message=message, counts=False)
    running = [call for call in state.calls if call.status == "running"]
    repeats = [call.id for call in running if call.tool in input.repeatable]
    blocks = 0 if state.open_calls else input.blocks
    resumed = TurnResumed(
        at=input.now,
        blocks=blocks,
        retracts=list(range(state.next_block, state.next_block + blocks)),
        repeats=repeats,
    )
    unknown = [
        no_result(call.id, input.now, "outcome_unknown", UNKNOWN_OUTCOME) for call in running if call.id not in repeats
    ]
    return [resumed, *unknown]


def _end(
    state: TurnState,
    now: int,
    *,
    code: str,
    message: str,
    details: dict[str, JSON] | None = None,
    counts: bool = True,
) -> list[Fact]:
    """End the turn errored, with a result for every call that has none."""
    closed = [closing(call, now, code) for call in state.open_calls]
    return [*closed, TurnFailed(at=now, code=code, message=message, details=details or {}, counts=counts)]
