"""What was opened for one command under Landlock, by its names: made, changed, replaced and removed for it by us.

Part of a sandbox's inside. Landlock allows a folder and all that is in it, and has nothing for one name in a folder. So
where a person approved one path, seccomp hands us what reaches files by their names, and we do what is at or below that
path. The folder that holds the name is opened first, and where that really is decides: no link, and nothing that is
exchanged meanwhile, leads anywhere else. For all other names the kernel goes on, and Landlock judges.
"""

from __future__ import annotations

import errno
import os
from _stat import S_ISDIR, S_ISLNK, S_ISREG
from collections.abc import Callable

__all__ = ["NAME_CALLS", "Names", "NotOpened", "Wanted", "below", "opened", "signed"]

AT_FDCWD = -100
REMOVE_FOLDER, NO_REPLACE = 0x200, 1
CHUNK = 1 << 20

NAME_CALLS = {
    "x86_64": {
        2: "open", 76: "truncate", 82: "rename", 83: "mkdir", 84: "rmdir", 85: "creat", 86: "link", 87: "unlink",
        88: "symlink", 257: "openat", 258: "mkdirat", 263: "unlinkat", 264: "renameat", 265: "linkat",
        266: "symlinkat", 316: "renameat2",
    },
    "aarch64": {
        34: "mkdirat", 35: "unlinkat", 36: "symlinkat", 37: "linkat", 38: "renameat", 45: "truncate", 56: "openat",
        276: "renameat2",
    },
}.get(os.uname().machine, {})  # fmt: skip


class NotOpened(Exception):
    """This is not ours to do."""


class Wanted:
    """One call: what it is (`kind`, without the forms of the same) and what it names.

    `text` reads the caller's memory. `where` and `name` are the folder's descriptor and the path of what is made or
    changed; `source` and `source_name` those of what is renamed or linked, `target` is what a symbolic link shall say.
    """

    def __init__(self, pid: int, call: str, arguments: list[int], text: Callable[[int], bytes]) -> None:
        self.pid = pid
        self.flags = self.mode = self.size = 0
        self.source, self.source_name, self.target = AT_FDCWD, b"", b""
        plain = not call.endswith(("at", "at2")) or call == "creat"  # without folders
        kind = call if plain else call.removesuffix("2").removesuffix("at")
        first, second, third, fourth, fifth, *_ = arguments
        if kind in ("rename", "link"):
            places = (AT_FDCWD, first, AT_FDCWD, second) if plain else (signed(first), second, signed(third), fourth)
            self.source, self.source_name, self.where = places[0], text(places[1]), places[2]
            self.name = text(places[3])
            self.flags = 0 if plain or call == "renameat" else fifth
        elif kind == "symlink":
            self.target = text(first)
            self.where, self.name = (AT_FDCWD, text(second)) if plain else (signed(second), text(third))
        else:
            self.where, self.name = (AT_FDCWD, text(first)) if plain else (signed(first), text(second))
            more = (second, third) if plain else (third, fourth)
            if kind == "creat":
                kind, self.flags, self.mode = "open", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, more[0]
            elif kind == "open":
                self.flags, self.mode = more
            elif kind == "mkdir":
                self.mode = more[0]
            elif kind == "truncate":
                self.size = more[0]
            elif kind == "unlink" and not plain and more[0] & REMOVE_FOLDER:
                kind = "rmdir"
        self.kind = kind


