"""The tool `edit_file`: one exact text for another, and not a byte beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import unified_diff

import attrs

from ..messages import JSON
from ..permissions import Action, Effect
from ._text import named, printable
from ._wants import writes, written
from .output import ToolError
from .tool import Tool, tool
from .workspace import Workspace
from .write_file import encoded

__all__ = ["edit_file_tool"]

MOST_BYTES = 10_000_000
DIFF_LINES = 60
"""A longer diff is cut."""

DIFFED_LINES = 400
"""Where more lines than this lie between the first and the last change, there is no diff."""

CONTEXT = 3
PLACES = 5


def edit_file_tool(workspace: Workspace) -> Tool[..., str]:
    """The tool over this workspace."""

    def actions(input: Mapping[str, JSON]) -> tuple[Action, ...]:
        return writes(workspace, input.get("path"))

    def check(input: Mapping[str, JSON], opens: Sequence[Effect]) -> None:
        asked = edit_file.decode(input)
        path, old, new = str(asked["path"]), str(asked["old_text"]), str(asked["new_text"])
        _edited(workspace.granting(written(opens)), path, old, new, asked.get("replace_all") is True, dry=True)

    def opened(granted: Sequence[Effect]) -> Callable[..., str]:
        return edit_file_tool(workspace.granting(written(granted))).function

    @tool(actions=actions)
    def edit_file(path: str, old_text: str, new_text: str, replace_all: bool = False) -> str:
        """Replace a text in a file. All else in it stays as it is, byte for byte.

        Args:
            path: From the workspace's root, or absolute. Outside of the workspace, a person is asked first.
            old_text: What is there now, exactly, with enough around it to occur only once. In a file whose lines end in
                CRLF, a line break here means that.
            new_text: What shall be there instead.
            replace_all: Replace it everywhere it occurs.
        """
        return _edited(workspace, path, old_text, new_text, replace_all)

    return attrs.evolve(edit_file, check=check, opened=opened)


def _edited(
    workspace: Workspace, path: str, old_text: str, new_text: str, replace_all: bool, *, dry: bool = False
) -> str:
    """Edit the file, or with `dry` only find out whether it could be done. Raises `ToolError`."""
    old, new = encoded(old_text).decode(), encoded(new_text).decode()
    if not old:
        text = "old_text is empty. Give the text to be replaced; write_file makes a new file."
        raise ToolError(text, reason="no_match")
    if old == new:
        raise ToolError("old_text and new_text are the same; there is nothing to change.", reason="no_change")
    shown, diff = named(path), ""

    def change(data: bytes) -> bytes:
        nonlocal diff
        before = _decoded(data, shown)
        after = replaced(before, old, new, shown=shown, everywhere=replace_all)
        diff = "" if dry else short_diff(before, after)
        return after.encode()

    workspace.edit(path, change, most=MOST_BYTES, dry=dry)
    return f"Changed {shown}:\n{diff}"


def _decoded(data: bytes, shown: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        text = f"{shown} is not UTF-8 text (byte {error.start:,}); editing it would damage it, so it was left as it is."
        raise ToolError(text, reason="not_text") from error


def replaced(text: str, old: str, new: str, *, shown: str, everywhere: bool) -> str:
    """The text with the one place replaced, or with all of them. Raises `ToolError` where that is not clear."""
    old, new = _breaks_as_in(text, old, new)
    first = text.find(old)
    if first < 0:
        raise ToolError(_no_match(text, old, shown), reason="no_match")
    if everywhere:
        return text.replace(old, new)
    if text.find(old, first + 1) >= 0:
        raise ToolError(_many_matches(text, old, shown), reason="many_matches")
    return text[:first] + new + text[first + len(old) :]


def _breaks_as_in(text: str, old: str, new: str) -> tuple[str, str]:
    """Old and new with the line breaks of the text: CRLF where it has only those, or where nothing else is found."""
    breaks = text.count("\r\n")
    only = breaks > 0 and breaks == text.count("\n")
    if only or (breaks and old not in text):
        return _with_crlf(old), _with_crlf(new)
    return old, new


def _with_crlf(text: str) -> str:
    return re.sub(r"\r?\n", "\r\n", text)


def _many_matches(text: str, old: str, shown: str) -> str:
    lines: list[str] = []
    at = text.find(old)
    while at >= 0 and len(lines) < PLACES:
        lines.append(f"{_line(text, at):,}")
        at = text.find(old, at + 1)
    more = ", …" if at >= 0 else ""
    return (
        f"old_text occurs {max(text.count(old), 2):,} times in {shown}, on lines {', '.join(lines)}{more}. Give more "
        "of the text around the place that is meant, or replace_all=true for all of them."
    )


def _no_match(text: str, old: str, shown: str) -> str:
    """With the lines that differ from the first one of `old` only in their white space."""
    first = next((line.strip() for line in old.splitlines() if line.strip()), None)
    said = f"old_text does not occur in {shown}; it must be there exactly, with its white space."
    if first is not None:
        like = [str(number) for number, line in enumerate(text.split("\n"), 1) if line.strip() == first]
        if like:
            return f"{said} Its first line is like line {', '.join(like[:PLACES])}: read there again."
    return f"{said} Read the file again."


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def short_diff(before: str, after: str) -> str:
    """A unified diff without file names; of a large change only the beginning, or a line that says how large it is."""
    same = _common(before, after)
    end = len(before) - _common(before[same:][::-1], after[same:][::-1])
    start, stop = _lines_around(before, same, end)
    old, new = before[start:stop], after[start : len(after) - len(before) + stop]
    if old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]
    first = _line(before, start)
    if old.count("\n") + new.count("\n") > DIFFED_LINES:
        return f"lines {_line(before, same):,} to {_line(before, end):,}, too many to show"
    lines = list(unified_diff(old.split("\n"), new.split("\n"), n=CONTEXT, lineterm=""))[2:]
    more = f"\n[… {len(lines) - DIFF_LINES} lines more …]" if len(lines) > DIFF_LINES else ""
    return "\n".join(_diff_line(line, first - 1) for line in lines[:DIFF_LINES]) + more


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _lines_around(text: str, start: int, stop: int) -> tuple[int, int]:
    """The same part of the text with the rest of its lines, and `CONTEXT` lines on either side."""
    for _ in range(CONTEXT + 1):
        start = text.rfind("\n", 0, max(start, 0))
    for _ in range(CONTEXT + 1):
        stop = text.find("\n", stop) + 1 or len(text)
    return start + 1, stop


def _diff_line(line: str, start: int) -> str:
    if line.startswith("@@"):
        return re.sub(r"([-+])(\d+)", lambda match: f"{match[1]}{int(match[2]) + start}", line)
    return printable(line.removesuffix("\r"))[:500]
