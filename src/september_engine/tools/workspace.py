"""The folders that file tools work in, and cannot leave.

1. Everything is opened beneath a root through folders that are held open (`_beneath`): no link that is made or
   swapped meanwhile leads out.
2. What may not be seen or written is decided by the real names of what was reached.
3. Only regular files are opened: a pipe or a device is refused before it can block.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, TypeAlias

import attrs

from ..errors import ConfigurationError
from ._beneath import FOLDER, Names, Outside, Place, Spot, spot_at
from ._glob import Glob, Reached
from ._refusals import Irregular, Near, refusal
from ._replace import put
from ._reserved import GIT, Reserved
from ._roots import Roots
from .output import ToolError

__all__ = ["Entry", "Kind", "OpenFile", "Workspace"]

Kind: TypeAlias = Literal["file", "folder", "link", "other", "unreadable"]

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


@attrs.frozen
class OpenFile:
    """A regular file that is open for reading, and closed by who opened it.

    Attributes:
        file: Its descriptor.
        shown: Its path, to be shown: from the first root, or absolute below another.
        status: What `fstat` said when it was opened.
    """

    file: int
    shown: str
    status: os.stat_result


@attrs.frozen
class Entry:
    """Something that a walk came by. Usable until the walk goes on.

    Attributes:
        place: Where it is.
        kind: "unreadable" is a folder that could not be listed.
        matches: Whether it is among what the walk was asked for.
        given: Whether it is what the walk's path names.
    """

    place: Place
    kind: Kind
    matches: bool
    _roots: Roots
    _folder: int
    given: bool = False

    @property
    def names(self) -> Names:
        """Its way from the root that the walk went by."""
        return self.place.names

    @property
    def shown(self) -> str:
        """Its path, to be shown: from the first root, or absolute below another."""
        return self._roots.shown(self.place)

    def status(self) -> os.stat_result:
        """Its own, not that of what a link points to. Raises `OSError`."""
        return os.stat(self.names[-1], dir_fd=self._folder, follow_symlinks=False)

    @contextmanager
    def open(self) -> Iterator[OpenFile]:
        """The file, open. Raises `OSError`."""
        with _opened(Spot(self._folder, self.names[-1], self.place), self.shown) as file:
            yield file


class Workspace:
    """One folder of files, or several.

    `protected` and `hidden` are patterns of paths, as `find_files` takes them, such as ".env*" or
    "data/brain.sqlite*" (`glob.escape` helps with brackets): from every root that a file is below. What is below a
    folder that matches is meant too, and upper and lower case are the same here.

    Args:
        root: An existing folder, that relative paths are from. Its own path is trusted.
        also: Further ones. What is in them is named by its absolute path; links may lead from one to another.
        protected: What is read and not written. `.git` is always among it, wherever it is.
        hidden: What is neither read nor written nor listed.

    Raises `ConfigurationError`.

    Attributes:
        roots: The real paths of all its folders, the first one first.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        also: Iterable[str | os.PathLike[str]] = (),
        protected: tuple[str, ...] = (),
        hidden: tuple[str, ...] = (),
    ) -> None:
        if os.name != "posix":
            raise ConfigurationError("File tools need a POSIX system (Linux, macOS, WSL).")
        if isinstance(also, str):  # which would be taken letter by letter, "/" among them
            raise ConfigurationError("Workspace(also=…) takes several folders, as in also=(folder,).")
        self._roots = Roots((root, *also))
        self._reserved = Reserved(self._roots, protected=protected, hidden=hidden)
        self._changes = threading.Lock()
        self.roots = self._roots.all

    @property
    def root(self) -> str:
        """The real path of the first folder."""
        return self.roots[0]

    def hide(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Put files and folders, there or not, out of reach of every later call, in every root. Any thread may call it.

        Each is given by its absolute path, and meant where that leads now; a link by this name is hidden, too, and so
        is a whole root in a folder that is hidden. What is outside changes nothing. Raises `ConfigurationError`.
        """
        self._reserved.hide(paths)

    def absolute(self, path: str) -> str:
        """The path as the policy judges it: absolute and normalised, wherever it leads. Nothing is looked up."""
        return self._roots.absolute(path)

    @contextmanager
    def reading(self, path: str) -> Iterator[OpenFile]:
        """A regular file, open for reading. Raises `ToolError`, for what fails inside the block as well."""
        place = self._place(path)
        with self._refusing(path, place), self._visible(place) as spot, self._opened(spot) as file:
            yield file

    def write(self, path: str, data: bytes, *, replace: bool) -> os.stat_result | None:
        """Make a file, and the folders it is in, or replace one. Whoever reads it sees the old or the new, whole.

        Returns the old one's status, None for a new file. Raises `ToolError`.
        """
        place = self._place(path)
        with self._refusing(path, place), self._changes, self._writable(place, make=True) as spot:
            before = _status(spot)
            if before is not None and not replace:
                raise FileExistsError
            put(spot, data, before=before)
        return before

    def edit(self, path: str, change: Callable[[bytes], bytes], *, most: int) -> None:
        """Replace a file by what `change` makes of its bytes, at most so many. Raises `ToolError`.

        One change at a time: of two edits of one file, the second sees the first.
        """
        place = self._place(path)
        with self._refusing(path, place), self._changes, self._writable(place) as spot:
            with self._opened(spot) as file:
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
        place = self._place(path)
        with self._refusing(path, place):
            with self._visible(place) as spot:
                start = spot.place
                status = os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)
                if not (is_folder := stat.S_ISDIR(status.st_mode)):
                    _regular(status)
                    matches = only is None or only.matches(start.names[-1:])
                    yield Entry(start, "file", matches, self._roots, spot.folder, True)
            if is_folder:
                yield from self._below(start, only)

    def _below(self, start: Place, only: Glob | None) -> Iterator[Entry]:
        ahead: list[tuple[Place, Reached | None]] = [(start, only.start if only else None)]
        while ahead:
            place, reached = ahead.pop()
            folders: list[tuple[Place, Reached | None]] = []
            try:
                with spot_at(place, links=0) as spot, _listed(spot) as (folder, entries):
                    for entry in entries:
                        below = place.below(entry.name)
                        after = only.step(reached, entry.name) if only and reached is not None else None
                        kind = _kind_of(entry)
                        if self._reserved.hides(below) or (only and not after and kind != "folder"):
                            continue
                        matches = only is None or (after is not None and only.ends(after))
                        yield Entry(below, kind, matches, self._roots, folder)
                        if kind == "folder" and entry.name != GIT and (only is None or after):
                            folders.append((below, after))
            except (OSError, Outside):
                if place == start:
                    raise
                yield Entry(place, "unreadable", False, self._roots, -1)
            ahead += reversed(folders)

    # ── finding and refusing ─────────────────────────────────────────────────────────────────────────────────────

    def _place(self, path: str) -> Place:
        if path.startswith("~"):
            raise ToolError("'~' is not expanded. Give a path from the workspace's root.", reason="outside_root")
        try:
            if b"\0" in os.fsencode(path) or not path:
                raise ValueError
        except ValueError:  # a lone surrogate, too
            raise ToolError(
                "This is not a path that can exist; it is empty or has NUL in it.", reason="invalid_path"
            ) from None
        place = self._roots.place(self.absolute(path))
        if place is None:
            raise refusal(Outside(), path, self.roots)
        return place

    @contextmanager
    def _visible(self, place: Place) -> Iterator[Spot]:
        self._check(place, writing=False)
        with spot_at(place, others=self._roots.tops) as spot:
            self._check(spot.place, writing=False)
            yield spot

    @contextmanager
    def _writable(self, place: Place, *, make: bool = False) -> Iterator[Spot]:
        def check(made: Place) -> None:
            self._check(made, writing=True)

        check(place)
        with spot_at(place, others=self._roots.tops, make=check if make else None) as spot:
            check(spot.place)
            yield spot

    def _check(self, place: Place, *, writing: bool) -> None:
        if self._reserved.hides(place):
            raise ToolError(f"{self._roots.shown(place)} is kept from file tools.", reason="protected")
        if writing and self._reserved.protects(place):
            text = f"{self._roots.shown(place)} is protected: file tools may read it, not write it."
            raise ToolError(text, reason="protected")

    def _opened(self, spot: Spot) -> AbstractContextManager[OpenFile]:
        return _opened(spot, self._roots.shown(spot.place))

    @contextmanager
    def _refusing(self, path: str, place: Place) -> Iterator[None]:
        """What the system says, as the model is told it."""
        try:
            yield
        except FileNotFoundError as error:
            raise refusal(error, path, self.roots, near=self._near(place)) from error
        except (OSError, Outside, Irregular) as error:
            raise refusal(error, path, self.roots) from error

    def _near(self, place: Place) -> Near | None:
        for depth in range(len(place.names) - 1, -1, -1):
            folder = Place(place.root, place.names[:depth])
            try:
                with self._visible(folder) as spot, _listed(spot) as (_, entries):
                    seen = [entry.name for entry in entries if not self._reserved.hides(spot.place.below(entry.name))]
                    return Near(self._roots.shown(folder), place.names[depth], seen)
            except (OSError, Outside, ToolError):
                continue
        return None


@contextmanager
def _opened(spot: Spot, shown: str) -> Iterator[OpenFile]:
    # looked at first, since opening a pipe or a device does something; and again, since it may be another one by now
    _regular(os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False))
    file = os.open(spot.name, _READ, dir_fd=spot.folder)
    try:
        yield OpenFile(file, shown, _regular(os.fstat(file)))
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
