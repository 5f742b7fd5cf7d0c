"""Shorthand for the tests of the core: blocks, inputs that fill in what a test does not care about, and a turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from september_engine._turn.decide import decide
from september_engine._turn.facts import (
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
from september_engine._turn.inputs import (
    Answered,
    Ask,
    Input,
    ModelFailed,
    ModelReplied,
    Planned,
    Start,
    ToolReturned,
    ToolsStarting,
)
from september_engine._turn.limits import Limits
from september_engine._turn.state import TurnState, evolve
from september_engine.events import PlanStep, ToolResultError
from september_engine.messages import Block, Usage, tool_uses

NOW = 1_700_000_000_000
LOOK: Block = {"name": "look", "description": "", "input_schema": {"type": "object"}}


def text(value: str = "Hello") -> Block:
    return {"type": "text", "text": value}


def think(signature: str = "sig") -> Block:
    return {"type": "thinking", "thinking": "hm", "signature": signature}


def use(call_id: str = "a", name: str = "look", **input: Any) -> Block:
    return {"type": "tool_use", "id": call_id, "name": name, "input": input}


def result(call_id: str, content: Any, **more: Any) -> Block:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def user(*blocks: Block) -> Block:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Block) -> Block:
    return {"role": "assistant", "content": list(blocks)}


def start(**changes: Any) -> Start:
    begin = Start(
        now=NOW,
        turn_id="turn_1",
        task_id="task",
        message_id="msg_1",
        content=[text("Hi")],
        limits=Limits(),
        prefix="p1",
        system="Be brief.",
        tools=[LOOK],
    )
    return replace(begin, **changes)


def replied(*content: Block, step: int = 0, asks: Mapping[str, str] | None = None, **changes: Any) -> ModelReplied:
    """`asks` are the questions by call id; their requests are `hitl_1`, `hitl_2`, …"""
    questions = dict(asks or {})
    requests = {id: f"hitl_{number}" for number, id in enumerate(questions, 1)}
    ids = [use["id"] for use in tool_uses(content)]
    reply = ModelReplied(
        now=NOW,
        step=step,
        message_id=f"msg_{step + 2}",
        content=list(content),
        stop_reason="tool_use" if any(block["type"] == "tool_use" for block in content) else "end_turn",
        usage=Usage(input_tokens=10, output_tokens=5, cache_hit_tokens=4),
        model="big",
        blocks=len(content),
        asks=[Ask(request_id=requests[id], question=questions[id]) if id in questions else None for id in ids],
    )
    return replace(reply, **changes)


def asking(*call_ids: str, step: int = 0) -> ModelReplied:
    """A reply whose calls all need a person's leave."""
    return replied(*[use(id) for id in call_ids], step=step, asks={id: f"May {id} run?" for id in call_ids})


def failure(**changes: Any) -> ModelFailed:
    failed = ModelFailed(now=NOW, step=0, code="LLM_PROVIDER_ERROR", message="It broke.", retryable=True, chance=0.0)
    return replace(failed, **changes)


def steps(*titles: str, **status: Any) -> list[PlanStep]:
    """A plan of these titles, pending but for `status` by title."""
    return [
        PlanStep(id=str(number), title=title, status=status.get(title, "pending"))
        for number, title in enumerate(titles, 1)
    ]


def planned(*titles: str, **changes: Any) -> Planned:
    return replace(Planned(now=NOW, steps=steps(*titles), usage=Usage(input_tokens=7), model="planner"), **changes)


def starting(*call_ids: str) -> ToolsStarting:
    return ToolsStarting(now=NOW, tool_call_ids=list(call_ids))


def returned(call_id: str = "a", output: Any = "seen", **changes: Any) -> ToolReturned:
    return replace(ToolReturned(now=NOW, tool_call_id=call_id, output=output), **changes)


def answered(answer: str = "yes", request_id: str = "hitl_1", **changes: Any) -> Answered:
    return replace(Answered(now=NOW, request_id=request_id, answer=answer), **changes)


def finished(call_id: str, output: Any = "seen") -> ToolFinished:
    return ToolFinished(at=NOW, tool_call_id=call_id, output=output)


def unfinished(call_id: str, reason: str, message: str = "") -> ToolFinished:
    error = ToolResultError(reason=reason, message=message)
    return ToolFinished(at=NOW, tool_call_id=call_id, output=None, error=error)


class Turn:
    """A turn that has been told these inputs, the first of them its start."""

    def __init__(self, *inputs: Input, **of_start: Any) -> None:
        self.facts: list[Fact] = []
        self.state = TurnState()
        for input in (start(**of_start), *inputs):
            assert self.tell(input), f"{input} was stale"

    def tell(self, input: Input) -> list[Fact]:
        """The facts that follow."""
        facts = decide(self.state, input)
        for fact in facts:
            self.state = evolve(self.state, fact)
        self.facts += facts
        return facts

    def then(self, input: Input) -> list[str]:
        """The facts that follow, in brief."""
        return [brief(fact) for fact in self.tell(input)]


def brief(fact: Fact) -> str:
    """A fact in a few words, so that a test can say what follows from what in one line."""
    match fact:
        case TurnStarted():
            return f"turn started by {fact.message_id}"
        case PrefixChosen():
            return f"prefix {fact.prefix}"
        case AssistantReplied():
            return f"replied {fact.message_id}"
        case OutputRefused():
            return f"refused output of {fact.message_id}"
        case AssistantCut():
            return f"cut after {fact.text}"
        case AttemptFailed():
            return f"attempt failed, next in {fact.wait_ms} ms"
        case Compacted():
            return f"compacted from {fact.kept_from}"
        case ToolStarted():
            return f"started {fact.tool_call_id}"
        case ToolFinished(error=None):
            return f"finished {fact.tool_call_id}"
        case ToolFinished(error=ToolResultError(reason=reason)):
            return f"no result of {fact.tool_call_id}: {reason}"
        case HumanAsked():
            return f"asked {fact.request_id} about {fact.tool_call_id}"
        case HumanAnswered():
            return f"{fact.request_id} answered {fact.answer}"
        case PlanChosen():
            return f"{fact.by} chose {', '.join(step.title for step in fact.steps) or 'no plan'}"
        case PlanSkipped():
            return "no plan" + (f": {fact.problem}" if fact.problem else "")
        case Noted():
            return f"{fact.by} noted {fact.key}: {fact.value}"
        case NotesShown():
            return f"shown {fact.notes}"
        case Recalled():
            return f"recalled {', '.join(item.id for item in fact.items) or 'nothing'}" + (
                f": {fact.problem}" if fact.problem else ""
            )
        case TurnResumed():
            return f"resumed, repeating {fact.repeats}"
        case TurnCompleted():
            return f"completed: {fact.stop_reason}" + ("" if fact.counts else ", does not count")
        case TurnFailed():
            return f"failed: {fact.code}" + ("" if fact.counts else ", does not count")
    raise AssertionError(fact)
