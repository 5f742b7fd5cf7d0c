"""What a call of a file tool would do, for the policy."""

from __future__ import annotations

from collections.abc import Iterable

from ..messages import JSON
from ..permissions import Action, Effect, Read, Unknown, Write
from .workspace import Workspace

__all__ = ["read", "reads", "writes", "written"]


def reads(workspace: Workspace, path: JSON) -> tuple[Action, ...]:
    """Reading at and below this path, and where links lead from it."""
    return tuple(Read(path=each) for each in workspace.paths(path)) if isinstance(path, str) else _UNCLEAR


def writes(workspace: Workspace, path: JSON) -> tuple[Action, ...]:
    """Writing this file, and where links lead from it."""
    return tuple(Write(path=each) for each in workspace.paths(path)) if isinstance(path, str) else _UNCLEAR


def written(effects: Iterable[Effect]) -> list[str]:
    """The paths that may be written."""
    return [effect.path for effect in effects if isinstance(effect, Write)]


def read(effects: Iterable[Effect]) -> list[str]:
    """The paths that may be read."""
    return [effect.path for effect in effects if isinstance(effect, Read)]


_UNCLEAR = (Unknown(why="its path is not text"),)
