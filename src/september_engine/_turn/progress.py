"""progress: whether a turn that calls tools gets anywhere. Pure.

A step is a *repeat* where its calls and their results are those of one of the two steps before it: the same call again
and again, or two in turn. Whatever is new begins the count anew. So does a step in which something was waited for: a
tool that took a second, or a person who answered. What polls and waits may go on for as long as it likes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ..events import ToolResultError
from ..messages import JSON

__all__ = ["WAIT_MS", "Progress", "outcome_of", "stepped", "waited"]

WAIT_MS = 1000
"""A call that takes this long has waited for something, and what it waited for may need many calls."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How many steps in a row brought nothing new. `steps` are the digests of the last two."""

    steps: tuple[str, ...] = ()
    repeats: int = 0
    waited: bool = False


def waited(progress: Progress, duration_ms: int | None = None) -> Progress:
    """After a call of the step that took so long; None where it was a person who took it."""
    return replace(progress, waited=progress.waited or duration_ms is None or duration_ms >= WAIT_MS)


def stepped(progress: Progress, calls: Sequence[tuple[str, dict[str, JSON], str]]) -> Progress:
    """After a step that made these calls, in their order: the tool, its input, and `outcome_of` its result."""
    step = _digest(list(calls))
    repeats = progress.repeats + 1 if step in progress.steps and not progress.waited else 0
    return Progress(steps=(*progress.steps, step)[-2:], repeats=repeats)


def outcome_of(output: JSON, error: ToolResultError | None) -> str:
    """What tells one result from another."""
    return _digest([output, error])


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
