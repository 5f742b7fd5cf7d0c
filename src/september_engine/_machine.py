"""What the command line lets an agent do on this machine: all built-in tools where it can, without `bash` otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigurationError
from .tools import Tool
from .tools.builtin import builtin_tools

__all__ = ["tools_in"]


def tools_in(folders: Sequence[Path]) -> tuple[list[Tool[..., Any]], str | None]:
    """The built-in tools over these folders (none: none), and why `bash` is not among them, if it is not.

    Raises `ConfigurationError` for a folder that is missing.
    """
    if not folders:
        return [], None
    root, *also = folders
    without = builtin_tools(root, also=also, sandbox=None)
    try:
        return builtin_tools(root, also=also), None
    except ConfigurationError as error:
        return without, error.message
