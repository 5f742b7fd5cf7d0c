"""The tool `find_files`: the files whose paths match a glob pattern, the newest first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Annotated, Literal

import attrs
import msgspec

from ..messages import JSON
from ..permissions import Action, Effect
from ._beneath import Names
from ._glob import Glob
from ._text import named
from ._wants import read, reads
from .output import ToolError
from .tool import Tool, tool
from .workspace import Entry, Workspace

__all__ = ["find_files_tool", "glob_of"]

FILES = 200
SECONDS = 15.0
PATTERN_CHARS = 1_000
MARKS: Mapping[str, str] = {"folder": "/", "link": " (a link)", "other": " (not a file)"}


def find_files_tool(
    workspace: Workspace, *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic
) -> Tool[..., str]:
    """The tool over this workspace. It ends after so many seconds with what was found by then."""

    def actions(input: Mapping[str, JSON]) -> tuple[Action, ...]:
        return reads(workspace, input.get("path", "."))

    def check(input: Mapping[str, JSON], opens: Sequence[Effect]) -> None:
        asked = find_files.decode(input)
        glob_of(str(asked["pattern"]))
        workspace.granting(read(opens)).check_read(str(asked.get("path", ".")))

    def opened(granted: Sequence[Effect]) -> Callable[..., str]:
        return find_files_tool(workspace.granting(read(granted)), seconds=seconds, clock=clock).function

    @tool(safe_to_repeat=True, timeout=seconds + 15, actions=actions)
    def find_files(
        pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=PATTERN_CHARS)],
        path: str = ".",
        sort: Literal["modified", "name"] = "modified",
    ) -> str:
        """Find files by their paths; at most 200 are shown. What is in .git is left out.

        Args:
            pattern: "*.py" is about the name, in any folder; "src/**/*.py" about the way from the path. * and ? stand
                for characters of a name, ** for any folders, {a,b} for either. With / at the end it finds folders.
            path: The folder to look in, from the workspace's root, or absolute inside of the workspace.
            sort: The newest first, or by name.
        """
        folders = pattern.endswith("/")
        only = glob_of(pattern.rstrip("/") if folders else pattern)
        found = _Found(pattern, newest=sort == "modified")
        until = clock() + seconds
        with closing(workspace.walk(path, only=only)) as entries:
            for entry in entries:
                if clock() > until:
                    found.stopped = True
                    break
                if entry.kind == "unreadable":
                    found.unreadable += 1
                elif entry.matches and (entry.kind == "folder") is folders:
                    found.add(entry)
        return found.told(seconds)

    return attrs.evolve(find_files, check=check, opened=opened)


@attrs.define
class _Found:
    """What was found so far: the best of it, and how much in all."""

    pattern: str
    newest: bool = attrs.field(kw_only=True)
    count: int = 0
    unreadable: int = 0
    stopped: bool = False
    _best: list[tuple[int, Names, Entry]] = attrs.field(factory=list)

    def add(self, entry: Entry) -> None:
        """Count it, and keep it as long as it is among the best."""
        try:
            age = -entry.status().st_mtime_ns if self.newest else 0
        except OSError:  # gone by now
            return
        self._best.append((age, entry.names, entry))
        self.count += 1
        if len(self._best) > 10 * FILES:
            self._keep_best()

    def told(self, seconds: float) -> str:
        """The result, for the model."""
        self._keep_best()
        lines = [entry.shown + MARKS.get(entry.kind, "") for _, _, entry in self._best] or [
            f"Nothing matches {named(self.pattern)!r}."
        ]
        notes: list[str] = []
        if self.count > FILES:
            order = "newest" if self.newest else "first by name"
            notes.append(f"the {FILES} {order} of {self.count:,}; narrow the pattern or the path")
        if self.stopped:
            notes.append(f"stopped after {seconds:g} seconds, there may be more")
        if self.unreadable:
            notes.append(f"{self.unreadable:,} folders could not be read")
        return "\n".join([*lines, f"[{'; '.join(notes)}]"] if notes else lines)

    def _keep_best(self) -> None:
        self._best.sort(key=lambda each: each[:2])
        del self._best[FILES:]


def glob_of(pattern: str) -> Glob:
    """The pattern, or a `ToolError` that says what is wrong with it."""
    try:
        if len(pattern) > PATTERN_CHARS:
            raise ValueError("it is too long")
        return Glob(pattern)
    except ValueError as error:
        raise ToolError(f"This glob pattern cannot be used: {error}.", reason="invalid_pattern") from error
