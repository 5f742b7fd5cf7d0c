"""The events a client sees: names, shapes and order as the contract publishes them.

A struct's tag is the event's name, and its `type`. On the wire the name travels in the SSE frame's `event:` line, so
`encode` leaves it out of the body; everywhere else (logs, your own JSON) a struct carries it as `type`.

Rules that keep this file honest: a field is never renamed or removed; a new field has a default; only `text_delta`
and `thinking_delta` have a top-level `text`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TypeAlias, get_args

import msgspec

from .messages import JSON, Usage

__all__ = [
    "CompactionEvent",
    "ContentBlockStart",
    "ContentBlockStop",
    "Error",
    "Event",
    "Heartbeat",
    "HitlRequest",
    "HitlResolved",
    "Plan",
    "PlanStep",
    "ReplayGap",
    "Retry",
    "Rewound",
    "TextDelta",
    "ThinkingDelta",
    "ThreadLifecycle",
    "ToolCall",
    "ToolResult",
    "ToolResultError",
    "UsageEvent",
    "WorkingMemoryUpdate",
    "decode",
    "encode",
    "name_of",
    "timestamp",
]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    @property
    def type(self) -> str:
        """The event's name in the contract, such as `text_delta`."""
        return _names[self.__class__]


class ThreadLifecycle(_Event, frozen=True, kw_only=True, tag="thread_lifecycle"):
    """The first event of a turn ("started") and, when it ends well, the last ("completed").

    `message_id` is the user message on "started" and the final assistant message on "completed"; `usage` is the
    turn's total, and `cost_usd` what that cost in US dollars; it is absent where that is unknown.
    """

    phase: Literal["started", "completed", "errored"]
    task_id: str
    turn_id: str
    timestamp: str
    message_id: str | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None


class Error(_Event, frozen=True, kw_only=True, tag="error"):
    """The turn failed; always the very last event. `error` is a code of the contract."""

    error: str
    message: str
    details: dict[str, JSON] | None = None


class TextDelta(_Event, frozen=True, kw_only=True, gc=False, tag="text_delta"):
    """Text of the answer. The joined deltas of a turn are its whole answer, but for what a `retry` retracts."""

    text: str


class ThinkingDelta(_Event, frozen=True, kw_only=True, gc=False, tag="thinking_delta"):
    """What the model shows of its thinking."""

    text: str


class ContentBlockStart(_Event, frozen=True, kw_only=True, gc=False, tag="content_block_start"):
    """A block begins. `block_index` counts through the whole turn, so that `retry.retracts` can name blocks."""

    block_index: int
    block_type: Literal["text", "thinking", "tool_use"]


class ContentBlockStop(_Event, frozen=True, kw_only=True, gc=False, tag="content_block_stop"):
    """A block ended."""

    block_index: int
    block_type: Literal["text", "thinking", "tool_use"]


class ToolCall(_Event, frozen=True, kw_only=True, tag="tool_call"):
    """The model calls a tool."""

    tool: str
    tool_call_id: str
    input: dict[str, JSON]


class ToolResultError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call has no good result: `reason` for a program, `message` for a person and the model."""

    reason: str
    message: str


class ToolResult(_Event, frozen=True, kw_only=True, tag="tool_result"):
    """A call ended. A failing tool is this event with `error`, never an `error` event."""

    tool_call_id: str
    tool: str
    output: JSON
    error: ToolResultError | None = None


class HitlRequest(_Event, frozen=True, kw_only=True, tag="hitl_request"):
    """The turn waits for a person. For a permission, `tool`, `tool_call_id` and `input` say what would run.

    `remember` says in words what a "yes, always" would allow for the rest of the task; it is absent where nothing can
    be remembered.
    """

    request_id: str
    task_id: str
    kind: Literal["permission", "question"]
    question: str
    created_at: str
    tool_call_id: str | None = None
    tool: str | None = None
    input: dict[str, JSON] | None = None
    remember: list[str] | None = None


class HitlResolved(_Event, frozen=True, kw_only=True, tag="hitl_resolved"):
    """A person answered; the loop goes on."""

    request_id: str
    task_id: str
    answer: str


class WorkingMemoryUpdate(_Event, frozen=True, kw_only=True, tag="working_memory_update"):
    """Working memory was written, by the agent or your code, or expired; a `value` of None means the key is gone."""

    key: str
    value: JSON


class PlanStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a plan. A step that is "dropped" turned out not to be needed."""

    id: str
    title: str
    status: Literal["pending", "active", "done", "dropped"]


