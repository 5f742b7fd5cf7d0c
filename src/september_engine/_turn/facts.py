"""Facts: what happened, stored for good.

A fact is the longest-lived thing we write. A field is never renamed or removed, a new one has a default, and a log of
every release stays in the tests and must still fold. `at` is the wall clock in unix ms; it may jump, the order of
facts does not.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..events import PlanStep, ToolResultError
from ..messages import JSON, Block, Usage
from ..permissions import Effect, Rule
from .limits import Limits

__all__ = [
    "AssistantCut",
    "AssistantReplied",
    "AttemptFailed",
    "Compacted",
    "Fact",
    "HumanAnswered",
    "HumanAsked",
    "Noted",
    "NotesShown",
    "OutputRefused",
    "PlanChosen",
    "PlanSkipped",
    "PrefixChosen",
    "Recalled",
    "RecalledItem",
    "StoredResult",
    "ToolFinished",
    "ToolStarted",
    "TurnCompleted",
    "TurnFailed",
    "TurnResumed",
    "TurnStarted",
    "decode_fact",
    "encode_fact",
    "message_id_of",
]


class _Fact(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    at: int


class TurnStarted(_Fact, frozen=True, kw_only=True, tag="turn_started"):
    """A person said something; a turn begins.

    `parent` is the turn this one goes on from and `previous` the one the thread stood at: they differ when an edit or
    retry (`kind`, aimed at message `target`) moved the thread. With `planning` the turn owes a planning step first: it
    is stored so that whoever resumes the turn obeys it. `context` is how many tokens the thread had before this
    message, and `since` the turn from which it is read for a request; None is its first. `output_schema` is what the
    final answer must fit. `task_tokens` and `task_usd` are what all turns of the task before this one had spent; None
    is unknown. `called` is what the thread before this turn called upon: see `TurnState`.

    A turn of kind "note" is one of the program's own: nobody says anything, working memory is written, and it ends. It
    has no message.
    """

    turn_id: str
    task_id: str
    message_id: str
    content: list[Block]
    prefix: str
    limits: Limits
    parent: str | None = None
    previous: str | None = None
    kind: Literal["new", "edit", "retry", "note"] = "new"
    target: str | None = None
    direct: bool = False
    planning: bool = False
    context: int = 0
    since: str | None = None
    output_schema: dict[str, JSON] | None = None
    task_tokens: int = 0
    task_usd: float | None = 0.0
    called: tuple[str, ...] = ()


class PrefixChosen(_Fact, frozen=True, kw_only=True, tag="prefix_chosen"):
    """The `system` and `tools` that prompts begin with from here on. `prefix` is their digest."""

    prefix: str
    system: str
    tools: list[Block]


class AssistantReplied(_Fact, frozen=True, kw_only=True, tag="assistant_replied"):
    """The model answered; `content` is its own, verbatim. `broken` says of a tool call why it cannot be run.

    `blocks` is how many blocks were shown in this attempt; `stop_details` is what the provider said of the stop reason.
    `cost_usd` is by the prices of that day, so that a later price list does not change what was; None is unknown.
    """

    message_id: str
    content: list[Block]
    stop_reason: str
    usage: Usage
    model: str
    prefix: str
    blocks: int
    broken: dict[str, str] = {}
    stop_details: Block | None = None
    cost_usd: float | None = None


class OutputRefused(_Fact, frozen=True, kw_only=True, tag="output_refused"):
    """The final answer does not fit what was asked for; `message` tells the model why, and it answers again.

    `retracts` are the blocks of that answer; with `cut`, it had met its limit of tokens.
    """

    message_id: str
    message: str
    retracts: list[int] = []
    cut: bool = False


class AssistantCut(_Fact, frozen=True, kw_only=True, tag="assistant_cut"):
    """The answer was stopped by a person; `text` is what they had seen of it."""

    message_id: str
    text: str


class AttemptFailed(_Fact, frozen=True, kw_only=True, tag="attempt_failed"):
    """A model call failed and is made again after `wait_ms`.

    `retracts` are the blocks shown in vain; `fallback` changes to the fallback model for the rest of the turn;
    `repair` says what is taken out of the history from here on, because the provider refused it: "foreign" is every
    block that is not of the kinds that all models know, "other_media" all media but that of the turn's own message.
    `too_long` says that what came before is summarised before the next attempt: it was too long or, by the `code`,
    refused for another reason. `usage` is what the attempt cost, as far as that is known, and `cost_usd` in US dollars;
    None is unknown.
    """

    code: str
    message: str
    wait_ms: int
    blocks: int = 0
    retracts: list[int] = []
    fallback: bool = False
    repair: Literal["thinking", "media", "other_media", "foreign"] | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    too_long: bool = False


class StoredResult(msgspec.Struct, frozen=True, kw_only=True):
    """Where the whole of a tool's output is: a blob of the task, and how many bytes it has."""

    sha256: str
    bytes: int


class ToolStarted(_Fact, frozen=True, kw_only=True, tag="tool_started"):
    """A tool is about to run. From here on nobody can say that it did not, until it finishes."""

    tool_call_id: str


class ToolFinished(_Fact, frozen=True, kw_only=True, tag="tool_finished"):
    """A call has its result, for good. Where `output` is only head and tail, `stored` is the whole."""

    tool_call_id: str
    output: JSON
    error: ToolResultError | None = None
    duration_ms: int | None = None
    stored: StoredResult | None = None


