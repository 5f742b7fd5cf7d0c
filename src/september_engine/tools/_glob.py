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

State: TypeAlias = tuple[int, int]
"""Which alternative, and how many of its parts are matched."""

Reached: TypeAlias = frozenset[State]
"""All that a way may have come to."""


class Glob:
    """One pattern. `ValueError` says why it cannot be used.

    It is matched as an automaton: `_same` has the states that are reached with a state, since `**` may be no folder.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        flags = re.IGNORECASE if ignore_case else 0
        self._parts: dict[State, re.Pattern[str] | None] = {}
        self._same: dict[State, Reached] = {}
        ends: set[State] = set()
        starts: set[State] = set()
        for index, alternative in enumerate(_alternatives(pattern)):
            parts = _parts(alternative)
            for at, part in enumerate(parts):
                # fnmatch writes `*` as an atomic group, so a name is matched without going back
                self._parts[index, at] = None if part == "**" else re.compile(fnmatch.translate(part), flags)
            for at in range(len(parts), -1, -1):
                after: Reached = self._same[index, at + 1] if parts[at : at + 1] == ["**"] else frozenset()
                self._same[index, at] = after | {(index, at)}
            starts |= self._same[index, 0]
            ends.add((index, len(parts)))
        self.start: Reached = frozenset(starts)
        """At the root, before any name."""
        self._ends = frozenset(ends)

    def step(self, reached: Reached, name: str) -> Reached:
        """Where the way has come with one more name. Empty: nothing on or below it can match."""
        after: set[State] = set()
        for state in reached - self._ends:
            part = self._parts[state]
            if part is None:
                after |= self._same[state]
            elif part.match(name):
                after |= self._same[state[0], state[1] + 1]
        return frozenset(after)

    def ends(self, reached: Reached) -> bool:
        """Whether the way matches as far as it has come."""
        return not self._ends.isdisjoint(reached)

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