class Names:
    """Does what is at or below the paths that were opened.

    What is moved or linked there from elsewhere must be in a folder that is `writable`, and neither `held`, nor hold
    that, nor be directly in what is `fixed`. `scratch` takes new files with which a program is about to replace one
    that was opened, beside which it may make nothing.
    """

    def __init__(
        self,
        *,
        opened: tuple[str, ...],
        writable: tuple[str, ...],
        held: tuple[str, ...],
        fixed: tuple[str, ...],
        scratch: str,
    ) -> None:
        self._opened = opened
        self._writable = writable
        self._held = held
        self._fixed = fixed
        self._scratch = scratch
        self._drafts: dict[str, str] = {}

    def do(self, wanted: Wanted) -> int | None:
        """Do it; of an open file, the descriptor. Raises `NotOpened` for what is not ours, and `OSError`."""
        folder, name, path = _place(wanted.pid, wanted.where, wanted.name)
        try:
            if wanted.kind in ("rename", "link"):
                self._move(wanted, folder, name, path)
                return None
            on_the_way = wanted.kind == "mkdir" and any(below(one, path) for one in self._opened)
            if not self._is_ours(path) and not on_the_way:
                return self._draft(wanted, path)
            if wanted.kind == "unlink" and os.path.dirname(path) in map(os.path.dirname, self._drafts):
                # what shall take its place was not opened, and would be lost with it
                raise PermissionError(errno.EACCES, "not opened")
            os.umask(_umask(wanted.pid))
            return self._do(wanted, folder, name)
        finally:
            os.close(folder)

    @property
    def gone(self) -> tuple[str, ...]:
        """What the command made beside what was opened, and did not put in its place: it ends with the command."""
        return tuple(sorted(self._drafts))

    def draft(self, pid: int, where: int, name: bytes) -> str | None:
        """Where the new file really is that has this name for the command, if there is one."""
        try:
            folder, _, path = _place(pid, where, name)
        except NotOpened:
            return None
        os.close(folder)
        return self._drafts.get(path)

    def _is_ours(self, path: str) -> bool:
        return any(below(path, one) for one in self._opened)

    def _do(self, wanted: Wanted, folder: int, name: str) -> int | None:
        match wanted.kind:
            case "open":
                return self._open(folder, name, wanted.flags, wanted.mode)
            case "mkdir":
                os.mkdir(name, wanted.mode & 0o1777, dir_fd=folder)
            case "unlink":
                os.unlink(name, dir_fd=folder)
            case "rmdir":
                os.rmdir(name, dir_fd=folder)
            case "symlink":
                os.symlink(wanted.target, os.fsencode(name), dir_fd=folder)
            case "truncate":
                file = self._open(folder, name, os.O_WRONLY, 0)
                try:
                    os.ftruncate(file, wanted.size)
                finally:
                    os.close(file)
        return None

    def _open(self, folder: int, name: str, flags: int, mode: int) -> int:
        """Only files and folders: opening a pipe could keep us waiting.

        What is opened only to name it, as `cp` does with the folder it copies into, can be left to the kernel: nothing
        is read or written by it, and no such descriptor can be handed over.
        """
        if flags & os.O_PATH:
            raise NotOpened
        kind = _kind(folder, name)
        safe = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
        if kind is not None and S_ISLNK(kind) and not flags & os.O_NOFOLLOW:
            file = os.open(name, os.O_PATH | os.O_CLOEXEC, dir_fd=folder)
            try:
                way = f"/proc/self/fd/{file}"
                kind = os.fstat(file).st_mode
                if not self._is_ours(os.readlink(way)) or not (S_ISREG(kind) or S_ISDIR(kind)):
                    raise NotOpened
                return os.open(way, flags & ~os.O_CREAT | os.O_CLOEXEC)
            finally:
                os.close(file)
        if kind is not None and not S_ISREG(kind) and not S_ISDIR(kind):
            raise NotOpened
        return os.open(name, flags | safe, mode & 0o1777, dir_fd=folder)

    def _draft(self, wanted: Wanted, path: str) -> int | None:
        """A new file or link beside one that was opened, to take its place later: it is kept in the scratch folder."""
        if path in self._drafts and wanted.kind == "unlink":
            os.unlink(self._drafts.pop(path))
            return None
        new = os.O_CREAT | os.O_EXCL
        beside = {os.path.dirname(one) for one in self._opened if not os.path.isdir(one)}
        is_new = wanted.kind == "symlink" or (wanted.kind == "open" and wanted.flags & new == new)
        if not is_new or os.path.dirname(path) not in beside:
            raise NotOpened
        if any(below(path, one) for one in self._writable) or os.path.lexists(path) or path in self._drafts:
            raise NotOpened
        draft = f"{self._scratch}/draft-{os.urandom(8).hex()}"
        if wanted.kind == "symlink":
            os.symlink(os.fsdecode(wanted.target), draft)
            self._drafts[path] = draft
            return None
        file = os.open(draft, wanted.flags | os.O_NOFOLLOW | os.O_CLOEXEC, wanted.mode & 0o777)
        self._drafts[path] = draft
        return file

    def _move(self, wanted: Wanted, folder: int, name: str, path: str) -> None:
        source, source_name, source_path = _place(wanted.pid, wanted.source, wanted.source_name)
        try:
            mine, from_mine = self._is_ours(path), self._is_ours(source_path)
            if (draft := self._drafts.get(source_path)) is not None and mine and wanted.kind == "rename":
                _put(draft, folder, name)
                del self._drafts[source_path]
                return
            if not mine and not from_mine:
                raise NotOpened
            if not (mine or self._may_take(path)) or not (from_mine or self._may_take(source_path)):
                raise PermissionError(errno.EACCES, "not opened")
            if wanted.kind == "link":
                if not mine:  # a second name, for good, of what was opened for once
                    raise PermissionError(errno.EPERM, "not opened")
                os.link(source_name, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
                return
            if wanted.flags & ~NO_REPLACE:
                raise OSError(errno.EINVAL, "not supported")
            if wanted.flags and _kind(folder, name) is not None:
                raise FileExistsError(errno.EEXIST, "it exists")
            os.rename(source_name, name, src_dir_fd=source, dst_dir_fd=folder)
        finally:
            os.close(source)

    def _may_take(self, path: str) -> bool:
        """Whether something may be put there, or taken from there, where nobody had to open anything."""
        if any(below(path, one) or below(one, path) for one in self._held) or os.path.dirname(path) in self._fixed:
            return False
        return path not in self._fixed and any(below(path, one) and path != one for one in self._writable)


def _place(pid: int, where: int, name: bytes) -> tuple[int, str, str]:
    """The folder that holds what is named, opened; its name there; and the path where that really is."""
    head, _, last = name.rstrip(b"/").rpartition(b"/")
    if last in (b"", b".", b".."):
        raise NotOpened
    if not head:
        head = b"/" if name.startswith(b"/") else b"."
    try:
        folder = opened(pid, where, head, follow=True)
    except OSError:
        raise NotOpened from None  # the kernel knows best what is wrong with it
    if not S_ISDIR(os.fstat(folder).st_mode):
        os.close(folder)
        raise NotOpened
    last_name = os.fsdecode(last)
    return folder, last_name, os.path.join(os.readlink(f"/proc/self/fd/{folder}"), last_name)


def _kind(folder: int, name: str) -> int | None:
    try:
        return os.lstat(name, dir_fd=folder).st_mode
    except FileNotFoundError:
        return None


def _put(draft: str, folder: int, name: str) -> None:
    """Give this name to the draft, in the place of what has it: whoever reads it sees the old or the new, whole."""
    before = _kind(folder, name)
    if before is not None and not S_ISREG(before) and not S_ISLNK(before):
        raise PermissionError(errno.EACCES, "not opened")
    aside = f".september-{os.urandom(8).hex()}.tmp"
    mode = os.lstat(draft).st_mode
    if S_ISLNK(mode):
        os.symlink(os.readlink(draft), aside, dir_fd=folder)
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.unlink(draft)
        return
    file = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        source = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while os.sendfile(file, source, None, CHUNK):
                pass
        finally:
            os.close(source)
        os.fchmod(file, mode & 0o777)
        os.rename(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(aside, dir_fd=folder)
        raise
    finally:
        os.close(file)
    os.unlink(draft)


def _umask(pid: int) -> int:
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        _, _, rest = file.read().partition(b"Umask:")
    return int(rest.split(None, 1)[0], 8) if rest else 0o077


def opened(pid: int, folder: int, name: bytes, *, follow: bool) -> int:
    """What the process means by this name, opened without any rights to it."""
    way = f"/proc/{pid}/cwd" if folder == AT_FDCWD else f"/proc/{pid}/fd/{folder}"
    if name.startswith(b"/"):
        return os.open(name, _how(follow))
    start = os.open(way, os.O_PATH | os.O_CLOEXEC)
    if not name:
        return start
    try:
        return os.open(name, _how(follow), dir_fd=start)
    finally:
        os.close(start)


def _how(follow: bool) -> int:
    return os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)


def signed(value: int) -> int:
    """The lower half of an argument as a signed number."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def below(path: str, folder: str) -> bool:
    """Whether it is at or below this."""
    return path == folder or path.startswith(folder + "/")