class Plan(_Event, frozen=True, kw_only=True, tag="plan"):
    """The plan was made or changed; these are all of its steps. Without any there is no plan any more."""

    steps: list[PlanStep]


class CompactionEvent(_Event, frozen=True, kw_only=True, tag="compaction_event"):
    """Earlier turns were summarised: by a model ("summary"), by its provider, or, where both failed, by "excerpts"."""

    before_tokens: int
    after_tokens: int
    strategy: str


class UsageEvent(_Event, frozen=True, kw_only=True, tag="usage", omit_defaults=False):
    """Tokens of one model call. `cache_hit_tokens` is a part of `input_tokens`."""

    input_tokens: int
    output_tokens: int
    cache_hit_tokens: int


class Retry(_Event, frozen=True, kw_only=True, tag="retry"):
    """A provider attempt failed, or its answer is not the output asked for, and is repeated after `wait_ms`.

    `retracts` names the blocks whose shown text no longer counts: take them off the screen.
    """

    attempt: int
    reason: str
    wait_ms: int
    retracts: list[int] | None = None


class Rewound(_Event, frozen=True, kw_only=True, tag="rewound"):
    """An edit or retry moved the thread: what followed `message_id` no longer counts."""

    message_id: str
    kind: Literal["edit", "retry"]


class ReplayGap(_Event, frozen=True, kw_only=True, tag="replay_gap"):
    """`after` lies before what is still kept; the replay begins at `oldest` (unix ms)."""

    oldest: int


class Heartbeat(_Event, frozen=True, kw_only=True, tag="heartbeat"):
    """Nothing happened for a while; the stream lives."""

    timestamp: str


Event: TypeAlias = (
    ThreadLifecycle
    | Error
    | TextDelta
    | ThinkingDelta
    | ContentBlockStart
    | ContentBlockStop
    | ToolCall
    | ToolResult
    | HitlRequest
    | HitlResolved
    | WorkingMemoryUpdate
    | Plan
    | CompactionEvent
    | UsageEvent
    | Retry
    | Rewound
    | ReplayGap
    | Heartbeat
)

_encode = msgspec.json.Encoder().encode
_names: Mapping[type, str] = {kind: kind.__struct_config__.tag for kind in get_args(Event)}
_prefixes: Mapping[type, int] = {kind: len(b'{"type":"') + len(name) + len(b'"') for kind, name in _names.items()}
_decoders: Mapping[str, msgspec.json.Decoder[Event]] = {
    name: msgspec.json.Decoder(kind) for kind, name in _names.items()
}


def name_of(event: Event) -> str:
    """The event's name in the contract, such as `text_delta`."""
    return _names[type(event)]


def encode(event: Event) -> bytes:
    """The event as one line of JSON without its name, safe inside an SSE `data:` line for every parser.

    JSON already escapes CR, LF and NUL. U+0085, U+2028 and U+2029 are legal in JSON but end a line for clients that
    split with `str.splitlines`, so they are escaped too.
    """
    raw = _encode(event)
    cut = _prefixes[type(event)]
    body = b"{" + raw[cut + 1 :] if raw[cut] == 0x2C else b"{}"
    if not body.isascii():
        body = (
            body.replace(b"\xe2\x80\xa8", b"\\u2028")
            .replace(b"\xe2\x80\xa9", b"\\u2029")
            .replace(b"\xc2\x85", b"\\u0085")
        )
    return body


def decode(name: str, body: bytes) -> Event:
    """The event that `encode` made.

    Raises `KeyError` for a name that only a later release knows (events are added: pass it over), and
    `msgspec.ValidationError` for a body that no release of ours wrote.
    """
    return _decoders[name].decode(body)


def timestamp(ms: int) -> str:
    """Unix ms as the contract's ISO-8601 with milliseconds and Z; clamped to the years 1970 to 9999. Raises nothing."""
    seconds, rest = divmod(min(max(ms, 0), 253_402_300_799_999), 1000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{rest:03d}Z"
