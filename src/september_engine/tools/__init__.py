"""Tools: the `tool` decorator, what it makes, and how what a tool returns becomes JSON."""

from __future__ import annotations

from .output import ToolError, encode_error, encode_output
from .tool import Tool, ToolInputError, tool

__all__ = ["Tool", "ToolError", "ToolInputError", "encode_error", "encode_output", "tool"]
