"""Placeholders: what keeps a name taken while a command runs that must not make it.

A mount needs something to be mounted on. A placeholder is an empty file or folder that can be told by its odd
permissions, so one that a crash left behind is known, used and removed by the next command. Whoever uses it holds a
shared lock; the last one out removes it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["is_placeholder", "placeholders"]

FILE_MODE, FOLDER_MODE = 0o1400, 0o1500
"""Sticky, which means nothing here and is never so by chance; and the same under every usual umask."""

CONTENT = {"commondir": b".\n"}
"""By name: where an empty file is an error to those who read it, one that says what its absence says (for git)."""


def is_placeholder(status: os.stat_result) -> bool:
    """Whether this looks like one of ours."""
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return mode == FOLDER_MODE
    return stat.S_ISREG(status.st_mode) and mode == FILE_MODE and status.st_size <= 2


@contextmanager
def placeholders(wanted: Iterable[tuple[str, bool]]) -> Iterator[None]:
    """Have something at each of these missing paths for as long as this lasts; the flag says whether a folder.

    Raises `OSError`. A path at which something real has appeared meanwhile is left alone.
    """
    with ExitStack() as stack:
        for path, folder in wanted:
            stack.enter_context(_placeholder(path, folder))
        yield


@contextmanager
def _placeholder(path: str, folder: bool) -> Iterator[None]:
    file = _take(path, folder)
    try:
        yield
    finally:
        if file is not None:
            _give_back(path, file)


def _take(path: str, folder: bool) -> int | None:
    while True:
        _make(path, folder)
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        if not is_placeholder(os.fstat(file)):
            os.close(file)
            return None
        fcntl.flock(file, fcntl.LOCK_SH)
        if _is_still(path, file):
            return file
        os.close(file)


def _make(path: str, folder: bool) -> None:
    try:
        if folder:
            os.mkdir(path, FOLDER_MODE)
        else:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
            try:
                os.write(file, CONTENT.get(os.path.basename(path), b""))
            finally:
                os.close(file)
    except FileExistsError:
        return


def _is_still(path: str, file: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _give_back(path: str, file: int) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_still(path, file) and is_placeholder(os.fstat(file)):
            os.rmdir(path) if stat.S_ISDIR(os.fstat(file).st_mode) else os.unlink(path)
    except OSError:  # somebody else needs it still, or has put something into it
        return
    finally:
        os.close(file)
