"""The filters, run by an interpreter of their language: what they decide about a call."""

from __future__ import annotations

import errno
import platform
import struct
import subprocess
import sys

import pytest

from september_engine.sandbox import _seccomp
from september_engine.sandbox._seccomp import ALLOW, ERROR, NOTIFY, filter_for

X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
NUMBERS = _seccomp._MACHINES["x86_64"].numbers
EPERM, ENOSYS, NO_FAMILY = ERROR | errno.EPERM, ERROR | errno.ENOSYS, ERROR | errno.EAFNOSUPPORT


@pytest.fixture(autouse=True)
def on_x86_64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def decide(program: bytes, number: int, *arguments: int, audit: int = X86_64) -> int:
    """What the kernel would do: the value of the return that is reached."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    at, accumulator = 0, 0
    while True:
        code, if_true, if_false, constant = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case _seccomp.LOAD:
                (accumulator,) = struct.unpack_from("=I", data, constant)
            case _seccomp.AND:
                accumulator &= constant
            case _seccomp.EQUAL:
                at += if_true if accumulator == constant else if_false
            case _seccomp.GREATER_EQUAL:
                at += if_true if accumulator >= constant else if_false
            case _seccomp.SET:
                at += if_true if accumulator & constant else if_false
            case _seccomp.RETURN:
                return int(constant)
            case _:
                raise AssertionError(f"no instruction: {code:#x}")


CONFINED = {"landlock": False, "network": False}
CONNECTED = {"landlock": False, "network": True}
LANDLOCK = {"landlock": True, "network": False}
LANDLOCK_CONNECTED = {"landlock": True, "network": True}
ALL = (CONFINED, CONNECTED, LANDLOCK, LANDLOCK_CONNECTED)
UNIX, INTERNET, PACKETS = 1, 2, 17
STREAM, DATAGRAM, CLOSE_ON_EXEC = 1, 2, 0o2000000


@pytest.mark.parametrize(
    ("walls", "name", "arguments", "decision"),
    [
        *(
            (walls, name, (), EPERM)
            for walls in ALL
            for name in ("ptrace", "mount", "unshare", "setns", "bpf", "keyctl")
        ),
        *((walls, name, (), ENOSYS) for walls in ALL for name in ("io_uring_setup", "clone3", "openat2")),
        *((walls, "clone", (0x11,), ALLOW) for walls in ALL),
        *((walls, "clone", (0x10000011,), EPERM) for walls in ALL),
        *((walls, "ioctl", (0, 0x5412), EPERM) for walls in ALL),
        *((walls, "ioctl", (0, 0x5401), ALLOW) for walls in ALL),
        *((walls, "openat", (0, 0, 0o101, 0o644), ALLOW) for walls in ALL),
        *((walls, "openat", (0, 0, 0o101, 0o4755), EPERM) for walls in ALL),
        *((walls, "openat", (0, 0, 0, 0o4755), ALLOW) for walls in ALL),  # not created: the mode means nothing
        *((walls, "open", (0, 0o101, 0o2755), EPERM) for walls in ALL),
        *((walls, "mkdir", (0, 0o2755), EPERM) for walls in ALL),
        *((walls, "fchmodat", (0, 0, 0o4755), EPERM) for walls in ALL),
        (CONFINED, "fchmodat", (0, 0, 0o755), ALLOW),
        (LANDLOCK, "fchmodat", (0, 0, 0o755), NOTIFY),
        (CONFINED, "utimensat", (), ALLOW),
        (LANDLOCK, "utimensat", (), NOTIFY),
        (CONFINED, "socket", (UNIX,), ALLOW),
        (CONFINED, "socket", (INTERNET,), ALLOW),
        (CONFINED, "socket", (PACKETS,), NO_FAMILY),
        (CONNECTED, "socket", (INTERNET,), ALLOW),
        (CONNECTED, "socket", (UNIX,), NO_FAMILY),
        (LANDLOCK, "socket", (INTERNET,), EPERM),
        (LANDLOCK, "socket", (UNIX,), EPERM),
        (LANDLOCK_CONNECTED, "socket", (INTERNET,), ALLOW),
        (LANDLOCK_CONNECTED, "socket", (UNIX,), NO_FAMILY),
        (CONFINED, "socketpair", (UNIX, DATAGRAM), ALLOW),
        (LANDLOCK, "socketpair", (UNIX, DATAGRAM), EPERM),
        (LANDLOCK, "socketpair", (UNIX, STREAM | CLOSE_ON_EXEC), ALLOW),
        (CONFINED, "prlimit64", (7,), ALLOW),
        (LANDLOCK, "prlimit64", (7,), EPERM),
        (LANDLOCK, "prlimit64", (0,), ALLOW),
        (LANDLOCK, "setpriority", (0, 7), EPERM),
        (LANDLOCK, "setpriority", (0, 0), ALLOW),
        (CONFINED, "shmget", (), ALLOW),
        (LANDLOCK, "shmget", (), EPERM),
        (LANDLOCK, "setxattr", (), ENOSYS),
    ],
)
def test_a_call_is_decided(walls: dict[str, bool], name: str, arguments: tuple[int, ...], decision: int) -> None:
    assert decide(filter_for(**walls), NUMBERS[name], *arguments) == decision


@pytest.mark.parametrize("walls", ALL)
def test_what_is_not_named_is_allowed(walls: dict[str, bool]) -> None:
    read, write, execve = 0, 1, 59
    assert {decide(filter_for(**walls), number) for number in (read, write, execve)} == {ALLOW}


def test_the_upper_half_of_an_argument_changes_nothing() -> None:
    program = filter_for(landlock=True, network=True)
    assert decide(program, NUMBERS["socket"], UNIX | 1 << 32) == NO_FAMILY


def test_calls_in_the_language_of_another_processor_are_refused() -> None:
    program = filter_for(landlock=False, network=True)
    assert decide(program, 3, audit=I386) == ENOSYS
    assert decide(program, 0x40000000 | 1) == ENOSYS


def test_the_other_processor_has_a_filter_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    program = filter_for(landlock=True, network=False)
    numbers = _seccomp._MACHINES["aarch64"].numbers
    assert decide(program, numbers["socket"], INTERNET, audit=AARCH64) == EPERM
    assert decide(program, numbers["fchmodat"], 0, 0, 0o755, audit=AARCH64) == NOTIFY
    assert decide(program, 0x40000000 | 1, audit=AARCH64) == ALLOW


def test_a_processor_that_is_not_known_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _seccomp.known_machine()
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    assert not _seccomp.known_machine()


def test_every_name_in_the_tables_is_a_call_of_some_processor() -> None:
    named = {*_seccomp.FOREIGN, *_seccomp.AVOIDED, *_seccomp.UNSEEN_BY_LANDLOCK, *_seccomp.BROKERED}
    known = {name for machine in _seccomp._MACHINES.values() for name in machine.numbers}
    assert named - known == set()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a kernel that has seccomp")
def test_the_kernel_takes_the_filters_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if not _seccomp.known_machine():
        pytest.skip("no filter for this machine")
    for walls in ALL:
        code = (
            "import ctypes, sys; program = bytes.fromhex(sys.argv[1])\n"
            "class P(ctypes.Structure): _fields_ = [('n', ctypes.c_ushort), ('p', ctypes.c_char_p)]\n"
            "libc = ctypes.CDLL(None); libc.prctl(38, 1, 0, 0, 0)\n"
            "sys.exit(libc.prctl(22, 2, ctypes.byref(P(len(program) // 8, program))))"
        )
        subprocess.run([sys.executable, "-c", code, filter_for(**walls).hex()], check=True, timeout=30)
