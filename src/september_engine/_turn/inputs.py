"""Inputs: what the world tells a turn. Time (`now`, unix ms), ids and chance come with them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..events import ToolResultError
from ..messages import JSON, Block, Usage
from ..permissions import Rule
from .limits import Limits

__all__ = [
    "Answered",
    "Ask",
    "Broken",
    "Cancelled",
    "Expired",
    "Input",
    "Interrupted",
    "ModelFailed",
    "ModelReplied",
    "OutOfTime",
    "Refuse",
    "Resumed",
    "Start",
    "ToolReturned",
    "ToolsStarting",
]


class _Input(msgspec.Struct, frozen=True, kw_only=True):
    """`blobs` are the contents that its blocks refer to, by their SHA-256: stored with the facts that follow."""

    now: int
    blobs: dict[str, bytes] = {}


class Start(_Input, frozen=True, kw_only=True):
    """A turn is asked for. `system` and `tools` are given where this prefix is not in the log yet.

    `task_tokens` and `task_usd` (None: unknown) are what the turns of the task have spent so far.
    """

    turn_id: str
    task_id: str
    message_id: str
    content: list[Block]
    limits: Limits
    prefix: str
    system: str | None = None
    tools: list[Block] | None = None
    parent: str | None = None
    previous: str | None = None
    kind: Literal["new", "edit", "retry"] = "new"
    target: str | None = None
    direct: bool = False
    output_schema: dict[str, JSON] | None = None
    task_tokens: int = 0
    task_usd: float | None = 0.0


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a person must be asked, and the id of the request should it come to that.

    A permission is asked before the tool may run, and `remember` would make the same call run by itself from then on.
    The answer to a question is the call's result.
    """

    request_id: str
    question: str
    kind: Literal["permission", "question"] = "permission"
    remember: tuple[Rule, ...] = ()


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """The rules forbid the call, whatever a person says."""

    reason: str


class ModelReplied(_Input, frozen=True, kw_only=True):
    """A model call ended well. `asks` says of each of its tool calls, in their order, what stands before it.

    It goes by place and not by id, which a model may use twice: leave for one call is never leave for another.
    `cost_usd` None is unknown; `misfit` says why a final answer is not the output that was asked for.
    """

    step: int
    message_id: str
    content: list[Block]
    stop_reason: str
    usage: Usage
    model: str
    blocks: int
    asks: list[Ask | Refuse | None]
    broken: dict[str, str] = {}
    stop_details: Block | None = None
    cost_usd: float | None = None
    misfit: str | None = None


class ModelFailed(_Input, frozen=True, kw_only=True):
    """An attempt failed, after `blocks` of it were shown. `chance` in [0, 1) spreads the wait.

    `usage` is what it cost, as far as the provider said; `suspect` is what in the history the provider named. With
    `recovers_media`, the turn may go on without what its own message brought.
    """

    step: int
    code: str
    message: str
    retryable: bool
    chance: float
    details: dict[str, JSON] = {}
    retry_after: float | None = None
    bad_history: bool = False
    suspect: Literal["thinking", "media"] | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    blocks: int = 0
    has_fallback: bool = False
    recovers_media: bool = False


class ToolsStarting(_Input, frozen=True, kw_only=True):
    """These tools are about to run: their intent must be durable first.

    `refused` says of some why they may not run after all: the rules of this moment count, not those of the question.
    """

    tool_call_ids: list[str]
    refused: dict[str, str] = {}


class ToolReturned(_Input, frozen=True, kw_only=True):
    """A tool ended, one way or the other."""

    tool_call_id: str
    output: JSON
    error: ToolResultError | None = None
    duration_ms: int | None = None


class Answered(_Input, frozen=True, kw_only=True):
    """A person answered a request; with `remember`, a "yes" counts for the same call in the rest of the task."""

    request_id: str
    answer: str
    feedback: str | None = None
    content_blocks: list[Block] = []
    remember: bool = False


class Cancelled(_Input, frozen=True, kw_only=True):
    """Somebody stopped the turn.

    `text` is what of an unfinished answer was shown, `usage` and `cost_usd` what that cost.
    """

    message_id: str
    text: str = ""
    usage: Usage | None = None
    cost_usd: float | None = None


class Expired(_Input, frozen=True, kw_only=True):
    """Nobody answered in time."""


class OutOfTime(_Input, frozen=True, kw_only=True):
    """The turn's wall time is used up. `usage` and `cost_usd` are what an unfinished answer cost."""

    usage: Usage | None = None
    cost_usd: float | None = None


class Interrupted(_Input, frozen=True, kw_only=True):
    """The process that ran this turn is gone, and the policy is to abandon it.

    Or it is there but could not write the log: `code` and `message` are then what its readers were told.
    """

    code: str = "INTERRUPTED"
    message: str = "The process that ran this turn ended before the turn did. Send the message again."


class Resumed(_Input, frozen=True, kw_only=True):
    """The process that ran this turn is gone, and this one goes on.

    `blocks` were shown of the answer that was being written; `repeatable` names the tools that may run twice.
    """

    blocks: int
    repeatable: list[str]


class Broken(_Input, frozen=True, kw_only=True):
    """Something of ours failed in a way that the turn cannot go on from."""

    code: str
    message: str
    details: dict[str, JSON] = {}
    usage: Usage | None = None
    cost_usd: float | None = None


Input: TypeAlias = (
    Start
    | ModelReplied
    | ModelFailed
    | ToolsStarting
    | ToolReturned
    | Answered
    | Cancelled
    | Expired
    | OutOfTime
    | Interrupted
    | Resumed
    | Broken
)
