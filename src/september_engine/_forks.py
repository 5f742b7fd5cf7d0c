"""Forks: a child process keeps nothing of what its parent has open.

A fork copies every descriptor, whoever asked for it: a tool with a process pool, `multiprocessing`, `os.fork`. What a
child keeps open outlives the engine: ports stay taken, connections never end, locks stay held. So what must not be
inherited is registered here, weakly, and given up in the child before any other code runs there.

Descriptors are replaced by the null device, not closed: objects in the child still hold their numbers, and would
otherwise read, write or close what gets these numbers next.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

__all__ = ["LoopFiles", "Parental", "at_fork", "blank", "not_at_fork", "open_files"]


class Parental(Protocol):
    """What belongs to the process that made it."""

    def give_up(self) -> None:
        """Called in a child of a fork: drop what was inherited, without a word to anybody outside of this process."""
        ...


_registered: WeakSet[Parental] = WeakSet()
_hooked: list[bool] = []


def at_fork(owner: Parental) -> None:
    """Have `owner.give_up` called in every child of a fork from now on. The owner is held weakly."""
    if not _hooked:  # Python has no way to take a hook back, so there is one, and only once it is needed
        _hooked.append(True)
        os.register_at_fork(after_in_child=_in_child)
    _registered.add(owner)


def not_at_fork(owner: Parental) -> None:
    """Take it back. Harmless when repeated."""
    _registered.discard(owner)


def _in_child() -> None:
    for owner in list(_registered):
        _registered.discard(owner)
        owner.give_up()


def blank(files: Iterable[int]) -> None:
    """Make the null device of these descriptors; those that are not open are passed over."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for file in files:
            with suppress(OSError):
                os.fstat(file)
                os.dup2(null, file, inheritable=False)
    finally:
        os.close(null)


def open_files() -> Iterator[tuple[int, tuple[int, int]]]:
    """The descriptors of this process, each with the device and inode of its file; none where nobody can tell."""
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):  # that of the listing itself is closed by now
                status = os.fstat(int(name))
                yield int(name), (status.st_dev, status.st_ino)


class LoopFiles:
    """Every descriptor of an event loop that is ours alone: listeners, connections, and the loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def give_up(self) -> None:
        # asyncio has no public list of them; other loops than its own are left as they are
        selector = getattr(self._loop, "_selector", None)
        files = {*getattr(self._loop, "_transports", ())}
        waking = getattr(self._loop, "_csock", None)  # a signal in the child would wake the parent
        if waking is not None:
            files.add(waking.fileno())
        if selector is not None:
            files |= {*(selector.get_map() or ())}
            if hasattr(selector, "fileno"):
                files.add(selector.fileno())
        blank(files)
