"""What a call of a file tool would do, for the policy."""

from __future__ import annotations

from ..messages import JSON
from ..permissions import Action, Read, Unknown, Write
from .workspace import Workspace

__all__ = ["reads", "writes"]


def reads(workspace: Workspace, path: JSON) -> tuple[Action, ...]:
    """Reading at and below this path."""
    return (Read(path=workspace.absolute(path)),) if isinstance(path, str) else _UNCLEAR


def writes(workspace: Workspace, path: JSON) -> tuple[Action, ...]:
    """Writing this file."""
    return (Write(path=workspace.absolute(path)),) if isinstance(path, str) else _UNCLEAR


_UNCLEAR = (Unknown(why="its path is not text"),)
