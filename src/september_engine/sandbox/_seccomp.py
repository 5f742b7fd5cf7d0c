"""System calls that no command needs, as a seccomp filter: what the other walls of a sandbox do not cover.

1. A filter sees numbers and plain arguments, never what a pointer points to. Where that is not enough, the call is
   refused as a whole, or, under Landlock, handed to a broker that looks at it for us (`_broker`).
2. What would be news to nobody is refused as an old kernel would (ENOSYS), so that programs fall back.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator, Mapping
from functools import cache

import attrs

__all__ = ["filter_for", "known_machine"]

LOAD, JUMP, EQUAL, GREATER_EQUAL, SET, AND, RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06
"""Instructions of classic BPF: load a word, jump, and so on, each with a constant."""

ALLOW, ERROR, NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32 = 0x40000000

NEW_NAMESPACES = 0x7E020080
SET_ID_BITS = 0o6000
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
STREAM, SEQPACKET, TYPE_BITS = 1, 5, 0xF
O_CREAT, O_TMPFILE = 0o100, 0o20000000
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


@attrs.frozen
class _Machine:
    audit: int
    numbers: Mapping[str, int]
    has_x32: bool = False


def _numbers(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in (pair.split("=") for pair in text.split())}


_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        _numbers(
            "truncate=76 rename=82 rmdir=84 link=86 unlink=87 symlink=88 unlinkat=263 renameat=264 linkat=265 "
            "symlinkat=266 renameat2=316 "
            "open=2 ioctl=16 shmget=29 shmat=30 socket=41 socketpair=53 clone=56 semget=64 shmdt=67 msgget=68 "
            "mkdir=83 creat=85 chmod=90 fchmod=91 chown=92 fchown=93 lchown=94 ptrace=101 syslog=103 utime=132 "
            "mknod=133 setpriority=141 sched_setparam=142 sched_setscheduler=144 pivot_root=155 chroot=161 mount=165 "
            "umount2=166 setxattr=188 lsetxattr=189 fsetxattr=190 removexattr=197 lremovexattr=198 fremovexattr=199 "
            "sched_setaffinity=203 utimes=235 mq_open=240 kexec_load=246 add_key=248 request_key=249 keyctl=250 "
            "ioprio_set=251 inotify_add_watch=254 migrate_pages=256 openat=257 mkdirat=258 mknodat=259 fchownat=260 "
            "futimesat=261 fchmodat=268 unshare=272 move_pages=279 utimensat=280 perf_event_open=298 fanotify_init=300 "
            "prlimit64=302 name_to_handle_at=303 open_by_handle_at=304 setns=308 process_vm_readv=310 "
            "process_vm_writev=311 kcmp=312 sched_setattr=314 bpf=321 userfaultfd=323 io_uring_setup=425 "
            "io_uring_enter=426 io_uring_register=427 open_tree=428 move_mount=429 fsopen=430 fsmount=432 fspick=433 "
            "open_tree_attr=467 clone3=435 openat2=437 pidfd_getfd=438 process_madvise=440 mount_setattr=442 "
            "fchmodat2=452 setxattrat=463 removexattrat=466 file_setattr=469"
        ),
        has_x32=True,
    ),
    "aarch64": _Machine(
        0xC00000B7,
        _numbers(
            "unlinkat=35 symlinkat=36 linkat=37 renameat=38 truncate=45 renameat2=276 "
            "setxattr=5 lsetxattr=6 fsetxattr=7 removexattr=14 lremovexattr=15 fremovexattr=16 inotify_add_watch=27 "
            "ioctl=29 ioprio_set=30 mknodat=33 mkdirat=34 umount2=39 mount=40 pivot_root=41 chroot=51 fchmod=52 "
            "fchmodat=53 fchownat=54 fchown=55 openat=56 utimensat=88 unshare=97 kexec_load=104 syslog=116 ptrace=117 "
            "sched_setparam=118 sched_setscheduler=119 sched_setaffinity=122 setpriority=140 mq_open=180 msgget=186 "
            "semget=190 shmget=194 shmat=196 shmdt=197 socket=198 socketpair=199 add_key=217 request_key=218 "
            "keyctl=219 clone=220 migrate_pages=238 move_pages=239 perf_event_open=241 prlimit64=261 fanotify_init=262 "
            "name_to_handle_at=264 open_by_handle_at=265 setns=268 process_vm_readv=270 process_vm_writev=271 kcmp=272 "
            "sched_setattr=274 bpf=280 userfaultfd=282 io_uring_setup=425 io_uring_enter=426 io_uring_register=427 "
            "open_tree_attr=467 open_tree=428 move_mount=429 fsopen=430 fsmount=432 fspick=433 clone3=435 "
            "openat2=437 pidfd_getfd=438 process_madvise=440 mount_setattr=442 fchmodat2=452 "
            "setxattrat=463 removexattrat=466 file_setattr=469"
        ),
    ),
}

FOREIGN = (
    "add_key bpf chroot fanotify_init fsmount fsopen fspick kcmp kexec_load keyctl migrate_pages mount mount_setattr "
    "move_mount move_pages name_to_handle_at open_by_handle_at open_tree open_tree_attr perf_event_open pidfd_getfd "
    "pivot_root process_madvise process_vm_readv process_vm_writev ptrace request_key setns syslog umount2 "
    "unshare userfaultfd"
).split()
"""Kernel objects and processes of others, mounts, namespaces."""

AVOIDED = "clone3 file_setattr io_uring_enter io_uring_register io_uring_setup openat2".split()
"""Newer ways, with their arguments behind a pointer, to what the filter looks at in the older ones."""

UNSEEN_BY_LANDLOCK = (
    "chown fchown fchownat fremovexattr fsetxattr futimesat inotify_add_watch lchown lremovexattr lsetxattr mq_open "
    "msgget removexattr removexattrat semget setxattr setxattrat shmat shmdt shmget utime utimes"
).split()
"""What reaches files by path, or memory of others, without that Landlock would be asked."""

BROKERED = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "utimensat": None}
"""The same, but needed: these go to the broker. With the argument that holds the permissions."""

NAMING = "link linkat rename renameat renameat2 rmdir symlink symlinkat truncate unlink unlinkat".split()
OPENING = ("creat", "mkdir", "mkdirat", "open", "openat")
"""What reaches files by their names. These go to the broker, too, where something was opened by its name: Landlock can
allow what is in a folder, but not one name in it.
"""

MADE_WITH_MODE = {"creat": 1, "mkdir": 1, "mkdirat": 2, "mknod": 1, "mknodat": 2}
OF_A_PROCESS = {
    "prlimit64": 0,
    "sched_setaffinity": 0,
    "sched_setattr": 0,
    "sched_setparam": 0,
    "sched_setscheduler": 0,
    "setpriority": 1,
    "ioprio_set": 1,
}
"""With the argument that holds a process id: only 0, oneself, is allowed."""


def known_machine() -> bool:
    """Whether there is a filter for this machine's processor."""
    return platform.machine() in _MACHINES


