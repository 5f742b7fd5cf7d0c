"""The folder that file tools work in, and cannot leave.

1. Everything is opened beneath the root through folders that are held open (`_beneath`): no link that is made or
   swapped meanwhile leads out.
2. What may not be seen or written is decided by the real names of what was reached.
3. Only regular files are opened: a pipe or a device is refused before it can block.
"""

from __future__ import annotations

import os
import stat
import threading
import unicodedata
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from posixpath import join, normpath
from typing import Literal, TypeAlias

import attrs

from ..errors import ConfigurationError
from ._beneath import FOLDER, Names, Outside, Spot, spot_at
from ._glob import Glob, Reached
from ._refusals import Irregular, Near, refusal
from ._replace import put
from ._text import named
from .output import ToolError

__all__ = ["Entry", "Kind", "OpenFile", "Workspace"]

Kind: TypeAlias = Literal["file", "folder", "link", "other", "unreadable"]

GIT = ".git"
"""Hooks and settings in there run as programs, with the rights of whoever uses git next."""

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@attrs.frozen
class OpenFile:
    """A regular file that is open for reading, and closed by who opened it.

    Attributes:
        file: Its descriptor.
        shown: Its path from the root, to be shown.
        status: What `fstat` said when it was opened.
    """

    file: int
    shown: str
    status: os.stat_result


@attrs.frozen
class Entry:
    """Something that a walk came by. Usable until the walk goes on.

    Attributes:
        names: Its way from the root.
        kind: "unreadable" is a folder that could not be listed.
        matches: Whether it is among what the walk was asked for.
        given: Whether it is what the walk's path names.
    """

    names: Names
    kind: Kind
    matches: bool
    _folder: int
    given: bool = False

    @property
    def shown(self) -> str:
        """Its path from the root, to be shown."""
        return _shown(self.names)

    def status(self) -> os.stat_result:
        """Its own, not that of what a link points to. Raises `OSError`."""
        return os.stat(self.names[-1], dir_fd=self._folder, follow_symlinks=False)

    @contextmanager
    def open(self) -> Iterator[OpenFile]:
        """The file, open. Raises `OSError`."""
        with _opened(Spot(self._folder, self.names[-1], self.names)) as file:
            yield file


