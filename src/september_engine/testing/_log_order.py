"""Which fact may follow in which state of a turn: a part of the log checker. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from .._turn.facts import (
    AssistantCut,
    AssistantReplied,
    AttemptFailed,
    Compacted,
    Fact,
    HumanAnswered,
    HumanAsked,
    NotesShown,
    OutputRefused,
    PlanChosen,
    PlanSkipped,
    Recalled,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from .._turn.state import TurnState
from ..messages import tool_uses

__all__ = ["misplaced"]


def misplaced(state: TurnState, fact: Fact, broken: Mapping[str, str]) -> str | None:
    """Why this fact cannot follow in this state, or None. `broken` says which calls of the step cannot be run."""
    if isinstance(fact, TurnStarted):
        return None if state.status == "new" else "a turn starts once"
    if state.status != "running":
        return "comes after the end" if state.status != "new" else "comes before the start"
    calls = {call.id: call.status for call in state.calls}
    match fact:
        case AssistantReplied():
            ids = [use["id"] for use in tool_uses(fact.content)]
            if state.planning:
                return "the planning step is not done"
            if state.open_calls:
                return f"the calls {[call.id for call in state.open_calls]} have no result yet"
            return (
                "a call has an id that was used before"
                if len(state.call_ids.union(ids)) < len(state.call_ids) + len(ids)
                else None
            )
        case AssistantCut() | AttemptFailed() | Compacted():
            if state.planning and not isinstance(fact, AssistantCut):
                return "the planning step is not done"
            return "the answer was whole" if state.open_calls else None
        case PlanChosen(by="planner") | PlanSkipped():
            return None if state.planning else "there is no planning step now"
        case NotesShown():
            return "something was answered already" if state.step else None
        case Recalled():
            return "something was answered already" if state.step else "twice in a turn" if state.recalled else None
        case ToolStarted():
            status = calls.get(fact.tool_call_id)
            if fact.tool_call_id in broken:
                return f"{fact.tool_call_id} cannot be run: {broken[fact.tool_call_id]}"
            return None if status == "owed" else f"{fact.tool_call_id} is {status or 'unknown'}, not owed"
        case ToolFinished():
            status = calls.get(fact.tool_call_id)
            return f"{fact.tool_call_id} is {status or 'unknown'}" if status in ("done", None) else None
        case OutputRefused():
            return None if state.output_schema is not None and not state.calls else "no value was asked for here"
        case HumanAsked():
            status = calls.get(fact.tool_call_id)
            return None if status == "owed" else f"{fact.tool_call_id} is {status or 'unknown'}, not owed"
        case HumanAnswered():
            request = next((one for one in state.open_requests if one.id == fact.request_id), None)
            if request is None:
                return f"{fact.request_id} is not open"
            unclear = request.kind == "permission" and fact.answer not in ("yes", "no")
            return f"{fact.answer!r} is no answer to a permission" if unclear else None
        case _:
            return None