def filter_for(*, landlock: bool, network: bool, names: bool = False) -> bytes:
    """The filter as the kernel takes it: instructions of 8 bytes.

    Without `landlock` the command is taken to be in namespaces of its own (but for the network's, with `network`). With
    `names` the broker is handed what reaches files by their names.
    """
    return _filter(platform.machine(), landlock, network, names)


@cache
def _filter(name: str, landlock: bool, network: bool, names: bool) -> bytes:
    program = _Program(_MACHINES[name])
    for name in FOREIGN:
        program.refuse(name, errno.EPERM)
    for name in AVOIDED:
        program.refuse(name, errno.ENOSYS)
    program.refuse_bits("clone", 0, NEW_NAMESPACES)
    program.refuse_values("ioctl", 1, (TIOCSTI, TIOCLINUX))
    for name, argument in MADE_WITH_MODE.items():
        program.refuse_bits(name, argument, SET_ID_BITS, otherwise=NOTIFY if names and name in OPENING else ALLOW)
    for name, flags, argument in (("open", 1, 2), ("openat", 2, 3)):
        only_with, otherwise = (flags, O_CREAT | O_TMPFILE), NOTIFY if names else ALLOW
        program.refuse_bits(name, argument, SET_ID_BITS, only_with=only_with, otherwise=otherwise)
    for name in NAMING if names else ():
        program.add(name, [(RETURN, 0, 0, NOTIFY)])
    for name, mode in BROKERED.items():
        if mode is not None:
            program.refuse_bits(name, mode, SET_ID_BITS, otherwise=NOTIFY if landlock else ALLOW)
        elif landlock:
            program.add(name, [(RETURN, 0, 0, NOTIFY)])
    _sockets(program, landlock=landlock, network=network)
    if landlock:
        for name in UNSEEN_BY_LANDLOCK:
            program.refuse(name, errno.ENOSYS if name.endswith(("attr", "attrat")) else errno.EPERM)
        for name, argument in OF_A_PROCESS.items():
            program.refuse_all_but(name, argument, (0,))
    return program.assemble()


