"""transcript: the messages of a thread as people and programs read them, from its facts. Pure.

Unlike the prompt it leaves nothing out: answers that were stopped, thinking, turns that failed.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..events import timestamp
from ..messages import Block, Message, tool_uses
from .facts import AssistantCut, AssistantReplied, Fact, OutputRefused, ToolFinished, TurnStarted

__all__ = ["REFUSED_SUFFIX", "RESULTS_SUFFIX", "transcript"]

RESULTS_SUFFIX = "-results"
"""The message that holds the results of an assistant message has that message's id and this."""

REFUSED_SUFFIX = "-refused"
"""The message that tells the model why its answer is not the output asked for has that answer's id and this."""


def transcript(facts: Sequence[Fact]) -> list[Message]:
    """The messages in order; each has the one before it as its parent. Results stand in call order, as they land."""
    messages: list[Message] = []
    turn_id = ""
    for place, fact in enumerate(facts):
        parent = messages[-1].id if messages else None
        match fact:
            case TurnStarted() if fact.kind != "note":
                turn_id = fact.turn_id
                messages.append(
                    Message(
                        id=fact.message_id,
                        role="user",
                        content=fact.content,
                        parent_id=parent,
                        turn_id=turn_id,
                        created_at=timestamp(fact.at),
                    )
                )
            case AssistantReplied():
                messages.append(
                    Message(
                        id=fact.message_id,
                        role="assistant",
                        content=fact.content,
                        parent_id=parent,
                        turn_id=turn_id,
                        created_at=timestamp(fact.at),
                        stop_reason=fact.stop_reason,
                        usage=fact.usage,
                        model=fact.model,
                        stop_details=fact.stop_details,
                    )
                )
                messages += _results(fact, _landed(facts, place + 1), turn_id)
            case OutputRefused():
                messages.append(
                    Message(
                        id=fact.message_id + REFUSED_SUFFIX,
                        role="user",
                        content=[{"type": "text", "text": fact.message}],
                        parent_id=parent,
                        turn_id=turn_id,
                        created_at=timestamp(fact.at),
                    )
                )
            case AssistantCut():
                messages.append(
                    Message(
                        id=fact.message_id,
                        role="assistant",
                        content=[{"type": "text", "text": fact.text}],
                        parent_id=parent,
                        turn_id=turn_id,
                        created_at=timestamp(fact.at),
                        stop_reason="cancelled",
                    )
                )
            case _:
                pass
    return messages


def _landed(facts: Sequence[Fact], begin: int) -> dict[str, ToolFinished]:
    """The results of one step: a later step or turn may use its ids again. The first result of a call is final."""
    results: dict[str, ToolFinished] = {}
    for place in range(begin, len(facts)):
        match fact := facts[place]:
            case ToolFinished():
                results.setdefault(fact.tool_call_id, fact)
            case AssistantReplied() | TurnStarted():
                break
            case _:
                pass
    return results


def _results(reply: AssistantReplied, results: dict[str, ToolFinished], turn_id: str) -> list[Message]:
    landed = [results[use["id"]] for use in tool_uses(reply.content) if use["id"] in results]
    if not landed:
        return []
    return [
        Message(
            id=reply.message_id + RESULTS_SUFFIX,
            role="user",
            content=[_block(fact) for fact in landed],
            parent_id=reply.message_id,
            turn_id=turn_id,
            created_at=timestamp(max(fact.at for fact in landed)),
        )
    ]


def _block(fact: ToolFinished) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": fact.tool_call_id, "content": fact.output}
    if fact.error is not None:
        block |= {"is_error": True, "error": msgspec.to_builtins(fact.error)}
    return block
