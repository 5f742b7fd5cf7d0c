"""Inputs: what the world tells a turn. Time (`now`, unix ms), ids and chance come with them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..events import PlanStep, ToolResultError
from ..messages import JSON, Block, Usage
from ..permissions import Effect, Rule
from .facts import Compacted, RecalledItem
from .limits import Limits

__all__ = [
    "Answered",
    "Ask",
    "Broken",
    "Cancelled",
    "Expired",
    "Input",
    "Interrupted",
    "MemoriesRecalled",
    "ModelFailed",
    "ModelReplied",
    "NotesRecalled",
    "NotesSet",
    "OutOfTime",
    "PlanFailed",
    "Planned",
    "Refuse",
    "Resumed",
    "Start",
    "Summarised",
    "ToolReturned",
    "ToolsStarting",
    "Write",
    "WriteNote",
    "WritePlan",
]


class _Input(msgspec.Struct, frozen=True, kw_only=True):
    """`blobs` are the contents that its blocks refer to, by their SHA-256: stored with the facts that follow."""

    now: int
    blobs: dict[str, bytes] = {}


class WriteNote(msgspec.Struct, frozen=True, kw_only=True):
    """Write one key of working memory, for so many minutes or for good; a `value` of None removes it."""

    key: str
    value: JSON
    minutes: float | None = None


class WritePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's plan is this one from now on."""

    steps: list[PlanStep]


Write: TypeAlias = WriteNote | WritePlan
"""What a call writes into the log. It has been checked; nothing runs for it, and it is its own result."""


class Start(_Input, frozen=True, kw_only=True):
    """A turn is asked for. `system` and `tools` are given where this prefix is not in the log yet.

    `planner` says that there is one. A turn of kind "note" only writes `notes`, and is over.
    `context`, `since` and `called` are how the turn left the thread that this one goes on from. `task_tokens` and
    `task_usd` (None: unknown) are what the turns of the task have spent so far.
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
    kind: Literal["new", "edit", "retry", "note"] = "new"
    target: str | None = None
    direct: bool = False
    planner: bool = False
    notes: list[WriteNote] = []
    context: int = 0
    since: str | None = None
    output_schema: dict[str, JSON] | None = None
    task_tokens: int = 0
    task_usd: float | None = 0.0
    called: tuple[str, ...] = ()


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a person must be asked, and the id of the request should it come to that.

    A permission is asked before the tool may run, and `remember` would make the same call run by itself from then on.
    `opens` is what a yes opens for this call outside of the tool's own folders; the question names it. The answer to a
    question is the call's result.
    """

    request_id: str
    question: str
    kind: Literal["permission", "question"] = "permission"
    remember: tuple[Rule, ...] = ()
    opens: tuple[Effect, ...] = ()


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """The call is not run, whatever a person says. `code` is for a program, `reason` for the model and a person."""

    reason: str
    code: str = "permission_denied"


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
    asks: list[Ask | Refuse | Write | None]
    broken: dict[str, str] = {}
    stop_details: Block | None = None
    cost_usd: float | None = None
    misfit: str | None = None


class Planned(_Input, frozen=True, kw_only=True):
    """The planner answered; no steps means that no plan is worth it."""

    steps: list[PlanStep]
    usage: Usage
    model: str
    cost_usd: float | None = None


class PlanFailed(_Input, frozen=True, kw_only=True):
    """The planner failed, or took too long, or said what is no plan.

    `usage` and `cost_usd` are what it took, as far as is known.
    """

    problem: str
    usage: Usage | None = None
    model: str | None = None
    cost_usd: float | None = None


class NotesRecalled(_Input, frozen=True, kw_only=True):
    """Before the model is asked: these keys have expired, and this is what it must be shown (None: it was before)."""

    expired: list[str]
    notes: dict[str, JSON] | None


class MemoriesRecalled(_Input, frozen=True, kw_only=True):
    """Before the model is asked: what long-term memory has for the person's message, or why it could not be asked."""

    items: list[RecalledItem]
    problem: str | None = None


class NotesSet(_Input, frozen=True, kw_only=True):
    """The program that the engine is in writes working memory."""

    notes: list[WriteNote]


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
    suspect: Literal["thinking", "media", "foreign"] | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    blocks: int = 0
    has_fallback: bool = False
    recovers_media: bool = False


class Summarised(_Input, frozen=True, kw_only=True):
    """What came before was summarised: the fact as it would be. `system` and `tools` are those of the prefix."""

    step: int
    compacted: Compacted
    system: str
    tools: list[Block]


class ToolsStarting(_Input, frozen=True, kw_only=True):
    """These tools are about to run: their intent must be durable first.

    `refused` says of some why they may not run after all: the rules of this moment count, not those of the question.
    """

    tool_call_ids: list[str]
    refused: dict[str, str] = {}


class ToolReturned(_Input, frozen=True, kw_only=True):
    """A tool ended, one way or the other. `write` is what a call writes that had to wait for a person's leave."""

    tool_call_id: str
    output: JSON
    error: ToolResultError | None = None
    duration_ms: int | None = None
    write: Write | None = None


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
    | Planned
    | PlanFailed
    | NotesRecalled
    | MemoriesRecalled
    | NotesSet
    | Summarised
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
