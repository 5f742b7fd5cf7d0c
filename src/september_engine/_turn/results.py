"""results: a tool's output that is too large to give to a model at once. Pure.

The whole is stored beside the log as a blob of the task; the model gets head and tail, is told so, and reads on with
the tool `read_result`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from ..messages import JSON
from .facts import Fact, StoredResult, ToolFinished
from .inputs import Answered, Input, ToolReturned
from .limits import clip, is_blocks

__all__ = ["MOST_STORED", "READ_RESULT", "has_result", "in_part", "page_of", "pieces_of", "whole_of"]

MOST_STORED = 16 * 2**20
"""Bytes of one output that are stored; of a larger one, its beginning."""

READ_RESULT = "read_result"
"""The name of the tool that reads on."""


def whole_of(output: JSON) -> bytes:
    """The text of an output in UTF-8: what is cut, stored and read on. Media has limits of its own."""
    if is_blocks(output):
        text = "\n".join(block["text"] for block in output if block["type"] == "text")
    else:
        text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    return text.encode()[:MOST_STORED]


def in_part(output: JSON, limit: int) -> tuple[JSON, StoredResult | None]:
    """The output as the log has it and, where that is head and tail only, where the whole is."""
    shown = clip(output, limit)
    if shown is output or shown == output:
        return output, None
    body = whole_of(output)
    stored = StoredResult(sha256=hashlib.sha256(body).hexdigest(), bytes=len(body))
    note = (
        f"[Only head and tail of {stored.bytes} bytes are shown. "
        f'Read on with {READ_RESULT}(result_id="{stored.sha256}", offset={_first_gap(output, limit)}).]'
    )
    if isinstance(shown, str):
        return f"{shown}\n{note}", stored
    return [*shown, {"type": "text", "text": note}], stored


def _first_gap(output: JSON, limit: int) -> int:
    """Where in the whole the first thing stands that was left out; of blocks, each text has its share of the limit."""
    texts = [block["text"].encode() for block in output if block["type"] == "text"] if is_blocks(output) else []
    share, before = limit // max(len(texts), 1), 0
    for text in texts:
        if len(text) > share:
            break
        before += len(text) + 1
    return before + share * 3 // 4


def pieces_of(input: Input, facts: list[Fact]) -> dict[str, bytes]:
    """What must be stored together with these facts, which follow from this input: bodies by their SHA-256."""
    stored = [fact.stored for fact in facts if isinstance(fact, ToolFinished) and fact.stored is not None]
    match input:
        case ToolReturned(output=output) | Answered(answer=output):
            return {one.sha256: whole_of(output) for one in stored}
        case _:
            return {}


def has_result(facts: Iterable[Fact], sha256: str) -> bool:
    """Whether one of these facts is the result of which this is the whole."""
    stored = (fact.stored for fact in facts if isinstance(fact, ToolFinished))
    return any(one is not None and one.sha256 == sha256 for one in stored)


def page_of(body: bytes, offset: int, size: int) -> str:
    """At most `size` bytes of a stored output from `offset` on, at whole characters, and where it goes on.

    A character that `offset` stands in the middle of comes first: it was left out of what was shown before it.
    """
    begin = min(max(offset, 0), len(body))
    while 0 < begin < len(body) and body[begin] & 0xC0 == 0x80:
        begin -= 1
    end = min(begin + max(size, 4), len(body))
    while begin < end < len(body) and body[end] & 0xC0 == 0x80:
        end -= 1
    text = body[begin:end].decode(errors="replace")
    rest = "This is the end." if end == len(body) else f"Read on with offset={end}."
    return f"{text}\n[Bytes {begin} to {end} of {len(body)}. {rest}]"
