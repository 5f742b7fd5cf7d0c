"""Finding a name beneath a root folder, whatever is renamed and linked meanwhile.

1. Every step is taken from a folder that is held open, and none through a link: a link is read, and its target is
   walked the same way.
2. `..` goes back to a folder that is still held. Above a root none is: a link that leads out may lead straight into a
   root, which is opened anew, and nowhere else.
3. What was found is told by its real names, so that a rule about names cannot be passed under another one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from posixpath import dirname, join
from typing import TypeAlias

import attrs

__all__ = ["LINKS", "Names", "Outside", "Place", "Spot", "spot_at", "way"]

Names: TypeAlias = tuple[str, ...]
"""The way from the root to a file or folder; () is the root."""

LINKS = 40
"""Most symbolic links on one way, as in Linux."""

# Windows has neither; the workspace says so in words
FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Outside(Exception):
    """The way leads out of all roots, by a link."""


@attrs.frozen
class Place:
    """A file or folder, there or not, by its way from a root.

    Attributes:
        root: An absolute path without links. Itself it is trusted.
        names: Without "", "." and "..".
    """

    root: str
    names: Names

    def below(self, name: str) -> Place:
        """What has this name in the folder."""
        return Place(self.root, (*self.names, name))


def way(root: str, path: str) -> Names | None:
    """The names from the root to an absolute path, as it is written; None where that is not below."""
    if path != root and not path.startswith(f"{root.rstrip('/')}/"):
        return None
    return tuple(name for name in path[len(root) :].split("/") if name not in ("", "."))


@attrs.frozen
class Spot:
    """A name in a folder that is held open. When it was looked at it was no link, or not there.

    Whoever opens it uses `O_NOFOLLOW`, and so gets what is called this or an error.

    Attributes:
        folder: The open folder.
        name: What it is called there; "." for the folder itself.
        place: Where it really is.
    """

    folder: int
    name: str
    place: Place


@contextmanager
def spot_at(
    place: Place, *, others: Sequence[str] = (), links: int = LINKS, make: Callable[[Place], None] | None = None
) -> Iterator[Spot]:
    """The spot that the way to this place leads to.

    Args:
        place: Where to begin, and the names to go by.
        others: Further roots, which a link may lead to. None is below another one.
        links: How many links may be followed on the way.
        make: Called before a missing folder is made, and may raise. Without it none is made.

    Raises `Outside` and `OSError`.
    """
    held = [os.open(place.root, FOLDER)]
    try:
        yield _at_once(held, place) or _Walk(place.root, (place.root, *others), held, links, make).to(place.names)
    finally:
        for folder in held:
            os.close(folder)


def _at_once(held: list[int], place: Place) -> Spot | None:
    """The spot, where the kernel finds it in one step and without a link; the rest is walked, errors too."""
    if not place.names:
        return Spot(held[-1], ".", place)
    if openat2 is None:
        return None
    *folders, name = place.names
    if folders:
        folder = openat2(held[0], "/".join(folders))
        if folder is None:
            return None
        held.append(folder)
    return Spot(held[-1], name, place) if _target(held[-1], name) is None else None


@attrs.define
class _Walk:
    root: str
    roots: Sequence[str]
    held: list[int]
    links: int
    make: Callable[[Place], None] | None
    real: list[str] = attrs.field(factory=list)

    def to(self, names: Sequence[str]) -> Spot:
        self._begin()
        ahead = list(reversed(names))
        while ahead:
            name = ahead.pop()
            if name == "..":
                if self.real:
                    self._up()
                else:
                    ahead = self._into_a_root(dirname(self.root), ahead)
            elif (target := _target(self.held[-1], name)) is not None:
                self.links -= 1
                if self.links < 0:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                ahead += reversed([step for step in target.split("/") if step not in ("", ".")])
                if target.startswith("/"):
                    ahead = self._into_a_root("/", ahead)
            elif ahead:
                self._enter(name)
            else:
                return Spot(self.held[-1], name, Place(self.root, (*self.real, name)))
        return Spot(self.held[-1], ".", Place(self.root, tuple(self.real)))

    def _into_a_root(self, folder: str, ahead: list[str]) -> list[str]:
        """From a folder above a root to what is ahead there, last name first. Raises `Outside`."""
        while ahead and ahead[-1] == "..":
            ahead.pop()
            folder = dirname(folder)
        path = join(folder, *reversed(ahead))
        for root in self.roots:
            if (names := way(root, path)) is not None:
                self._begin(root)
                return list(reversed(names))
        raise Outside

    def _begin(self, root: str | None = None) -> None:
        self.real.clear()
        while len(self.held) > 1:
            os.close(self.held.pop())
        if root is not None and root != self.root:
            self.held.append(os.open(root, FOLDER))
            os.close(self.held.pop(0))
            self.root = root

    def _up(self) -> None:
        self.real.pop()
        os.close(self.held.pop())

    def _enter(self, name: str) -> None:
        folder = self.held[-1]
        try:
            entered = os.open(name, FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if self.make is None:
                raise
            self.make(Place(self.root, (*self.real, name)))
            with suppress(FileExistsError):
                os.mkdir(name, dir_fd=folder)
                os.fsync(folder)
            entered = os.open(name, FOLDER, dir_fd=folder)
        self.held.append(entered)
        self.real.append(name)


def _target(folder: int, name: str) -> str | None:
    """Where the link of this name points, or None where there is no link."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


# ── openat2(2), which Python does not have ───────────────────────────────────────────────────────────────────────


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_NUMBER = 437  # the same on every architecture but one, which nobody runs this on
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08


def _openat2() -> Callable[[int, str], int | None] | None:
    """A function that opens a folder beneath another one, or gives None; None where this kernel has no such call."""
    if sys.platform != "linux" or os.uname().machine not in ("x86_64", "aarch64"):
        return None
    syscall = ctypes.CDLL(None).syscall
    syscall.restype = ctypes.c_long
    how = _How(flags=FOLDER, mode=0, resolve=_BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    size = ctypes.sizeof(how)

    def open_folder(beneath: int, path: str) -> int | None:
        opened = syscall(
            ctypes.c_long(_NUMBER),
            ctypes.c_long(beneath),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(size),
        )
        return int(opened) if opened >= 0 else None

    here = os.open("/", FOLDER)
    try:
        # an old kernel does not know it, and some containers refuse it
        opened = open_folder(here, ".")
    finally:
        os.close(here)
    if opened is None:
        return None
    os.close(opened)
    return open_folder


openat2 = _openat2()
