"""The root folders of a workspace, and how a path below one of them is written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from posixpath import join, normpath

from ..errors import ConfigurationError
from ._beneath import Place, way
from ._text import named

__all__ = ["Roots"]


class Roots:
    """Folders, each once, the first of which relative paths are from. One may be inside of another.

    Raises `ConfigurationError` for what is no folder.

    Attributes:
        all: Their real paths, in the order given.
        tops: Those that are inside of no other. Whatever is below an inner one is found from its top, since the way
            to the inner one can be changed by who may write in the outer one.
    """

    def __init__(self, given: Iterable[str | os.PathLike[str]]) -> None:
        real = {os.path.abspath(path): _folder(path) for path in given}
        self.all = tuple(dict.fromkeys(real.values()))
        self.tops = tuple(
            root for root in self.all if not any(way(other, root) is not None for other in self.all if other != root)
        )
        # the longest first: the innermost
        self._known = sorted({**real, **{root: root for root in self.all}}.items(), key=lambda pair: -len(pair[0]))
        self._first = self.place(self.all[0])

    def absolute(self, path: str) -> str:
        """The path absolute and normalised, and by the real path of the root that it is below. Nothing is looked up."""
        full = "/" + normpath(join(self.all[0], path)).lstrip("/")
        for known, root in self._known:
            if (names := way(known, full)) is not None:
                return join(root, *names)
        return full

    def place(self, full: str) -> Place | None:
        """Where this absolute path is, or None where it is below no root."""
        for top in self.tops:
            if (names := way(top, full)) is not None:
                return Place(top, names)
        return None

    def shown(self, place: Place) -> str:
        """The path as a tool takes it again: from the first root where it is below that, else absolute."""
        first = self._first
        if first is not None and place.root == first.root and place.names[: len(first.names)] == first.names:
            return named("/".join(place.names[len(first.names) :])) or "."
        return named(join(place.root, *place.names))


def _folder(path: str | os.PathLike[str]) -> str:
    given = os.path.abspath(path)
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        raise ConfigurationError(f"The workspace {given} cannot be used: {error.strerror}.") from error
    if not os.path.isdir(real):
        raise ConfigurationError(f"The workspace {given} is not a folder.")
    return real
