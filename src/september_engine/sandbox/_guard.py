"""The guard: sees to it that what a job protects is as before when its command has ended. Part of a sandbox's inside.

Landlock can only allow, for a folder and all that is in it: it has no "but not". So where bubblewrap mounts, the guard
remembers, and puts back. It works by open folders, never through a symbolic link, because other commands may still run
in the same folder.
"""

from __future__ import annotations

import os
from _stat import S_IMODE, S_ISDIR, S_ISLNK, S_ISREG

__all__ = ["Guard", "TooLarge", "remove_all", "run_tool"]

MOST_BYTES = 32 << 20
MOST_ENTRIES = 20_000
MOST_DEPTH = 64
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
QUIET = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]

Tree = tuple[str, int, object]
"""What was there: its kind, its permissions, and its content: bytes, a link's text, or entries by name."""


class TooLarge(Exception):
    """There is more to remember than is sensible."""


class Guard:
    """One path below a writable folder, as it was when this was made."""

    def __init__(self, root: str, path: str) -> None:
        self.path = path
        self._root = root
        *self._way, self._name = path[len(root) + 1 :].split("/")
        self._left = [MOST_BYTES, MOST_ENTRIES]
        self._before = self._now()

    def put_back(self) -> bool:
        """Make it as it was; returns whether it was not. Raises `OSError` where that is impossible."""
        self._left = [MOST_BYTES, MOST_ENTRIES]
        try:
            same = self._way_is_clear() and self._now() == self._before
        except (TooLarge, OSError):  # also one that it locked us out of
            same = False
        if same:
            return False
        folder = self._walk(clear=True, make=self._before is not None)
        if folder is not None:
            try:
                _remove(folder, self._name)
                if self._before is not None:
                    _make(folder, self._name, self._before)
            finally:
                os.close(folder)
        return True

    def _now(self) -> Tree | None:
        folder = self._walk()
        if folder is None:
            return None
        try:
            return self._tree(folder, self._name, 0)
        finally:
            os.close(folder)

    def _way_is_clear(self) -> bool:
        """Whether nothing but folders is on the way: a file or link there could lead elsewhere."""
        folder = os.open(self._root, FOLDER)
        try:
            for name in self._way:
                status = _status(folder, name)
                if status is None:
                    return True
                if not S_ISDIR(status.st_mode):
                    return False
                folder = _into(folder, name)
            return True
        finally:
            os.close(folder)

    def _walk(self, *, clear: bool = False, make: bool = False) -> int | None:
        """The folder that holds the path, opened, or None where it does not exist.

        With `clear`, a file or link in its way is removed; with `make`, it is made where it was taken away.
        """
        folder = os.open(self._root, FOLDER)
        for name in self._way:
            status = _status(folder, name)
            if clear and status is not None and not S_ISDIR(status.st_mode):
                _remove(folder, name)
                status = None
            if status is None and make:
                os.mkdir(name, 0o755, dir_fd=folder)
            elif status is None or not S_ISDIR(status.st_mode):
                os.close(folder)
                return None
            folder = _into(folder, name)
        return folder

    def _tree(self, folder: int, name: str, depth: int) -> Tree | None:
        status = _status(folder, name)
        if status is None:
            return None
        self._left[0] -= status.st_size
        self._left[1] -= 1
        if min(self._left) < 0 or depth > MOST_DEPTH:
            raise TooLarge(name)
        mode = S_IMODE(status.st_mode)
        if S_ISLNK(status.st_mode):
            return "link", mode, os.readlink(name, dir_fd=folder)
        if S_ISREG(status.st_mode):
            return "file", mode, _read(folder, name)
        if not S_ISDIR(status.st_mode):
            return "other", status.st_mode, None
        inner = os.open(name, FOLDER, dir_fd=folder)
        try:
            return "folder", mode, {each: self._tree(inner, each, depth + 1) for each in os.listdir(inner)}
        finally:
            os.close(inner)


def _status(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None


def _into(folder: int, name: str) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    finally:
        os.close(folder)


def _read(folder: int, name: str) -> bytes:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with open(file, "rb", buffering=0) as opened:
        return opened.read(MOST_BYTES)


def _remove(folder: int, name: str) -> None:
    """Take it out of the way at once, whatever it is; then remove it, as far as its permissions let us."""
    aside = f"{name}.removed-{os.urandom(6).hex()}"
    try:
        os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    except FileNotFoundError:
        return
    os.fchdir(folder)
    remove_all(aside)


def remove_all(path: str) -> None:
    """Remove a tree that may be deep on purpose, by a program whose stack that is nothing to."""
    run_tool("rm", "-rf", "--", path)


def run_tool(name: str, *arguments: str) -> None:
    """Run one of the system's tools to its end, whatever that is."""
    for place in ("/bin", "/usr/bin"):
        if os.access(f"{place}/{name}", os.X_OK):
            os.waitpid(os.posix_spawn(f"{place}/{name}", [name, *arguments], {}, file_actions=QUIET), 0)
            return


def _make(folder: int, name: str, tree: Tree) -> None:
    kind, mode, content = tree
    if kind == "folder" and isinstance(content, dict):
        os.mkdir(name, 0o700, dir_fd=folder)
        inner = os.open(name, FOLDER, dir_fd=folder)
        try:
            for each, below in content.items():
                _make(inner, each, below)
            os.fchmod(inner, mode)
        finally:
            os.close(inner)
    elif kind == "link" and isinstance(content, str):
        os.symlink(content, name, dir_fd=folder)
    elif kind == "file" and isinstance(content, bytes):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with open(file, "wb", buffering=0) as opened:
            opened.write(content)
            os.fchmod(file, mode)
