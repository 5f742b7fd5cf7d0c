"""Finding a name beneath a folder, whatever is renamed and linked meanwhile.

1. Every step is taken from a folder that is held open, and none through a link: a link is read, and its target is
   walked the same way.
2. `..` goes back to a folder that is still held. Above the root there is none.
3. What was found is told by its real names, so that a rule about names cannot be passed under another one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

import attrs

__all__ = ["LINKS", "Names", "Outside", "Spot", "spot_at"]

Names: TypeAlias = tuple[str, ...]
"""The way from the root to a file or folder; () is the root."""

LINKS = 40
"""Most symbolic links on one way, as in Linux."""

# Windows has neither; the workspace says so in words
FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Outside(Exception):
    """The way leads out of the root, by a link."""


@attrs.frozen
class Spot:
    """A name in a folder that is held open. When it was looked at it was no link, or not there.

    Whoever opens it uses `O_NOFOLLOW`, and so gets what is called this or an error.

    Attributes:
        folder: The open folder.
        name: What it is called there; "." for the folder itself.
        names: The real way to it from the root.
    """

    folder: int
    name: str
    names: Names


@contextmanager
def spot_at(
    root: str, names: Sequence[str], *, links: int = LINKS, make: Callable[[Names], None] | None = None
) -> Iterator[Spot]:
    """The spot that these names lead to.

    Args:
        root: An absolute path without links; itself it is trusted.
        names: Without "", "." and "..".
        links: How many links may be followed on the way.
        make: Called before a missing folder is made, with its names, and may raise. Without it none is made.

    Raises `Outside` and `OSError`.
    """
    held = [os.open(root, FOLDER)]
    try:
        yield _at_once(held, names) or _Walk(root, held, links, make).to(names)
    finally:
        for folder in held:
            os.close(folder)


def _at_once(held: list[int], names: Sequence[str]) -> Spot | None:
    """The spot, where the kernel finds it in one step and without a link; the rest is walked, errors too."""
    if not names:
        return Spot(held[-1], ".", ())
    if openat2 is None:
        return None
    *folders, name = names
    if folders:
        folder = openat2(held[0], "/".join(folders))
        if folder is None:
            return None
        held.append(folder)
    return Spot(held[-1], name, tuple(names)) if _target(held[-1], name) is None else None


@attrs.define
class _Walk:
    root: str
    held: list[int]
    links: int
    make: Callable[[Names], None] | None
    real: list[str] = attrs.field(factory=list)

    def to(self, names: Sequence[str]) -> Spot:
        self._back_to_root()
        ahead = list(reversed(names))
        while ahead:
            name = ahead.pop()
            if name == "..":
                self._up()
            elif (target := _target(self.held[-1], name)) is not None:
                self.links -= 1
                if self.links < 0:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                ahead += reversed(self._steps(target))
            elif ahead:
                self._enter(name)
            else:
                return Spot(self.held[-1], name, (*self.real, name))
        return Spot(self.held[-1], ".", tuple(self.real))

    def _up(self) -> None:
        if not self.real:
            raise Outside
        self.real.pop()
        os.close(self.held.pop())

    def _steps(self, target: str) -> list[str]:
        if target.startswith("/"):
            if not f"{target}/".startswith(f"{self.root.rstrip('/')}/"):
                raise Outside
            target = target[len(self.root) :]
            self._back_to_root()
        return [step for step in target.split("/") if step not in ("", ".")]

    def _back_to_root(self) -> None:
        self.real.clear()
        while len(self.held) > 1:
            os.close(self.held.pop())

    def _enter(self, name: str) -> None:
        folder = self.held[-1]
        try:
            entered = os.open(name, FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if self.make is None:
                raise
            self.make((*self.real, name))
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
