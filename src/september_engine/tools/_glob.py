"""Glob patterns over paths, matched step by step along the way, in time that no pattern can blow up.

`*`, `?` and `[…]` match within one name, `**` any number of folders, `{a,b}` either. A pattern without `/` is about the
name alone, wherever it is. Upper and lower case differ.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["Glob", "Reached"]

ALTERNATIVES = 64
"""Most patterns that the braces of one may stand for."""

Reached: TypeAlias = frozenset[tuple[int, int]]
"""How far into which alternative a way has come."""


class Glob:
    """One pattern. `ValueError` says why it cannot be used."""

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        flags = re.IGNORECASE if ignore_case else 0
        self._alternatives = [
            # fnmatch writes `*` as an atomic group, so a name is matched without going back
            [None if part == "**" else re.compile(fnmatch.translate(part), flags) for part in _parts(alternative)]
            for alternative in _alternatives(pattern)
        ]

    @property
    def start(self) -> Reached:
        """At the root, before any name."""
        return self._closed((index, 0) for index in range(len(self._alternatives)))

    def step(self, reached: Reached, name: str) -> Reached:
        """Where the way has come with one more name. Empty: nothing on or below it can match."""
        return self._closed(
            (index, at if part is None else at + 1)
            for index, at in reached
            if at < len(self._alternatives[index])
            for part in (self._alternatives[index][at],)
            if part is None or part.match(name)
        )

    def ends(self, reached: Reached) -> bool:
        """Whether the way matches as far as it has come."""
        return any(at == len(self._alternatives[index]) for index, at in reached)

    def matches(self, names: Iterable[str]) -> bool:
        """Whether this way matches."""
        reached = self.start
        for name in names:
            reached = self.step(reached, name)
        return self.ends(reached)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether this way, or a folder on it, matches."""
        reached = self.start
        return any(self.ends(reached := self.step(reached, name)) for name in names)

    def _closed(self, states: Iterable[tuple[int, int]]) -> Reached:
        """With `**` matching nothing."""
        closed: set[tuple[int, int]] = set()
        for index, at in states:
            parts = self._alternatives[index]
            closed.add((index, at))
            while at < len(parts) and parts[at] is None:
                at += 1
                closed.add((index, at))
        return frozenset(closed)


def _parts(pattern: str) -> list[str]:
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError("it is empty")
    if ".." in parts:
        raise ValueError("'..' cannot stand in it; give the folder to look in as path")
    return parts if "/" in pattern else ["**", *parts]


def _alternatives(pattern: str) -> list[str]:
    """The patterns that the braces stand for, the innermost first."""
    ready: list[str] = []
    waiting = [pattern]
    while waiting:
        one = waiting.pop()
        braces = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if braces is None:
            ready.append(one)
        else:
            waiting += [one[: braces.start()] + part + one[braces.end() :] for part in braces[1].split(",")]
        if len(ready) + len(waiting) > ALTERNATIVES:
            raise ValueError(f"its braces stand for more than {ALTERNATIVES} patterns")
    return ready
