"""The body of a request to the Messages API. Pure.

1. What the prompt holds goes out as it is; only `cache_control` is added, and to copies: the stored prompt is never
   touched, and without `cache_control` one request still begins with the one before.
2. Nothing is sent that current models refuse: no sampling, no forced tool, no answer begun for the model.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

from .._context.check import COMPACTION
from ..messages import JSON, Block, Prompt
from .base import ModelRequest

__all__ = ["CacheTTL", "beta_options", "known_window", "request_body", "thinks_adaptively"]

CacheTTL: TypeAlias = Literal["5m", "1h"]

COMPACTION_BETA = "compact-2026-09-04"
"""What the API wants to be told of requests that ask for a compaction, or hold one."""

CLAUDE_WINDOW = 200_000
"""Tokens every Claude takes. Some take more; the engine must then be told."""

BREAKPOINTS = 4
"""Most `cache_control` marks the API takes in one request."""

_NOT_CACHEABLE = ("thinking", "redacted_thinking")
_FIXED_THINKING = re.compile(
    r"claude-(?:v?\d|instant|(?:opus|sonnet|haiku)-(?:[0-3](?!\d)|4(?:[-.][0-5](?!\d)|[-@]\d{8}|(?![-.]?\d))))"
)
"""Claude before 4.6, by all the ways to write a version (`4-5`, `4.5`) and whatever stands behind it."""


def thinks_adaptively(model: str) -> bool:
    """Whether this model takes `thinking: {"type": "adaptive"}`. Every Claude since 4.6 does; no other is known to.

    A guess by its name: a provider that refuses is believed.
    """
    return "claude-" in model and _FIXED_THINKING.search(model) is None


def known_window(model: str) -> int | None:
    """The context window of this model, as far as its name tells."""
    return CLAUDE_WINDOW if "claude-" in model else None


def beta_options(request: ModelRequest) -> dict[str, JSON]:
    """What the SDK's call needs beside the body where compactions are in play: they are not in its stable part yet."""
    options: dict[str, JSON] = {}
    if request.compact:
        options["extra_body"] = {"compaction": {"type": "summarize"}}
    first = request.prompt.messages[0] if request.prompt.messages else {}
    if request.compact or any(block.get("type") == COMPACTION for block in first.get("content", [])):
        options["extra_headers"] = {"anthropic-beta": COMPACTION_BETA}
    return options


def request_body(
    request: ModelRequest, *, model: str, thinking: bool, cache: CacheTTL | None, most_tokens: int | None = None
) -> dict[str, JSON]:
    """The body, with `stream` true. `cache` None leaves every `cache_control` out; `most_tokens` is what is taken."""
    prompt = request.prompt
    body: dict[str, JSON] = {
        "model": model,
        "max_tokens": min(request.max_tokens, most_tokens or request.max_tokens),
        "stream": True,
        "messages": _messages(prompt, cache),
    }
    if prompt.system.strip():
        body["system"] = [_marked({"type": "text", "text": prompt.system}, cache)]
    if prompt.tools:
        # a mark on `system` covers the tools as well: they stand before it
        last = prompt.tools[-1] if "system" in body else _marked(prompt.tools[-1], cache)
        body["tools"] = [*prompt.tools[:-1], last]
    if thinking:
        # without "summarized" current models send thinking without its text, and people see nothing for minutes
        body["thinking"] = {"type": "adaptive", "display": "summarized"}
    if request.output_schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": request.output_schema}}
    return body


def _messages(prompt: Prompt, cache: CacheTTL | None) -> list[Block]:
    """The messages, with marks at the ends of the last user messages.

    The end of a user message is where an earlier request ended, so that is exactly where the cache was written: it is
    found again however many blocks an answer and its results had, without relying on how far back the provider looks.
    """
    messages = [_unmarked(message) for message in prompt.messages]
    left = BREAKPOINTS - 1 if cache is not None else 0
    for index in range(len(messages) - 1, -1, -1):
        if left == 0:
            break
        if messages[index].get("role") == "user" and (place := _last_cacheable(messages[index])) is not None:
            content = list(messages[index]["content"])
            content[place] = _marked(content[place], cache)
            messages[index] = {**messages[index], "content": content}
            left -= 1
    return messages


def _last_cacheable(message: Block) -> int | None:
    content = message["content"]
    for place in range(len(content) - 1, -1, -1):
        block = content[place]
        blank = block.get("type") == "text" and not str(block.get("text")).strip()
        if not blank and block.get("type") not in _NOT_CACHEABLE:
            return place
    return None


def _marked(block: Block, cache: CacheTTL | None) -> Block:
    if cache is None:
        return block
    mark = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
    return {**block, "cache_control": mark}


def _unmarked(message: Block) -> Block:
    """The message without marks of others: there may be four in all, and where they stand is decided here."""
    content = message.get("content")
    if not isinstance(content, list) or not any("cache_control" in block for block in _with_inner(content)):
        return message
    return {**message, "content": [_without_mark(block) for block in content]}


def _with_inner(content: list[Block]) -> list[Block]:
    inner = [block["content"] for block in content if isinstance(block.get("content"), list)]
    return content + [block for blocks in inner for block in blocks if isinstance(block, dict)]


def _without_mark(block: Block) -> Block:
    kept = {key: value for key, value in block.items() if key != "cache_control"}
    if isinstance(kept.get("content"), list):
        kept["content"] = [_without_mark(inner) if isinstance(inner, dict) else inner for inner in kept["content"]]
    return kept