def _sockets(program: _Program, *, landlock: bool, network: bool) -> None:
    """Unix sockets reach services of the host by path or by name, unless a namespace keeps these away."""
    internet = (AF_INET, AF_INET6, AF_NETLINK)
    if network:
        program.refuse_all_but("socket", 0, internet, code=errno.EAFNOSUPPORT)
    elif landlock:
        program.refuse("socket", errno.EPERM)
    else:
        program.refuse_all_but("socket", 0, (AF_UNIX, *internet), code=errno.EAFNOSUPPORT)
    if landlock or network:
        # a pair of datagram sockets can still send to any address; connected streams cannot
        program.refuse_all_but("socketpair", 1, (STREAM, SEQPACKET), mask=TYPE_BITS)


_Instruction = tuple[int, int, int, int]


class _Program:
    """Checks one after the other; a call that none of them knows is allowed."""

    def __init__(self, machine: _Machine) -> None:
        self._machine = machine
        self._checks: list[_Instruction] = []

    def add(self, name: str, body: list[_Instruction]) -> None:
        """Run this for the call of that name, where this machine has it. The body ends with a return."""
        number = self._machine.numbers.get(name)
        if number is not None:
            self._checks += [(EQUAL, 0, len(body), number), *body]

    def refuse(self, name: str, code: int) -> None:
        self.add(name, [(RETURN, 0, 0, ERROR | code)])

    def refuse_bits(
        self, name: str, argument: int, bits: int, *, only_with: tuple[int, int] | None = None, otherwise: int = ALLOW
    ) -> None:
        """Refuse where one of these bits is set in the argument, and one of `only_with` in that other one."""
        body = [_load(argument), (SET, 0, 1, bits), (RETURN, 0, 0, ERROR | errno.EPERM), (RETURN, 0, 0, otherwise)]
        if only_with is not None:
            other, needed = only_with
            body = [_load(other), (SET, 0, 3, needed), *body]
        self.add(name, body)

    def refuse_values(self, name: str, argument: int, values: tuple[int, ...]) -> None:
        count = len(values)
        tests = [(EQUAL, count - index, 0, value) for index, value in enumerate(values)]
        self.add(name, [_load(argument), *tests, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERROR | errno.EPERM)])

    def refuse_all_but(
        self,
        name: str,
        argument: int,
        values: tuple[int, ...],
        *,
        mask: int = 0xFFFFFFFF,
        code: int = errno.EPERM,
    ) -> None:
        count = len(values)
        tests = [(EQUAL, count - index, 0, value) for index, value in enumerate(values)]
        body = [_load(argument), (AND, 0, 0, mask), *tests, (RETURN, 0, 0, ERROR | code), (RETURN, 0, 0, ALLOW)]
        self.add(name, body)

    def assemble(self) -> bytes:
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in self._instructions())

    def _instructions(self) -> Iterator[_Instruction]:
        yield (LOAD, 0, 0, ARCHITECTURE)
        yield (EQUAL, 1, 0, self._machine.audit)
        yield (RETURN, 0, 0, ERROR | errno.ENOSYS)
        yield (LOAD, 0, 0, NUMBER)
        if self._machine.has_x32:
            yield (GREATER_EQUAL, 0, 1, X32)
            yield (RETURN, 0, 0, ERROR | errno.ENOSYS)
        yield from self._checks
        yield (RETURN, 0, 0, ALLOW)


def _load(argument: int) -> _Instruction:
    """The lower half of an argument: all that the kernel looks at in those that are checked here."""
    return (LOAD, 0, 0, ARGUMENTS + 8 * argument)
