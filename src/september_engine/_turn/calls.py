"""calls: what is known of the tool calls of a message without running them: their ids, limits, leave, and ends."""

from __future__ import annotations

from typing import Literal

from ..events import ToolResultError
from ..messages import Block
from .facts import Fact, HumanAsked, Noted, PlanChosen, ToolFinished
from .inputs import Ask, ModelReplied, Refuse, Write, WriteNote
from .state import Call, TurnState

__all__ = ["DONE", "UNKNOWN_OUTCOME", "asked_of", "closing", "no_result", "noted", "rekeyed", "written"]

LONGEST_ID = 256
"""Characters of a tool call's id or of a tool's name: a longer one is cut, so that an event fits one frame."""

DONE = "Done."
"""The result of a call that writes: what it wrote stands in the call."""

UNKNOWN_OUTCOME = (
    "The tool was interrupted while it ran. Its outcome is unknown: it may or may not have taken effect. "
    "Check before running it again."
)


def asked_of(state: TurnState, input: ModelReplied, uses: list[Block], broken: dict[str, str]) -> list[Fact]:
    """What is known of the calls of a message before any of them runs.

    An ask that is missing is a fault of ours and raises: no call runs because nobody looked whether it may.
    """
    facts: list[Fact] = []
    limits = state.limits
    for number, (use, ask) in enumerate(zip(uses, input.asks, strict=True)):
        call_id = use["id"]
        if call_id in broken:
            facts.append(no_result(call_id, input.now, "invalid_input", broken[call_id]))
        elif number >= limits.calls_per_message:
            message = f"Not run: a message may hold {limits.calls_per_message} tool calls. Send fewer at once."
            facts.append(no_result(call_id, input.now, "too_many_calls", message))
        elif state.tool_calls + number >= limits.tool_calls:
            message = f"Not run: the turn has used all of its {limits.tool_calls} tool calls."
            facts.append(no_result(call_id, input.now, "too_many_calls", message))
        elif isinstance(ask, Refuse):
            facts.append(no_result(call_id, input.now, ask.code, ask.reason))
        elif isinstance(ask, Write):
            facts += [written(ask, input.now), ToolFinished(at=input.now, tool_call_id=call_id, output=DONE)]
        elif isinstance(ask, Ask):
            facts.append(
                HumanAsked(
                    at=input.now,
                    request_id=ask.request_id,
                    kind=ask.kind,
                    question=ask.question,
                    tool_call_id=call_id,
                    digest=Call(id=call_id, tool=use["name"], input=use["input"]).digest,
                    remember=ask.remember,
                    opens=ask.opens,
                )
            )
    return facts


def written(write: Write, now: int) -> Fact:
    """The fact that a call writes."""
    return noted(write, now) if isinstance(write, WriteNote) else PlanChosen(at=now, steps=write.steps, by="agent")


def noted(note: WriteNote, now: int, by: Literal["agent", "code"] = "agent") -> Noted:
    """A note, with the moment at which it expires."""
    expires_at = None if note.minutes is None else now + round(note.minutes * 60_000)
    return Noted(at=now, key=note.key, value=note.value, by=by, expires_at=expires_at)


def rekeyed(
    content: list[Block], used: frozenset[str], step: int
) -> tuple[list[Block], dict[str, str], dict[str, str]]:
    """Give a tool call whose id was used before a new one: one id, one execution, one approval, one result.

    An id that is too long gets one too; a name that is too long is cut, and is then no tool's.

    Returns the content, what was renamed to what, and why a call is refused: an id that stands twice in one message
    cannot say which of the two was meant, so the second is not run.
    """
    seen, here = set(used), set[str]()
    renamed: dict[str, str] = {}
    refused: dict[str, str] = {}
    blocks: list[Block] = []
    for block in content:
        if block.get("type") != "tool_use":
            blocks.append(block)
            continue
        old = new = block["id"]
        count = 1
        while new in seen or len(new) > LONGEST_ID:
            count += 1
            new = f"{old[: LONGEST_ID - 30]}_{step + 1}_{count}"
        if old in here:
            refused[new] = f"Not run: this message already has a tool call with the id {old[:LONGEST_ID]}."
        elif new != old:
            renamed[old] = new
        here.add(old)
        seen.add(new)
        name = block["name"][:LONGEST_ID]
        blocks.append(block if (new, name) == (old, block["name"]) else {**block, "id": new, "name": name})
    return blocks, renamed, refused


def closing(call: Call, now: int, code: str) -> ToolFinished:
    if call.status == "running":
        return no_result(call.id, now, "outcome_unknown", UNKNOWN_OUTCOME)
    return no_result(call.id, now, code.lower(), "Not run: the turn ended before this call began.")


def no_result(call_id: str, now: int, reason: str, message: str) -> ToolFinished:
    return ToolFinished(
        at=now, tool_call_id=call_id, output=None, error=ToolResultError(reason=reason, message=message)
    )
