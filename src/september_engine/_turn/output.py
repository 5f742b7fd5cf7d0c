"""output: the final answer of a turn that was asked for a value. Pure.

What the value is to be is a JSON Schema in the turn's first fact, so that a turn which another process resumes keeps
it. An answer that does not fit is told why and given again, as often as `Limits.attempts` allows.
"""

from __future__ import annotations

from .facts import OutputRefused, TurnFailed
from .inputs import ModelReplied
from .limits import brief
from .state import TurnState

__all__ = ["NOT_ASKED_FOR", "answer_refused", "output_missing"]

LONGEST_WHY = 2048
"""Bytes of what is wrong with an answer: the model reads it, and the first fault is the one that helps."""

CUT = "max_tokens"

NOT_ASKED_FOR = "Your answer is not what was asked for"
"""What a note to the model about its answer begins with."""


def answer_refused(state: TurnState, input: ModelReplied, why: str) -> OutputRefused | TurnFailed:
    """What becomes of an answer that does not fit: it is asked for again, or it was the last one."""
    why, answers = brief(why, LONGEST_WHY), state.refusals + 1
    if answers >= state.limits.attempts:
        return TurnFailed(
            at=input.now,
            code="INVALID_OUTPUT",
            message=f"None of {answers} answers was the output that was asked for. The last one: {why}",
            details={"answers": answers, "problem": why},
        )
    cut = input.stop_reason == CUT
    hint = "It met its limit of tokens, so be brief. " if cut else ""
    return OutputRefused(
        at=input.now,
        message_id=input.message_id,
        message=f"{NOT_ASKED_FOR}: {why} {hint}Answer again, with nothing but JSON that fits the schema.",
        retracts=list(range(state.next_block, state.next_block + input.blocks)),
        cut=cut,
    )


def output_missing(input: ModelReplied) -> TurnFailed:
    """The end of a turn whose model refused to answer. It does not count, as any refusal."""
    return TurnFailed(
        at=input.now,
        code="INVALID_OUTPUT",
        message="The model refused to answer, so there is no output.",
        details={"stop_reason": "refusal"},
        counts=False,
    )
