"""Limits: how much a turn may spend, how often it tries again, and how much of an output is kept. Pure.

The limits of a turn are part of its first fact, so a turn that is resumed by another release keeps its own.
"""

from __future__ import annotations

import msgspec

from ..messages import JSON

__all__ = ["Limits", "backoff_ms", "brief", "clip", "is_blocks", "shown"]

LONGEST_WAIT_MS = 60_000
"""However long a provider asks us to wait, a person is waiting too."""

EVENT_BYTES = 256 * 1024
"""A value in an event beyond this is replaced by a reference, so that an event fits one frame."""

TEXT_BYTES = 64 * 1024
"""A text that is not ours (why something failed, what a person answered) loses its middle beyond this.

With one value beside it, and every byte of both escaped, an event stays under 1 MB.
"""

HEAD_CHARS = 4096

MAX_TOKENS = 4096
"""Most tokens of one answer, where nobody has said so."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one turn may spend, and with it its whole task. None means no limit.

    They are looked at before each model call, so a turn passes one by at most one call. A limit in US dollars needs
    prices (see `Engine(prices=…)`); where a cost is unknown, such a limit counts as reached.

    Stored in full: a default that a later release changes must not change the turns of an older one.

    Args:
        steps: Model calls that are answered.
        tool_calls: Tool calls in all; those beyond get an error as their result.
        calls_per_message: Tool calls of one message that are run; the rest get an error as their result.
        tokens: Input and output tokens in all.
        usd: US dollars in all.
        task_tokens: Input and output tokens of all turns of the task, those of other branches too.
        task_usd: US dollars of all turns of the task, those of other branches too.
        repeats: Steps in a row that brought nothing new: the calls of one of the two steps before, with the same
            results. A step in which a call took a second or longer, or a person answered, is never one.
        seconds: Wall time from start to end, pauses for a person not counted.
        attempts: Tries of one model call before the turn gives up (or changes to the fallback model); and answers that
            may be given until one fits the `output` that was asked for.
        max_tokens: Most tokens of one answer; None takes `MAX_TOKENS`.
        output_bytes: Most bytes of one tool output that the model is given at once; of a longer one it gets head and
            tail, and can read on in what is stored.
        context_tokens: The model's context window; None takes what the model says of itself.
        compactions: How often earlier turns may be summarised within one turn; 0 never does it.
    """

    steps: int = 50
    tool_calls: int = 200
    calls_per_message: int = 64
    tokens: int | None = None
    usd: float | None = None
    task_tokens: int | None = None
    task_usd: float | None = None
    repeats: int | None = 20
    seconds: float | None = 3600.0
    attempts: int = 4
    max_tokens: int | None = None
    output_bytes: int = 100_000
    context_tokens: int | None = None
    compactions: int = 10

    @property
    def answer_tokens(self) -> int:
        """`max_tokens`, or its default; a turn that is stored has a number of its own."""
        return MAX_TOKENS if self.max_tokens is None else self.max_tokens


def backoff_ms(attempt: int, retry_after: float | None, chance: float) -> int:
    """How long to wait before try `attempt` + 1: what the provider asked for, else doubling from half a second.

    `chance` in [0, 1) spreads the waits of many turns (full jitter over the upper half).
    """
    if retry_after is not None and retry_after >= 0:  # which NaN is not
        return round(min(retry_after * 1000, LONGEST_WAIT_MS))
    doubled: int = min(500 << (attempt - 1), 8_000)
    return round(doubled * (0.5 + chance / 2))


def clip(output: JSON, limit: int) -> JSON:
    """The output itself where it fits in `limit` bytes, else the head and tail of its text, with the gap counted.

    Media passes, since it has limits of its own; where the texts beside it are too much together, they share the limit.
    """
    if is_blocks(output):
        texts = [block["text"] for block in output if block["type"] == "text"]
        if sum(len(text.encode()) for text in texts) <= limit:
            return output
        share = limit // len(texts)
        return [
            {**block, "text": brief(block["text"], share)} if block["type"] == "text" else block for block in output
        ]
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    cut = brief(text, limit)
    return output if cut is text else cut


def brief(text: str, limit: int = TEXT_BYTES) -> str:
    """The text itself where it fits in `limit` bytes, else its head and tail, with the gap counted."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    head = raw[: limit * 3 // 4].decode(errors="ignore")
    tail = raw[len(raw) - limit // 4 :].decode(errors="ignore")
    left_out = len(raw) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[… {left_out} bytes left out …]\n{tail}"


def is_blocks(output: JSON) -> bool:
    """Whether a tool's output is a list of content blocks, which the model gets as they are."""
    return (
        isinstance(output, list)
        and len(output) > 0
        and all(isinstance(item, dict) and item.get("type") in ("text", "image", "document") for item in output)
    )


def shown(value: JSON, **reference: str) -> JSON:
    """The value as an event may carry it: itself, or, where it is too large for a frame, its head and a reference."""
    raw = msgspec.json.encode(value)
    if len(raw) <= EVENT_BYTES:
        return value
    head = value if isinstance(value, str) else raw.decode()
    return {"truncated": True, "bytes": len(raw), "head": head[:HEAD_CHARS], "reference": reference}