class Workspace:
    """One folder of files.

    `protected` and `hidden` are patterns of paths from the root, as `find_files` takes them, such as ".env*" or
    "data/brain.sqlite*" (`glob.escape` helps with brackets). What is below a folder that matches is meant too, and
    upper and lower case are the same here.

    Args:
        root: An existing folder. Its own path is trusted.
        protected: What is read and not written. `.git` is always among it, wherever it is.
        hidden: What is neither read nor written nor listed.

    Raises `ConfigurationError`.
    """

    def __init__(
        self, root: str | os.PathLike[str], *, protected: tuple[str, ...] = (), hidden: tuple[str, ...] = ()
    ) -> None:
        if os.name != "posix":
            raise ConfigurationError("File tools need a POSIX system (Linux, macOS, WSL).")
        self._given = os.path.abspath(root)
        try:
            self.root = os.path.realpath(root, strict=True)
        except OSError as error:
            raise ConfigurationError(f"The workspace {self._given} cannot be used: {error.strerror}.") from error
        if not os.path.isdir(self.root):
            raise ConfigurationError(f"The workspace {self._given} is not a folder.")
        self._protected = [_pattern(pattern) for pattern in (GIT, *protected)]
        self._hidden = [_pattern(pattern) for pattern in hidden]
        self._changes = threading.Lock()

    def absolute(self, path: str) -> str:
        """The path as the policy judges it: absolute and normalised, wherever it leads. Nothing is looked up."""
        full = "/" + normpath(join(self.root, path)).lstrip("/")
        for root in (self.root, self._given):
            if full == root or full.startswith(f"{root.rstrip('/')}/"):
                return normpath(join(self.root, full[len(root) :].lstrip("/")))
        return full

    @contextmanager
    def reading(self, path: str) -> Iterator[OpenFile]:
        """A regular file, open for reading. Raises `ToolError`, for what fails inside the block as well."""
        names = self._names(path)
        with self._refusing(path, names), self._visible(names) as spot, _opened(spot) as file:
            yield file

    def write(self, path: str, data: bytes, *, replace: bool) -> os.stat_result | None:
        """Make a file, and the folders it is in, or replace one. Whoever reads it sees the old or the new, whole.

        Returns the old one's status, None for a new file. Raises `ToolError`.
        """
        names = self._names(path)
        with self._refusing(path, names), self._changes, self._writable(names, make=True) as spot:
            before = _status(spot)
            if before is not None and not replace:
                raise FileExistsError
            put(spot, data, before=before)
        return before

    def edit(self, path: str, change: Callable[[bytes], bytes], *, most: int) -> None:
        """Replace a file by what `change` makes of its bytes, at most so many. Raises `ToolError`.

        One change at a time: of two edits of one file, the second sees the first.
        """
        names = self._names(path)
        with self._refusing(path, names), self._changes, self._writable(names) as spot:
            with _opened(spot) as file:
                if file.status.st_size > most:
                    text = f"{file.shown} has {file.status.st_size:,} bytes; at most {most:,} can be edited."
                    raise ToolError(text, reason="too_large")
                with open(file.file, "rb", closefd=False) as source:
                    data = source.read(most)
            put(spot, change(data), before=file.status)

    def walk(self, path: str, *, only: Glob | None = None) -> Generator[Entry, None, None]:
        """What is visible at and below a path: folder by folder, by name. Links are named and not followed.

        Folders are always among it; all else where it matches `only`, which is about the way from `path`. Nothing below
        a `.git` unless the path itself is there. Raises `ToolError`; what cannot be read below is "unreadable".
        """
        names = self._names(path)
        with self._refusing(path, names):
            with self._visible(names) as spot:
                start = spot.names
                status = os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)
                if not (is_folder := stat.S_ISDIR(status.st_mode)):
                    _regular(status)
                    yield Entry(start, "file", only is None or only.matches(start[-1:]), spot.folder, True)
            if is_folder:
                yield from self._below(start, only)

    def _below(self, start: Names, only: Glob | None) -> Iterator[Entry]:
        ahead: list[tuple[Names, Reached | None]] = [(start, only.start if only else None)]
        while ahead:
            names, reached = ahead.pop()
            folders: list[tuple[Names, Reached | None]] = []
            try:
                with spot_at(self.root, names, links=0) as spot, _listed(spot) as (folder, entries):
                    for entry in entries:
                        below = (*names, entry.name)
                        after = only.step(reached, entry.name) if only and reached is not None else None
                        kind = _kind_of(entry)
                        if self._is_hidden(below) or (only and not after and kind != "folder"):
                            continue
                        yield Entry(below, kind, only is None or (after is not None and only.ends(after)), folder)
                        if kind == "folder" and entry.name != GIT and (only is None or after):
                            folders.append((below, after))
            except (OSError, Outside):
                if names == start:
                    raise
                yield Entry(names, "unreadable", False, -1)
            ahead += reversed(folders)

    # ── finding and refusing ─────────────────────────────────────────────────────────────────────────────────────

    def _names(self, path: str) -> Names:
        if path.startswith("~"):
            raise ToolError("'~' is not expanded. Give a path from the workspace's root.", reason="outside_root")
        try:
            if b"\0" in os.fsencode(path) or not path:
                raise ValueError
        except ValueError:  # a lone surrogate, too
            raise ToolError(
                "This is not a path that can exist; it is empty or has NUL in it.", reason="invalid_path"
            ) from None
        full = self.absolute(path)
        if full != self.root and not full.startswith(f"{self.root.rstrip('/')}/"):
            raise refusal(Outside(), path, self.root)
        return tuple(name for name in full[len(self.root) :].split("/") if name)

    @contextmanager
    def _visible(self, names: Names) -> Iterator[Spot]:
        self._check(names, writing=False)
        with spot_at(self.root, names) as spot:
            self._check(spot.names, writing=False)
            yield spot

    @contextmanager
    def _writable(self, names: Names, *, make: bool = False) -> Iterator[Spot]:
        def check(made: Names) -> None:
            self._check(made, writing=True)

        check(names)
        with spot_at(self.root, names, make=check if make else None) as spot:
            check(spot.names)
            yield spot

    def _check(self, names: Names, *, writing: bool) -> None:
        if self._is_hidden(names):
            raise ToolError(f"{_shown(names)} is kept from file tools.", reason="protected")
        if writing and _among(self._protected, names):
            raise ToolError(f"{_shown(names)} is protected: file tools may read it, not write it.", reason="protected")

    def _is_hidden(self, names: Names) -> bool:
        return bool(self._hidden) and _among(self._hidden, names)

    @contextmanager
    def _refusing(self, path: str, names: Names) -> Iterator[None]:
        """What the system says, as the model is told it."""
        try:
            yield
        except FileNotFoundError as error:
            raise refusal(error, path, self.root, near=self._near(names)) from error
        except (OSError, Outside, Irregular) as error:
            raise refusal(error, path, self.root) from error

    def _near(self, names: Names) -> Near | None:
        for depth in range(len(names) - 1, -1, -1):
            try:
                with self._visible(names[:depth]) as spot, _listed(spot) as (_, entries):
                    seen = [entry.name for entry in entries if not self._is_hidden((*spot.names, entry.name))]
                    return Near(_shown(names[:depth]), names[depth], seen)
            except (OSError, Outside, ToolError):
                continue
        return None


def _pattern(pattern: str) -> Glob:
    try:
        return Glob(_folded(pattern), ignore_case=True)
    except ValueError as error:
        raise ConfigurationError(f"The pattern {pattern!r} cannot be used: {error}.") from error


def _folded(name: str) -> str:
    """The name as the most forgiving file system may see it."""
    return "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")


def _among(patterns: list[Glob], names: Names) -> bool:
    folded = [name if name.isascii() else _folded(name) for name in names]
    return any(pattern.covers(folded) for pattern in patterns)


def _shown(names: Names) -> str:
    return named("/".join(names)) or "."


@contextmanager
def _opened(spot: Spot) -> Iterator[OpenFile]:
    # looked at first, since opening a pipe or a device does something; and again, since it may be another one by now
    _regular(os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False))
    file = os.open(spot.name, _READ, dir_fd=spot.folder)
    try:
        yield OpenFile(file, _shown(spot.names), _regular(os.fstat(file)))
    finally:
        os.close(file)


@contextmanager
def _listed(spot: Spot) -> Iterator[tuple[int, list[os.DirEntry[str]]]]:
    folder = os.open(spot.name, FOLDER, dir_fd=spot.folder)
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        yield folder, listed
    finally:
        os.close(folder)


def _status(spot: Spot) -> os.stat_result | None:
    try:
        return _regular(os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _regular(status: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):
        raise Irregular(status.st_mode)
    return status


def _kind_of(entry: os.DirEntry[str]) -> Kind:
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "link" if entry.is_symlink() else "file" if entry.is_file(follow_symlinks=False) else "other"
