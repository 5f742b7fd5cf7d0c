"""The tool `read_file`: text by pages of lines, pictures and PDFs as they are, all else refused with its kind."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated

import attrs
import msgspec

from .._context.media import DOCUMENT_CHARS, IMAGE_TYPES, media_problem
from ..messages import JSON, Block
from ..permissions import Action, Effect
from ._text import SNIFF_BYTES, binary_kind, decoded
from ._wants import read, reads
from .output import ToolError
from .tool import Tool, tool
from .workspace import OpenFile, Workspace

__all__ = ["read_file_tool"]

PAGE_BYTES = 50_000
PAGE_LINES = 2_000
LINE_BYTES = 5_000
"""What a page shows at most, and of one line."""

MEDIA_BYTES = DOCUMENT_CHARS // 4 * 3
"""A larger picture or PDF is refused. Of pictures the engine takes less, unless it makes them smaller; it says so."""

_CHUNK = 256 * 1024
_BOM = b"\xef\xbb\xbf"


def read_file_tool(workspace: Workspace) -> Tool[..., str | list[Block]]:
    """The tool over this workspace."""

    def actions(input: Mapping[str, JSON]) -> tuple[Action, ...]:
        return reads(workspace, input.get("path"))

    def check(input: Mapping[str, JSON], opens: Sequence[Effect]) -> None:
        asked = read_file.decode(input)
        workspace.granting(read(opens)).check_read(str(asked["path"]))

    def opened(granted: Sequence[Effect]) -> Callable[..., str | list[Block]]:
        return read_file_tool(workspace.granting(read(granted))).function

    @tool(safe_to_repeat=True, actions=actions)
    def read_file(
        path: str,
        offset: Annotated[int, msgspec.Meta(ge=1)] = 1,
        limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_LINES)] = PAGE_LINES,
    ) -> str | list[Block]:
        """Read a text file, or look at a picture or PDF.

        Text comes in pages of at most 50,000 bytes; a note in brackets at the end says what is left and how to go on.
        A line of more than 5,000 bytes is cut. Line breaks are shown as LF; other control characters as symbols.

        Args:
            path: From the workspace's root, or absolute inside of the workspace.
            offset: The first line to show, from 1.
            limit: Most lines to show.
        """
        with workspace.reading(path) as file:
            head = os.pread(file.file, SNIFF_BYTES, 0)
            if (media := _media_type(head)) is not None:
                return _as_media(file, media)
            if (kind := binary_kind(head)) is not None:
                text = f"{file.shown} is not text but {kind}, {file.status.st_size:,} bytes."
                raise ToolError(text, reason="not_text")
            return _page(file, offset, limit)

    return attrs.evolve(read_file, check=check, opened=opened)


def _media_type(head: bytes) -> str | None:
    if head.startswith(b"%PDF-"):
        return "application/pdf"
    for media_type, magic in IMAGE_TYPES.items():
        if b"\0" in head and head.startswith(magic) and (media_type != "image/webp" or head[8:12] == b"WEBP"):
            return media_type
    return None


def _as_media(file: OpenFile, media_type: str) -> list[Block]:
    size = file.status.st_size
    if size > MEDIA_BYTES:
        text = f"{file.shown} is {media_type}, {size:,} bytes; at most {MEDIA_BYTES:,} can be looked at."
        raise ToolError(text, reason="too_large")
    data = base64.b64encode(os.pread(file.file, size, 0)).decode()
    block: Block = {
        "type": "document" if media_type == "application/pdf" else "image",
        "source": {"type": "base64", "media_type": media_type, "data": data},
    }
    if (problem := media_problem(block, shrinks=True)) is not None:
        raise ToolError(f"{file.shown} is {media_type} that cannot be looked at: {problem}.", reason="not_text")
    return [{"type": "text", "text": f"{file.shown}: {media_type}, {size:,} bytes"}, block]


@attrs.define
class _Line:
    """One line. `head` is what is kept of it, `size` what it has with its line break."""

    head: bytes
    size: int
    ended: bool


def _lines(file: int, size: int) -> Iterator[_Line]:
    """The lines of the first `size` bytes; of each at most `LINE_BYTES` and a bit in memory."""
    line = _Line(b"", 0, False)
    at = 0
    while at < size and (chunk := os.pread(file, min(_CHUNK, size - at), at)):
        at += len(chunk)
        start = 0
        while start < len(chunk):
            end = chunk.find(b"\n", start) + 1
            stop = end or len(chunk)
            if len(line.head) <= LINE_BYTES + 1:  # with room for a CR
                line.head += chunk[start : min(stop, start + LINE_BYTES + 2)]
            line.size += stop - start
            start = stop
            if end:
                line.ended = True
                yield line
                line = _Line(b"", 0, False)
    if line.size:
        yield line


def _page(file: OpenFile, offset: int, limit: int) -> str:
    size = file.status.st_size
    shown: list[str] = []
    room, at, number, crlf, bad = PAGE_BYTES, 0, 0, False, False
    for number, line in enumerate(_lines(file.file, size), 1):
        if number >= offset:
            text = _shown(line, first=number == 1)
            needs = len(text.encode()) + 1
            if shown and needs > room:
                break
            room -= needs
            shown.append(text)
            crlf = crlf or line.head.endswith(b"\r\n")
            bad = bad or "\ufffd" in text
        at += line.size
        if len(shown) == limit:
            break
    if number < offset and not (offset == 1 and size == 0):
        text = f"{file.shown} has {number:,} lines; there is no line {offset:,}."
        raise ToolError(text, reason="out_of_range")
    return _with_note(shown, file, offset=offset, left=size - at, crlf=crlf, bad=bad)


def _shown(line: _Line, *, first: bool) -> str:
    body = (
        line.head.removesuffix(b"\n").removesuffix(b"\r") if line.ended and len(line.head) == line.size else line.head
    )
    if first:
        body = body.removeprefix(_BOM)
    if len(body) <= LINE_BYTES:
        return decoded(body)
    text = decoded(body[:LINE_BYTES]).rstrip("\ufffd")  # the cut may go through a character
    return f"{text}[… line cut, {line.size - LINE_BYTES:,} bytes more …]"


def _with_note(shown: list[str], file: OpenFile, *, offset: int, left: int, crlf: bool, bad: bool) -> str:
    last = offset + len(shown) - 1
    notes: list[str] = []
    if not shown:
        notes.append("the file is empty")
    elif left > 0:
        notes.append(f"lines {offset:,} to {last:,}; {left:,} bytes are left: go on with offset={last + 1}")
    elif offset > 1:
        notes.append(f"lines {offset:,} to {last:,}, the end")
    if crlf:
        notes.append("lines end in CRLF")
    if bad:
        notes.append("\ufffd stands for what is not UTF-8 or cannot be shown")
    return "\n".join([*shown, f"[{'; '.join(notes)}]"] if notes else shown)
