"""The folders that file tools work in, and cannot leave.

1. Everything is opened beneath a root through folders that are held open (`_beneath`): no link that is made or
   swapped meanwhile leads out. What a call was granted outside of them is opened from "/" through no link at all.
2. What may not be seen or written is decided by the real names of what was reached.
3. Only regular files are opened: a pipe or a device is refused before it can block.
"""

from __future__ import annotations

import copy
import errno
import os
import stat
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Literal, TypeAlias

import attrs

from .._patterns import is_below
from ..errors import ConfigurationError
from ._beneath import FOLDER, Names, Outside, Place, Spot, spot_at, way
from ._glob import Glob, Reached
from ._refusals import Irregular, Near, ReadOnly, Repointed, refusal
from ._replace import put
from ._reserved import GIT, Reserved
from ._roots import Roots
from .output import ToolError

__all__ = ["Entry", "Kind", "OpenFile", "Workspace"]

Kind: TypeAlias = Literal["file", "folder", "link", "other", "unreadable"]

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)

KERNEL = (("proc",), ("sys",))
"""Where the system shows itself: there are no files to be made or replaced, whatever rights it seems to give."""


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
        self._granted: tuple[str, ...] = ()
        self.roots = self._roots.all

    @property
    def root(self) -> str:
        """The real path of the first folder."""
        return self.roots[0]

    def hide(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        """Put files and folders, there or not, out of reach of every later call, in every root. Any thread may call it.

        Each is given by its absolute path, and meant where that leads now; a link by this name is hidden, too, and so
        is a whole root in a folder that is hidden. What is outside stays out of reach of calls that a person lets reach
        there, too. Raises `ConfigurationError`.
        """
        self._reserved.hide(paths)

    def granting(self, paths: Iterable[str]) -> Workspace:
        """This workspace for one call that may also reach these real paths, and what is below them.

        Symbolic links that lead to them may be followed; if one leads elsewhere by the time of the call, the call is
        refused.
        """
        granting = copy.copy(self)
        granting._granted = tuple(paths)
        return granting

    def paths(self, path: str) -> tuple[str, ...]:
        """The path as the policy judges it: absolute and normalised, as it is written and, where links lead elsewhere,
        where it leads now. Of one that leads into a root from outside, only the latter: that is all it reaches.
        """
        written = self._roots.absolute(path)
        real = _real(written)
        if real is None or real == written:
            return (written,)
        leads_in = self._roots.place(real) is not None and self._roots.place(written) is None
        return (real,) if leads_in else (written, real)

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

    def check_write(self, path: str, *, replace: bool) -> None:
        """Raise the `ToolError` that `write` would raise now, as far as that can be told without writing."""
        place = self._place(path)
        with self._refusing(path, place):
            try:
                with self._writable(place) as spot:
                    before = _status(spot)
                    if before is not None and not replace:
                        raise FileExistsError
                    _need_writable(spot, before)
            except FileNotFoundError:  # a folder is missing, and would be made in the last one that is there
                while place.names:
                    place = Place(place.root, place.names[:-1])
                    with suppress(FileNotFoundError), self._writable(place) as spot:
                        os.close(os.open(spot.name, FOLDER, dir_fd=spot.folder))  # or it is no folder
                        if not os.access(spot.name, os.W_OK | os.X_OK, dir_fd=spot.folder):
                            raise PermissionError from None
                        return

    def edit(self, path: str, change: Callable[[bytes], bytes], *, most: int, dry: bool = False) -> None:
        """Replace a file by what `change` makes of its bytes, at most so many. Raises `ToolError`.

        One change at a time: of two edits of one file, the second sees the first. With `dry` nothing is written.
        """
        place = self._place(path)
        with self._refusing(path, place), self._changes, self._writable(place) as spot:
            with self._opened(spot) as file:
                if file.status.st_size > most:
                    text = f"{file.shown} has {file.status.st_size:,} bytes; at most {most:,} can be edited."
                    raise ToolError(text, reason="too_large")
                with open(file.file, "rb", closefd=False) as source:
                    data = source.read(most)
            changed = change(data)
            if dry:
                _need_writable(spot, file.status)
            else:
                put(spot, changed, before=file.status)

    def check_read(self, path: str) -> None:
        """Raise the `ToolError` that reading at this path would raise now, as far as that can be told."""
        place = self._place(path)
        with self._refusing(path, place), self._visible(place) as spot:
            if not os.access(spot.name, os.R_OK, dir_fd=spot.folder):
                os.stat(spot.name, dir_fd=spot.folder, follow_symlinks=False)  # it may not be there at all
                raise PermissionError

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
        written = self._roots.absolute(path)
        if self._granted and (granted := self._granted_place(written)) is not None:
            return granted
        place = self._roots.place(written)
        if place is None:
            raise refusal(Repointed() if self._granted else Outside(), path, self.roots)
        return place

    def _granted_place(self, written: str) -> Place | None:
        """Where this path leads outside of the roots, if that is what this call was granted."""
        real = _real(written)
        if real is None or self._roots.place(real) is not None or not any(is_below(real, one) for one in self._granted):
            return None
        return Place("/", way("/", real) or ())

    @contextmanager
    def _visible(self, place: Place) -> Iterator[Spot]:
        self._check(place, writing=False)
        with self._spot(place) as spot:
            self._check(spot.place, writing=False)
            yield spot

    @contextmanager
    def _writable(self, place: Place, *, make: bool = False) -> Iterator[Spot]:
        def check(made: Place) -> None:
            self._check(made, writing=True)

        check(place)
        with self._spot(place, make=check if make else None) as spot:
            check(spot.place)
            yield spot

    def _spot(self, place: Place, *, make: Callable[[Place], None] | None = None) -> AbstractContextManager[Spot]:
        if place.root not in self._roots.tops:  # granted by its real path, on which there is no link
            return spot_at(place, links=0, make=make)
        return spot_at(place, others=self._roots.tops, make=make)

    def _check(self, place: Place, *, writing: bool) -> None:
        if self._reserved.hides(place):
            raise ToolError(f"{self._roots.shown(place)} is kept from file tools.", reason="protected")
        if writing and place.root == "/" and place.names[:1] in KERNEL:
            raise PermissionError(errno.EACCES, "no files can be made here")
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
            if self._granted and isinstance(error, Outside):
                raise refusal(Repointed(), path, self.roots) from error
            raise refusal(error, path, self.roots) from error

    def _near(self, place: Place) -> Near | None:
        if place.root not in self._roots.tops:  # what else is outside is nobody's business
            return None
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


def _real(path: str) -> str | None:
    """Where the path leads now, through all links; None where it is none that can exist."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return None


def _need_writable(spot: Spot, before: os.stat_result | None) -> None:
    """Raise what keeps this file from being made or replaced, as far as can be told."""
    if before is not None and not before.st_mode & 0o222:
        raise ReadOnly
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=spot.folder):
        raise PermissionError


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
