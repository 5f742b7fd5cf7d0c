"""The built-in tools over the files of one folder, or of several."""

from __future__ import annotations

from typing import Any

import attrs

from ._text import named
from .edit_file import edit_file_tool
from .find_files import find_files_tool
from .grep import grep_tool
from .read_file import read_file_tool
from .tool import Tool
from .workspace import Workspace
from .write_file import write_file_tool

__all__ = ["file_tools"]


def file_tools(workspace: Workspace) -> list[Tool[..., Any]]:
    """`read_file`, `write_file`, `edit_file`, `grep` and `find_files`, which cannot leave this workspace.

    They block, so they are sync: an engine runs them in threads. Reading tools are safe to repeat. Writing inside of
    the workspace needs nobody's leave, unless a rule says so.
    """
    tools: list[Tool[..., Any]] = [
        read_file_tool(workspace),
        write_file_tool(workspace),
        edit_file_tool(workspace),
        grep_tool(workspace),
        find_files_tool(workspace),
    ]
    return [
        attrs.evolve(each, description=each.description + _more(workspace), roots=workspace.roots, hide=workspace.hide)
        for each in tools
    ]


def _more(workspace: Workspace) -> str:
    """What the model could not know: where else it may go."""
    _, *others = workspace.roots
    if not others:
        return ""
    return f"\n\nThe workspace has further folders, whose files have absolute paths: {', '.join(map(named, others))}."
