"""Messages, and the small values that go with them.

A content block is JSON exactly as the Messages API writes it, and is kept so: a block that the engine modelled
field by field would lose the fields it does not know, and current models refuse a thinking block that is not
byte for byte their own. Helpers read blocks; nothing rewrites them.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = [
    "JSON",
    "Block",
    "Branch",
    "Content",
    "Media",
    "Message",
    "Prompt",
    "Task",
    "TaskDetail",
    "Usage",
    "shown_text",
    "text_of",
    "tool_uses",
]
JSON: TypeAlias = Any
"""A JSON value: the one place where the type checker looks away."""

Block: TypeAlias = dict[str, JSON]
"""One content block in the Messages API's own shape, such as `{"type": "text", "text": "Hello"}`."""


Media: TypeAlias = Block | bytes | os.PathLike[str]
"""An image or a document: a file's path, its content, or a block in the Messages API's shape."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What an image or document of a message holds."""

    media_type: str
    data: bytes

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What a notebook shows: the image itself, and in words what it is."""
        bundle = {"text/plain": f"<Content {self.media_type}, {len(self.data):,} bytes>"}
        if self.media_type.startswith("image/"):
            bundle[self.media_type] = base64.b64encode(self.data).decode()
        return bundle


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one model call, or of a whole turn.

    `cache_hit_tokens` and `cache_write_tokens` are parts of `input_tokens`: what the provider's prompt cache had, and
    what was written into it; `cache_write_1h_tokens` is the part of the latter that is kept for an hour. Each has a
    price of its own.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_hit_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Input and output tokens in all."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_hit_tokens=self.cache_hit_tokens + other.cache_hit_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
        )


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a thread, as `Engine.messages` gives it.

    `parent_id` is the message before it on its branch, so branches can be drawn. `created_at` is ISO 8601 in UTC with
    milliseconds, as everywhere. A tool's results are a message of role "user", as in the Messages API; only a message
    that a person sent can be edited. An image or document has a `source` of type "stored": what it is, and the `sha256`
    that `Engine.media` takes. `stop_reason`, `usage` and `model` are those of an assistant message; `stop_reason` is
    "cancelled" where a person stopped the answer, and `stop_details` what the provider added to it, such as why it
    refused.
    """

    id: str
    role: Literal["user", "assistant"]
    content: list[Block]
    parent_id: str | None
    turn_id: str
    created_at: str
    stop_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    stop_details: Block | None = None


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation thread in a listing. Times are ISO 8601; `turn_id` is that of the running turn, if any."""

    task_id: str
    status: Literal["idle", "running", "waiting"]
    turn_id: str | None
    created_at: str
    updated_at: str


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a thread: its last turn, that turn's user message, and whether the thread stands here now."""

    turn_id: str
    message_id: str
    created_at: str
    current: bool


class TaskDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One task with its branches, oldest first.

    `tokens` and `cost_usd` (US dollars; None: unknown) are what all its turns have spent, up to the last step.
    """

    task_id: str
    status: Literal["idle", "running", "waiting"]
    turn_id: str | None
    created_at: str
    updated_at: str
    branches: list[Branch]
    tokens: int = 0
    cost_usd: float | None = None


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is given: the Messages API's `system`, `tools` and `messages`, in its own JSON."""

    system: str
    tools: list[Block]
    messages: list[Block]


def text_of(content: Iterable[Block]) -> str:
    """The joined text blocks: what a person reads of this message."""
    return "".join(block["text"] for block in content if block.get("type") == "text")


def shown_text(contents: Iterable[Iterable[Block]]) -> str:
    """What a reader sees of several messages: their text, with a blank line between what was said apart.

    Blocks of text that stand side by side go on from each other, as a provider cuts a sentence that has sources; they
    are apart only where one ends a sentence and the next begins one with no blank between.
    """
    shown = ""
    for content in contents:
        beside = False
        for block in content:
            text = block["text"] if block.get("type") == "text" else ""
            if text:
                goes_on = beside and not (shown[-1:] in ".!?:" and text[0].isupper())
                apart = bool(shown.strip()) and not goes_on and not shown.endswith("\n") and not text.startswith("\n")
                shown = f"{shown.rstrip(' ')}\n\n{text}" if apart else shown + text
            beside = bool(text)
    return shown


def tool_uses(content: Iterable[Block]) -> list[Block]:
    """The tool_use blocks, in the model's order."""
    return [block for block in content if block.get("type") == "tool_use"]
