"""The broker: does for a command under Landlock what Landlock itself cannot judge. Part of a sandbox's inside.

Permissions and times of a file can be set by its path, anywhere, and Landlock is not asked. So seccomp stops these
calls and hands them to us. We open what the call names, see where that really is, and do to exactly this file what was
asked, if it is below a writable folder and not held. What we looked at cannot be exchanged, since we hold it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from _struct import pack, unpack_from

from ._names import NAME_CALLS, Names, NotOpened, Wanted, below, opened, signed
from ._syscalls import set_times

__all__ = ["Broker"]

RECEIVE, SEND, STILL_VALID = 0xC0502100, 0xC0182101, 0x40082102
ADD_FILE, SEND_AT_ONCE, CONTINUE = 0x40182103, 2, 1
REQUEST_BYTES = 80
AT_FDCWD = -100
NOFOLLOW, EMPTY_PATH = 0x100, 0x1000
PERMISSIONS = 0o1777

CALLS = {
    "x86_64": {90: "chmod", 91: "fchmod", 268: "fchmodat", 452: "fchmodat2", 280: "utimensat"},
    "aarch64": {52: "fchmod", 53: "fchmodat", 452: "fchmodat2", 88: "utimensat"},
}.get(os.uname().machine, {})


class Broker:
    """Answers the calls that arrive on a seccomp listener.

    They are done to files below `writable`, but not to what is at or below `held`, nor to what is `fixed`.
    """

    def __init__(
        self,
        listener: int,
        *,
        writable: tuple[str, ...],
        held: tuple[str, ...],
        fixed: tuple[str, ...],
        names: Names,
    ) -> None:
        self.listener = listener
        self._writable = writable
        self._held = held
        self._fixed = fixed
        self._names = names

    @property
    def gone(self) -> tuple[str, ...]:
        """As `Names` says."""
        return self._names.gone

    def answer(self) -> None:
        """Take one call, do it or not, and let the command go on."""
        request = bytearray(REQUEST_BYTES)
        try:
            fcntl.ioctl(self.listener, RECEIVE, request)
        except OSError:  # the caller is gone already
            return
        ident, pid, _, number, _, _, *arguments = unpack_from("=QIIiIQ6Q", request)
        if (name := NAME_CALLS.get(number)) is not None:
            self._answer_name(ident, pid, name, arguments)
            return
        try:
            self._serve(ident, pid, CALLS[number], arguments)
            code = 0
        except OSError as error:
            code = error.errno or errno.EPERM
        except ValueError:  # a path that is none
            code = errno.EINVAL
        self._send(ident, code, 0)

    def _send(self, ident: int, code: int, flags: int) -> None:
        try:
            fcntl.ioctl(self.listener, SEND, pack("=QqiI", ident, 0, -code, flags))
        except OSError:  # the caller is gone
            return

    def _answer_name(self, ident: int, pid: int, call: str, arguments: list[int]) -> None:
        """Do what was opened by its name; for all else the kernel goes on, and Landlock judges."""
        code, flags, file = 0, 0, None
        try:
            memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
            try:
                wanted = Wanted(pid, call, arguments, lambda address: text_at(memory, address))
            finally:
                os.close(memory)
            fcntl.ioctl(self.listener, STILL_VALID, pack("=Q", ident))
            try:
                file = self._names.do(wanted)
            except NotOpened:
                flags = CONTINUE
        except OSError as error:
            code = error.errno or errno.EPERM
        except ValueError:
            code = errno.EINVAL
        if file is not None:
            keep = os.O_CLOEXEC if wanted.flags & os.O_CLOEXEC else 0
            try:
                fcntl.ioctl(self.listener, ADD_FILE, pack("=QIIII", ident, SEND_AT_ONCE, file, 0, keep))
                return
            except OSError as error:  # the caller has too many open files, or is gone; it must not wait for ever
                code = error.errno or errno.EPERM
            finally:
                os.close(file)
        self._send(ident, code, flags)

    def _serve(self, ident: int, pid: int, call: str, arguments: list[int]) -> None:
        folder, path, value, flags = _meaning(call, arguments)
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            name = text_at(memory, path) if path else b""
            times = os.pread(memory, 32, value) if call == "utimensat" and value else None
            try:
                target = opened(pid, folder, name, follow=not flags & NOFOLLOW)
            except FileNotFoundError:
                if (draft := self._names.draft(pid, folder, name)) is None:
                    raise
                target = os.open(draft, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        finally:
            os.close(memory)
        try:
            # else the pid, and all that was read by it, may be another's by now
            fcntl.ioctl(self.listener, STILL_VALID, pack("=Q", ident))
            if not self._may_change(os.readlink(f"/proc/self/fd/{target}")):
                raise PermissionError(errno.EPERM, "not below a writable folder")
            if call == "utimensat":
                set_times(f"/proc/self/fd/{target}", times)
            else:
                os.chmod(f"/proc/self/fd/{target}", value & PERMISSIONS)
        finally:
            os.close(target)

    def _may_change(self, path: str) -> bool:
        if path in self._fixed or any(below(path, held) for held in self._held):
            return False
        return any(below(path, folder) for folder in self._writable)


def _meaning(call: str, arguments: list[int]) -> tuple[int, int, int, int]:
    """The folder or file, the address of the path (0 for none), the permissions or address of the times, flags."""
    first, second, third, fourth, *_ = arguments
    match call:
        case "chmod":
            return AT_FDCWD, first, second, 0
        case "fchmod":
            return signed(first), 0, second, 0
        case "fchmodat":
            return signed(first), second, third, 0
        case _:
            return signed(first), second, third, fourth


def text_at(memory: int, address: int) -> bytes:
    """The text up to its NUL, which may be near the end of what can be read."""
    text, mark, _ = os.pread(memory, 4096, address).partition(b"\0")
    if not mark:
        raise OSError(errno.ENAMETOOLONG, "no end")
    return text
