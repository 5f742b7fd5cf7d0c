"""The kernel's interfaces that Python does not have, for the inside of a sandbox.

This and the other modules of the inside (`_confined`, `_broker`, `_guard`) run in a bare interpreter, without our
package: they import nothing but each other and modules that load in a millisecond; ctypes is the largest.
"""

from __future__ import annotations

import ctypes
import os

__all__ = [
    "ALL_RIGHTS",
    "FILE_RIGHTS",
    "MAKE_DEVICES",
    "READ",
    "allow_below",
    "die_with_parent",
    "drop_capabilities",
    "install_filter",
    "keep_orphans",
    "landlock_version",
    "new_ruleset",
    "no_new_privileges",
    "restrict",
    "set_times",
]

SET_PDEATHSIG, CAPBSET_DROP, SET_SECUREBITS, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS, CAP_AMBIENT = 1, 24, 28, 36, 38, 47
CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
LAST_CAPABILITY = 63
NO_ROOT_LOCKED = 0b1111
"""Being user 0 gives no capabilities, and nothing can change that."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Landlock's calls have the same numbers on every processor."""

ALL_RIGHTS = (1 << 16) - 1
READ = 0b1101
"""Execute, read a file, list a folder."""
FILE_RIGHTS = 0b111 | 1 << 14 | 1 << 15
"""What of the rights means something for what is not a folder: execute, write, read, truncate, ioctl."""
MAKE_DEVICES = 1 << 6 | 1 << 11
TCP = 0b11
SIGNALS, SIGNALS_AND_ABSTRACT_SOCKETS = 0b10, 0b11

SECCOMP_CALL = {"x86_64": 317, "aarch64": 277}
WITH_LISTENER = 8

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _call(number: int, *arguments: object) -> int:
    return int(_syscall(ctypes.c_long(number), *arguments))


def _prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return int(_libc.prctl(ctypes.c_int(option), *padded))


def no_new_privileges() -> None:
    _checked(_prctl(SET_NO_NEW_PRIVS, 1), "no_new_privs")


def keep_orphans() -> None:
    """Whatever of one's descendants loses its parent becomes one's child."""
    _checked(_prctl(SET_CHILD_SUBREAPER, 1), "child subreaper")


def die_with_parent(signal: int) -> None:
    """Get this signal when the parent ends."""
    _checked(_prctl(SET_PDEATHSIG, signal), "death signal")


def drop_capabilities() -> None:
    """All of them, for good, also where one is user 0."""
    for capability in range(LAST_CAPABILITY + 1):
        if _prctl(CAPBSET_DROP, capability) < 0:
            break  # beyond the kernel's last, or not ours to drop, and then no_new_privs keeps us from having it
    _prctl(SET_SECUREBITS, NO_ROOT_LOCKED)
    _prctl(CAP_AMBIENT, CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def landlock_version() -> int:
    """Landlock's ABI; 0 where the kernel has none, or somebody keeps us from it."""
    return max(_call(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)), 0)


def new_ruleset(*, files: bool, tcp: bool) -> int:
    """A ruleset that keeps signals in; with `files`, also files and abstract Unix sockets; with `tcp`, also TCP."""
    scoped = SIGNALS_AND_ABSTRACT_SOCKETS if files else SIGNALS
    handled = (ctypes.c_uint64 * 3)(ALL_RIGHTS if files else 0, TCP if tcp else 0, scoped)
    size = ctypes.c_size_t(ctypes.sizeof(handled))
    return _checked(_call(CREATE_RULESET, handled, size, ctypes.c_uint32(0)), "landlock_create_ruleset")


def allow_below(ruleset: int, path: str, rights: int, *, follow: bool) -> None:
    """Allow this at the path and everywhere below. What does not exist is skipped, and without `follow` a link, too."""
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        kind = os.fstat(file).st_mode & 0o170000
        if kind == 0o120000:
            return
        is_folder = kind == 0o040000
        rule = (rights if is_folder else rights & FILE_RIGHTS).to_bytes(8, "little") + file.to_bytes(4, "little")
        added = _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint32(0))
        _checked(added, f"landlock_add_rule {path}")
    finally:
        os.close(file)


def restrict(ruleset: int) -> None:
    """From now on, for oneself and all that one starts. Needs `no_new_privileges`."""
    _checked(_call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_filter(program: bytes) -> int:
    """Install a seccomp filter; returns the file on which the calls arrive that it wants to have looked at."""
    arguments = _Program(len(program) // 8, program)
    number = SECCOMP_CALL[os.uname().machine]
    flags = ctypes.c_uint32(WITH_LISTENER)
    return _checked(_call(number, ctypes.c_uint32(1), flags, ctypes.byref(arguments)), "seccomp")


def set_times(path: str, times: bytes | None) -> None:
    """utimensat: `times` are two `struct timespec`, or None for now."""
    _checked(_libc.utimensat(-100, path.encode(), times, 0), "utimensat")
