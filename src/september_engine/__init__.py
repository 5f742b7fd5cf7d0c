"""September Engine: an embeddable agent engine. Durable turns, replayable streams, threads that never get stuck.

    from september_engine import Engine, tool

`Engine` is the door; `tool` makes a function callable by the model, and `builtin_tools` are those for working on a
machine. The events are in `events`, the errors in `errors`, and what needs a person is said by the rules in
`permissions`. What plugs in lives in named modules: `models`, `store`, `testing`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._turn.limits import Limits
from .blocking import BlockingEngine
from .engine import Engine, Health
from .errors import (
    EngineClosed,
    EngineError,
    InvalidRequest,
    MessageNotFound,
    ModelError,
    TaskBusy,
    TaskNotFound,
    TurnFailed,
)
from .events import Error, Event, HitlRequest, TextDelta, ThinkingDelta, ThreadLifecycle, ToolCall, ToolResult
from .messages import Message, Usage
from .settings import Settings
from .streams import Replay, Turn, TurnResult
from .tools import Tool, ToolError, tool

if TYPE_CHECKING:
    from .tools.builtin import builtin_tools

__all__ = [
    "BlockingEngine",
    "Engine",
    "EngineClosed",
    "EngineError",
    "Error",
    "Event",
    "Health",
    "HitlRequest",
    "InvalidRequest",
    "Limits",
    "Message",
    "MessageNotFound",
    "ModelError",
    "Replay",
    "Settings",
    "TaskBusy",
    "TaskNotFound",
    "TextDelta",
    "ThinkingDelta",
    "ThreadLifecycle",
    "Tool",
    "ToolCall",
    "ToolError",
    "ToolResult",
    "Turn",
    "TurnFailed",
    "TurnResult",
    "Usage",
    "builtin_tools",
    "tool",
]


def __getattr__(name: str) -> object:
    """`builtin_tools` is loaded when it is asked for: a parser of bash and the sandboxes come with it."""
    if name == "builtin_tools":
        return import_module(".tools.builtin", __name__).builtin_tools
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
