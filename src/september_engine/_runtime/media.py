"""Media: on its way into the log, where a reference stands for the content, and out again into a request."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

import anyio
import attrs

from .._context.check import media_problems
from .._context.media import Unusable, type_of
from .._context.stored import is_media, put_back, take_out, wanted
from .._turn.limits import is_blocks
from .._turn.request import is_file
from ..errors import InvalidRequest, MessageNotFound, StoreCorrupt
from ..messages import JSON, Block, Content, Media, Prompt
from ..store.base import Store
from .isolation import in_thread

__all__ = ["Attachments", "Prepare", "Read", "Taken"]

T = TypeVar("T")

Read: TypeAlias = Callable[[bytes | os.PathLike[str]], Block]
"""The block for a content, or for the file at a path. Raises `Unusable`."""

Prepare: TypeAlias = Callable[[Block], Block]
"""The block as it is stored and sent. Raises `Unusable`."""


@attrs.frozen
class Taken:
    """Blocks as they are logged, and the contents they refer to by their SHA-256; `texts` are these in base64."""

    blocks: list[Block]
    contents: dict[str, bytes]
    texts: dict[str, str]

    @classmethod
    def out_of(cls, content: Sequence[Block]) -> Taken:
        blocks, contents = take_out(content)
        return cls(blocks, contents, {sha256: base64.b64encode(data).decode() for sha256, data in contents.items()})


class Attachments:
    """The media of one engine. What was sent last is kept in memory: every step of a turn sends it again."""

    MOST_CHARS = 32 * 2**20
    """Of base64: as much as one request may hold."""

    THREADS = 8
    """How many messages are read at once: a disk that does not answer must not hold up the others."""

    def __init__(self, store: Store, *, read: Read, prepare: Prepare | None = None, shrinks: bool = False) -> None:
        self._store = store
        self._read = read
        self._threads = anyio.CapacityLimiter(self.THREADS)
        self._recent: dict[tuple[str, str], str] = {}
        self._size = 0
        self.prepare = prepare
        self.shrinks = shrinks

    async def take(self, task_id: str, media: Sequence[Media], name: str) -> Taken:
        """Read files, prepare, check, and take the contents out. Raises `InvalidRequest` with the block's index.

        `media` has passed `check_media`. Cancelling stops the wait.
        """
        if not media:
            return Taken([], {}, {})
        return self._noted(task_id, await self._apart(partial(_taken, media, name, self._read, self.prepare)))

    async def kept(self, task_id: str, output: JSON) -> tuple[JSON, dict[str, bytes]]:
        """A tool's output as it is logged, and the contents that it refers to. It was checked where it was encoded."""
        if not is_blocks(output) or not any(map(is_media, output)):
            return output, {}
        taken = self._noted(task_id, await self._apart(partial(Taken.out_of, output)))
        return taken.blocks, taken.contents

    def _noted(self, task_id: str, taken: Taken) -> Taken:
        """At hand for the request that will ask for them."""
        for sha256, text in taken.texts.items():
            self._keep(task_id, sha256, text)
        return taken

    async def restored(self, task_id: str, prompt: Prompt) -> Prompt:
        """The prompt with its contents. Raises what the store raises; what was damaged or lost is left out, and said.

        Cancelling is harmless.
        """
        found: dict[str, str] = {}
        for sha256 in (needed := wanted(prompt)):
            text = self._recent.get((task_id, sha256))
            if text is None and (data := await self._stored(task_id, sha256)) is not None:
                text = await self._apart(partial(_in_base64, data))
            if text is not None:
                found[sha256] = text
                self._keep(task_id, sha256, text)
        return put_back(prompt, found) if needed else prompt

    async def _stored(self, task_id: str, sha256: str) -> bytes | None:
        try:
            return await self._store.blob(task_id, sha256)
        except StoreCorrupt:  # a picture that cannot be read must not end the thread
            return None

    def _keep(self, task_id: str, sha256: str, text: str) -> None:
        """What was used longest ago goes first."""
        self._size -= len(self._recent.pop((task_id, sha256), ""))
        self._recent[task_id, sha256] = text
        self._size += len(text)
        while self._size > self.MOST_CHARS:
            self._size -= len(self._recent.pop(next(iter(self._recent))))

    def peek(self, task_id: str, sha256: str) -> str | None:
        """The content in base64 where it is in memory."""
        return self._recent.get((task_id, sha256))

    def drop(self, task_id: str) -> None:
        """Keep nothing of this task."""
        for key in [key for key in self._recent if key[0] == task_id]:
            self._size -= len(self._recent.pop(key))

    async def content(self, task_id: str, sha256: str) -> Content:
        """One content of a task that exists. Raises `MessageNotFound`, and what the store raises."""
        data = await self._store.blob(task_id, sha256)
        if data is None:
            raise MessageNotFound(f"No message of this task has an attachment {sha256!r}.")
        try:
            media_type = type_of(data)
        except Unusable:  # what a tool gave beyond the limits is stored, too, and is none of these
            media_type = "application/octet-stream"
        return Content(media_type=media_type, data=data)

    async def _apart(self, call: Callable[[], T]) -> T:
        return await in_thread(call, limiter=self._threads, name="september-engine-media")


def _taken(media: Sequence[Media], name: str, read: Read, prepare: Prepare | None) -> Taken:
    blocks: list[Block] = []
    for index, one in enumerate(media):
        try:
            block = one if isinstance(one, dict) else read(one)
            blocks.append(block if prepare is None else prepare(block))
        except Unusable as error:
            raise _refusal(name, index, one, str(error)) from None
    for index, problem in media_problems(blocks):
        raise _refusal(name, index, media[index], problem)
    return Taken.out_of(blocks)


def _refusal(name: str, index: int, one: Media, problem: str) -> InvalidRequest:
    """By its place and, where it is a file and the fault its own, by its name."""
    if is_file(one) and not problem.startswith(("there ", "with ")):
        subject = "the content" if isinstance(one, bytes) else str(one)
        problem = f"{subject} {problem.removeprefix('source.data ')}"
    return InvalidRequest(f"{name}[{index}]: {problem}", index=index)


def _in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
