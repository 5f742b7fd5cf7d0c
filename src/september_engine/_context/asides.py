"""Asides: what the engine puts behind a person's words, in a block of its own. Pure.

An aside is text of the user's message, not of the system: what an agent has noted may come from anywhere, and must not
speak with more authority than the person. It is written once, where it stands in the log, and never changed.
"""

from __future__ import annotations

import re

import msgspec

from ..messages import JSON, Block

__all__ = ["aside", "in_json", "is_aside"]

_NOT_PLAIN = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\x85\u2028\u2029"}
"""What could be taken for markup, or for the end of a line."""

_ASIDE = re.compile(r"<(plan|working_memory|memories)>\n.*\n</\1>", re.DOTALL)


def aside(name: str, text: str) -> Block:
    """The block: `name` is "plan", "working_memory" or "memories"."""
    return {"type": "text", "text": f"<{name}>\n{text}\n</{name}>"}


def in_json(value: JSON) -> str:
    """The value as one line of JSON in which nothing looks like the end of an aside, or the beginning of another."""
    return msgspec.json.encode(value).decode().translate(_NOT_PLAIN)


def is_aside(block: Block) -> bool:
    """Whether the engine wrote this block; a person who writes exactly the same is taken for the engine."""
    return block.get("type") == "text" and _ASIDE.fullmatch(str(block.get("text"))) is not None
