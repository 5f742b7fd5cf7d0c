"""What of a workspace is not for file tools: not to be written, or not to be seen at all.

It is decided by real names, and these as the most forgiving file system may see them: upper and lower case are the
same, and so are characters that look the same.
"""

from __future__ import annotations

import os
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from ..errors import ConfigurationError
from ._beneath import Names, Place, way
from ._glob import Glob
from ._roots import Roots

__all__ = ["GIT", "Reserved"]

GIT = ".git"
"""Hooks and settings in there run as programs, with the rights of whoever uses git next."""


class Reserved:
    """Patterns, each from every root that a place is below; and paths that are hidden later, wherever they are.

    Raises `ConfigurationError` for what is no pattern.
    """

    def __init__(self, roots: Roots, *, protected: Sequence[str], hidden: Sequence[str]) -> None:
        self._protected = [_pattern(pattern) for pattern in (GIT, *protected)]
        self._patterns = [_pattern(pattern) for pattern in hidden]
        self._roots = {
            top: [_lowered(names) for root in roots.all if (names := way(top, root)) is not None] for top in roots.tops
        }
        self._above = {top: _lowered(way("/", top) or ()) for top in roots.tops}
        self._paths: frozenset[Names] = frozenset()
        self._changes = threading.Lock()

    def hide(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Hide these, where they really are; of a link, what it leads to as well.

        Raises `ConfigurationError` for a path that is not absolute; then nothing has changed.
        """
        found = {_lowered(way("/", place) or ()) for path in paths for place in _places(os.fspath(path))}
        with self._changes:
            self._paths |= found

    def hides(self, place: Place) -> bool:
        """Whether this may not be seen."""
        if self._patterns and _among(self._patterns, self._ways(place)):
            return True
        return bool(self._paths) and self._is_path_hidden(place)

    def protects(self, place: Place) -> bool:
        """Whether this may not be written, though it may be seen."""
        return _among(self._protected, self._ways(place))

    def _is_path_hidden(self, place: Place) -> bool:
        full = (*self._above.get(place.root, ()), *_lowered(place.names))
        return any(full[:length] in self._paths for length in range(len(full) + 1))

    def _ways(self, place: Place) -> Iterator[Names]:
        """The way to it from every root that it is below; from "/" where a call was granted what is below none."""
        for root in self._roots.get(place.root, [()]):
            if not root or _lowered(place.names[: len(root)]) == root:
                yield place.names[len(root) :]


def _pattern(pattern: str) -> Glob:
    try:
        return Glob(_fold(pattern), ignore_case=True)
    except ValueError as error:
        raise ConfigurationError(f"The pattern {pattern!r} cannot be used: {error}.") from error


def _among(patterns: Sequence[Glob], ways: Iterable[Names]) -> bool:
    return any(pattern.covers(names) for names in map(_folded, ways) for pattern in patterns)


def _fold(name: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")


def _folded(names: Names) -> Names:
    return tuple([name if name.isascii() else _fold(name) for name in names])


def _lowered(names: Names) -> Names:
    return tuple([name.casefold() for name in _folded(names)])


def _places(path: str) -> Iterator[str]:
    """Where a path leads, and where its last name is, which may be a link."""
    if not os.path.isabs(path) or "\0" in path:
        raise ConfigurationError(f"hide([…]) takes absolute paths, of which {path!r} is none.")
    yield os.path.realpath(path)
    folder, name = os.path.split(path.rstrip("/"))
    if name not in ("", ".", ".."):
        yield os.path.join(os.path.realpath(folder), name)
