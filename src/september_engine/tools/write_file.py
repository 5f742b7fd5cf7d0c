"""The tool `write_file`: a whole file at once, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from ..messages import JSON
from ..permissions import Action, Effect
from ._text import named
from ._wants import writes, written
from .output import ToolError
from .tool import Tool, tool
from .workspace import Workspace

__all__ = ["write_file_tool"]

MOST_BYTES = 10_000_000


def write_file_tool(workspace: Workspace) -> Tool[..., str]:
    """The tool over this workspace."""

    def actions(input: Mapping[str, JSON]) -> tuple[Action, ...]:
        return writes(workspace, input.get("path"))

    def check(input: Mapping[str, JSON], opens: Sequence[Effect]) -> None:
        asked = write_file.decode(input)
        path = str(asked["path"])
        _checked(path, str(asked["content"]))
        workspace.granting(written(opens)).check_write(path, replace=asked.get("overwrite") is True)

    def opened(granted: Sequence[Effect]) -> Callable[..., str]:
        return write_file_tool(workspace.granting(written(granted))).function

    @tool(actions=actions)
    def write_file(path: str, content: str, overwrite: bool = False) -> str:
        """Make a new text file, with the folders it is in. To change a part of a file, use edit_file.

        Args:
            path: From the workspace's root, or absolute. Outside of the workspace, a person is asked first.
            content: All of the file, exactly.
            overwrite: Replace a file that exists; without this, one that exists is left alone.
        """
        data = _checked(path, content)
        before = workspace.write(path, data, replace=overwrite)
        what = f"{named(path)}: {len(data):,} bytes, {len(content.splitlines()):,} lines"
        return f"Created {what}." if before is None else f"Replaced {what} (it had {before.st_size:,} bytes)."

    return attrs.evolve(write_file, check=check, opened=opened)


def _checked(path: str, content: str) -> bytes:
    """The content as bytes. Raises `ToolError` for what no file can be made of."""
    if path.endswith(("/", "/.", "/..")):
        raise ToolError(f"{named(path)} is a folder's path. Give the file a name.", reason="is_a_directory")
    data = encoded(content)
    if len(data) > MOST_BYTES:
        text = f"The content has {len(data):,} bytes; at most {MOST_BYTES:,} can be written at once."
        raise ToolError(text, reason="too_large")
    return data


def encoded(content: str) -> bytes:
    """As UTF-8. Raises `ToolError` for half of a surrogate pair, which no file can hold."""
    try:
        return content.encode()
    except UnicodeEncodeError as error:
        text = f"The text has half of a surrogate pair at character {error.start}, which UTF-8 cannot hold."
        raise ToolError(text, reason="not_text") from error
