"""The tool `grep`: the lines of files that match a regular expression, within a time that no pattern can exceed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Annotated

import attrs
import msgspec

from ..messages import JSON
from ..permissions import Action, Effect
from ._glob import Glob
from ._matcher import Matcher, Stopped, matching
from ._text import SNIFF_BYTES, binary_kind, printable
from ._wants import read, reads
from .find_files import glob_of
from .output import ToolError
from .tool import Tool, tool
from .workspace import Entry, Workspace

__all__ = ["grep_tool"]

MATCHES = 100
SECONDS = 15.0
PATTERN_CHARS = 2_000
FILE_BYTES = 10_000_000
"""Larger files are left out, unless the path names one."""

_PIECE = 256 * 1024
_BATCH_BYTES, _BATCH_PIECES = 256 * 1024, 256


def grep_tool(workspace: Workspace, *, seconds: float = SECONDS) -> Tool[..., str]:
    """The tool over this workspace. A search ends after so many seconds with what was found by then."""

    def actions(input: Mapping[str, JSON]) -> tuple[Action, ...]:
        return reads(workspace, input.get("path", "."))

    def check(input: Mapping[str, JSON], opens: Sequence[Effect]) -> None:
        asked = grep.decode(input)
        if isinstance(glob := asked.get("glob"), str):
            glob_of(glob)
        workspace.granting(read(opens)).check_read(str(asked.get("path", ".")))

    def opened(granted: Sequence[Effect]) -> Callable[..., str]:
        return grep_tool(workspace.granting(read(granted)), seconds=seconds).function

    @tool(safe_to_repeat=True, timeout=seconds + 15, actions=actions)
    def grep(
        pattern: Annotated[str, msgspec.Meta(min_length=1, max_length=PATTERN_CHARS)],
        path: str = ".",
        glob: str | None = None,
        ignore_case: bool = False,
    ) -> str:
        """Search files for lines that match a regular expression. Gives path:line:text, at most 100 lines.

        Binary files, files of more than 10 MB, symbolic links and .git are left out.

        Args:
            pattern: A regular expression as in Python, searched for in each line.
            path: A file or folder, from the workspace's root, or absolute inside of the workspace.
            glob: Search only files that match, such as "*.py" or "src/**/*.{js,ts}", from the path.
            ignore_case: Take upper and lower case as the same.
        """
        only = None if glob is None else glob_of(glob)
        search = _Search()
        try:
            with matching(pattern, ignore_case=ignore_case, seconds=seconds) as matcher:
                search.run(workspace, path, only, matcher)
        except Stopped:
            search.stopped = True
        return search.told(pattern, seconds)

    return attrs.evolve(grep, check=check, opened=opened)


@attrs.define
class _Search:
    """A search as far as it has come."""

    lines: list[str] = attrs.field(factory=list)
    count: int = 0
    large: int = 0
    unreadable: int = 0
    stopped: bool = False
    _pieces: list[tuple[str, int, bytes]] = attrs.field(factory=list)
    _size: int = 0

    def run(self, workspace: Workspace, path: str, only: Glob | None, matcher: Matcher) -> None:
        with closing(workspace.walk(path, only=only)) as entries:
            for entry in entries:
                if matcher.expired:
                    raise Stopped
                if entry.kind == "unreadable":
                    self.unreadable += 1
                elif entry.kind == "file" and entry.matches:
                    self._file(entry, matcher)
        self._flush(matcher)

    def _file(self, entry: Entry, matcher: Matcher) -> None:
        try:
            with entry.open() as file:
                if file.status.st_size > FILE_BYTES and not entry.given:
                    self.large += 1
                    return
                for first, data in _pieces(file.file):
                    self._add(file.shown, first, data, matcher)
        except OSError:
            self.unreadable += 1

    def _add(self, shown: str, first: int, data: bytes, matcher: Matcher) -> None:
        self._pieces.append((shown, first, data))
        self._size += len(data)
        if self._size >= _BATCH_BYTES or len(self._pieces) >= _BATCH_PIECES:
            self._flush(matcher)

    def _flush(self, matcher: Matcher) -> None:
        if self._pieces:
            pieces = [(first, data) for _, first, data in self._pieces]
            answer = matcher.search(pieces, room=MATCHES - len(self.lines))
            self.count += answer.count
            self.lines += [f"{self._pieces[one.piece][0]}:{one.line}:{printable(one.text)}" for one in answer.found]
            self._pieces, self._size = [], 0

    def told(self, pattern: str, seconds: float) -> str:
        """The result, for the model. Raises `ToolError` where the time was over before anything was found."""
        if self.stopped and not self.lines:
            text = (
                f"Nothing was found within {seconds:g} seconds, and the search was stopped. Search a smaller folder, "
                "or use a simpler pattern: one with a repetition inside of a repetition may never end."
            )
            raise ToolError(text, reason="timeout")
        notes: list[str] = []
        if self.count > len(self.lines):
            notes.append(f"the first {len(self.lines)} of {self.count:,} matches; narrow the pattern, path or glob")
        if self.stopped:
            notes.append(f"stopped after {seconds:g} seconds, there may be more")
        if self.large:
            notes.append(f"{self.large:,} files of more than 10 MB left out; give the path of one to search it")
        if self.unreadable:
            notes.append(f"{self.unreadable:,} files or folders could not be read")
        lines = self.lines or [f"No line matches {printable(pattern)!r}."]
        return "\n".join([*lines, f"[{'; '.join(notes)}]"] if notes else lines)


def _pieces(file: int) -> Iterator[tuple[int, bytes]]:
    """The pieces of a text, each with the number of its first line; they end where a line does, if they can."""
    line, rest = 1, b""
    if binary_kind(os.pread(file, SNIFF_BYTES, 0)) is not None:
        return
    while chunk := os.read(file, _PIECE):
        data = rest + chunk
        end = data.rfind(b"\n") + 1 or len(data)
        yield line, data[:end]
        line += data.count(b"\n", 0, end)
        rest = data[end:]
    if rest:
        yield line, rest