class HumanAsked(_Fact, frozen=True, kw_only=True, tag="human_asked"):
    """Somebody's answer is outstanding.

    `digest` is that of the call as it is shown; `remember` are the rules that a "yes, always" would lay down. `opens`
    is what a yes opens for this call outside of the tool's own folders; None where the question was asked before that
    was recorded.
    """

    request_id: str
    kind: Literal["permission", "question"]
    question: str
    tool_call_id: str
    digest: str = ""
    remember: tuple[Rule, ...] = ()
    opens: tuple[Effect, ...] | None = None


class HumanAnswered(_Fact, frozen=True, kw_only=True, tag="human_answered"):
    """The one answer that counts. `remember` are the rules that it lays down for the rest of the task."""

    request_id: str
    answer: str
    feedback: str | None = None
    content_blocks: list[Block] = []
    remember: tuple[Rule, ...] = ()


class PlanChosen(_Fact, frozen=True, kw_only=True, tag="plan_chosen"):
    """The plan is this one from here on; without steps there is none. `model` is the planner.

    `usage` and `cost_usd` are what it took; a cost of None is unknown.
    """

    steps: list[PlanStep]
    by: Literal["planner", "agent"]
    usage: Usage | None = None
    model: str | None = None
    cost_usd: float | None = None


class PlanSkipped(_Fact, frozen=True, kw_only=True, tag="plan_skipped"):
    """The planning step chose no plan, and what there was stays. `problem` says why, where the planner failed."""

    usage: Usage | None = None
    model: str | None = None
    problem: str | None = None
    cost_usd: float | None = None


class Noted(_Fact, frozen=True, kw_only=True, tag="noted"):
    """Working memory has this value under this key, until `expires_at` (unix ms) where that is set; None removes it."""

    key: str
    value: JSON
    by: Literal["agent", "code", "expiry"] = "agent"
    expires_at: int | None = None


class Compacted(_Fact, frozen=True, kw_only=True, tag="compacted"):
    """From here on a summary stands for what came before the message `kept_from`; the log keeps all of it.

    `kept_from` is a person's message, or an answer of this very turn: then the turn's own message is kept as well.
    `since` is the turn that it stands in. `summary` and `carried` (what was still open) are the texts as they are sent;
    `block` is what the provider of `model` made instead of `summary`, for that model alone. `result_bytes` is how much
    is left of each tool result that was kept. `remember` are the rules that people had laid down by then, `plan` and
    `notes` what was planned and noted. `usage` and `cost_usd` are what it took; a cost of None is unknown.

    It belongs to its turn: where the turn does not count, neither does this.
    """

    kept_from: str
    since: str
    summary: str
    before_tokens: int
    after_tokens: int
    strategy: str
    carried: list[str] = []
    block: Block | None = None
    model: str = ""
    result_bytes: int | None = None
    usage: Usage | None = None
    remember: tuple[Rule, ...] = ()
    plan: list[PlanStep] = []
    notes: list[Noted] = []
    cost_usd: float | None = None


class NotesShown(_Fact, frozen=True, kw_only=True, tag="notes_shown"):
    """The model is shown the whole working memory, by key, with the message of this turn."""

    notes: dict[str, JSON]


class RecalledItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One memory that was recalled: the line that the model is shown, why it came, and where it came from.

    Where the memory was erased later, `text` and `why` are empty.
    """

    id: str
    text: str
    why: str
    score: float
    task_id: str | None = None
    message_id: str | None = None
    source: str = ""
    trust: str = ""


class Recalled(_Fact, frozen=True, kw_only=True, tag="recalled"):
    """What long-term memory had for the message of this turn, looked up once, and shown with it; nothing is [].

    `problem` says why nothing could be looked up, where that is so.
    """

    items: list[RecalledItem]
    problem: str | None = None


class TurnResumed(_Fact, frozen=True, kw_only=True, tag="turn_resumed"):
    """The process died; another one goes on. `repeats` are started calls that are safe to run again."""

    blocks: int = 0
    retracts: list[int] = []
    repeats: list[str] = []


class TurnCompleted(_Fact, frozen=True, kw_only=True, tag="turn_completed"):
    """The turn ended well. One that does not count (a refusal) stays readable but is not sent to the model again."""

    message_id: str
    stop_reason: str
    counts: bool = True


class TurnFailed(_Fact, frozen=True, kw_only=True, tag="turn_failed"):
    """The turn ended errored. One that does not count leaves the thread where it stood before.

    `usage` and `cost_usd` are what the attempt cost that was under way.
    """

    code: str
    message: str
    details: dict[str, JSON] = {}
    counts: bool = True
    usage: Usage | None = None
    cost_usd: float | None = None


Fact: TypeAlias = (
    TurnStarted
    | PrefixChosen
    | AssistantReplied
    | OutputRefused
    | AssistantCut
    | AttemptFailed
    | Compacted
    | ToolStarted
    | ToolFinished
    | HumanAsked
    | HumanAnswered
    | PlanChosen
    | PlanSkipped
    | Noted
    | NotesShown
    | Recalled
    | TurnResumed
    | TurnCompleted
    | TurnFailed
)

encode_fact = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)


def decode_fact(body: bytes) -> Fact:
    """The fact that `encode_fact` made. Raises `msgspec.ValidationError` for a body no release of ours wrote."""
    return _decoder.decode(body)


def message_id_of(fact: Fact) -> str | None:
    """The id of the message that this fact is, if it is one. A message of results is found by its assistant's."""
    match fact:
        case TurnStarted() | AssistantReplied() | AssistantCut():
            return fact.message_id or None
        case _:
            return None
