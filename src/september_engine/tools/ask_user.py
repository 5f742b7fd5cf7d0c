"""`ask_user`: a question to a person, in the middle of a turn."""

from __future__ import annotations

from typing import Annotated

import attrs
from msgspec import Meta

from .tool import Tool, tool

__all__ = ["ask_user"]


@tool(timeout=None, safe_to_repeat=True)
def _question(
    question: Annotated[str, Meta(description="What to ask, with all that is needed to answer it.", min_length=1)],
) -> str:
    """Ask the person you work for, and wait for the answer.

    Use it when only they can decide or know: a choice between real alternatives, a missing fact, a preference. Do not
    use it for what you can find out by yourself, nor for permission: that is asked for you where it is needed.
    """
    raise AssertionError("the answer is the result; nothing runs")


ask_user: Tool[[str], str] = attrs.evolve(_question, name="ask_user", asks_person=True)
"""The turn waits for the answer, for days and across restarts if need be; `Engine.respond` gives it."""
