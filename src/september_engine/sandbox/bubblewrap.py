"""bubblewrap: a command in namespaces of its own, where what it may not have is not there.

It sees the system's programs read-only, the job's folders, a /tmp, /proc and /dev of its own, and no network but its
own loopback. It is an ordinary user without capabilities there, also where the engine is root. When its first process
dies, the kernel kills all others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from ..errors import ConfigurationError
from ._placeholders import placeholders
from ._process import ended, limit, limits_of, memory_file, outcome_of, read_soon, run_child
from ._seccomp import filter_for, known_machine
from ._stage import stage_problem, staged
from ._system import NAMES, RESOLVER, SYSTEM_FOLDERS, namespaces_advice
from ._view import Held, outermost, problem_of, view_of
from .base import GIB, Job, Outcome, SandboxFailed

__all__ = ["Bubblewrap"]

USER = 1000
PASSWD = f"agent:x:{USER}:{USER}::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n".encode()
GROUP = f"agent:x:{USER}:\nnogroup:x:65534:\n".encode()

TMP_BYTES = GIB
SHARED_MEMORY_BYTES = GIB // 4

MASKED = ("acpi", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats", "vmallocinfo")
"""What of /proc tells of the machine, and root, who we may be outside, could read."""

PROBE_SECONDS = 10


class Bubblewrap:
    """The sandbox on `bwrap`, found on the PATH.

    `readable` are further folders that commands may read, such as a toolchain outside of /usr. Raises
    `ConfigurationError`, with what to do, where bubblewrap is missing or does not work here: it is tried once.
    """

    name = "bubblewrap"
    confines = True
    scratch = ("/tmp", "/dev/shm")

    def __init__(self, *, readable: Sequence[str] = ()) -> None:
        found = shutil.which("bwrap")
        if found is None:
            raise ConfigurationError("bubblewrap is not installed (apt install bubblewrap).")
        self._program = os.path.abspath(found)
        self._readable = tuple(readable)
        said = subprocess.run([found, "--help"], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        self._options = frozenset(said.stdout.split())
        self._probe()

    def _probe(self) -> None:
        job = Job(argv=("true",), cwd="/", environment={"PATH": "/usr/bin:/bin"})
        with ExitStack() as stack:
            files = _Files(stack)
            command = self._command(job, list(self._arguments(job, [], files)), files)
            try:
                done = subprocess.run(
                    command, env={}, pass_fds=files.numbers, capture_output=True, timeout=PROBE_SECONDS, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise ConfigurationError(f"bubblewrap cannot be run: {error}.") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[-300:] or f"exit code {done.returncode}"
            raise ConfigurationError(f"bubblewrap does not work here: {said}. {namespaces_advice()}")

    def problem(self, job: Job, /) -> str | None:
        """As the port says."""
        return problem_of(job, readable=(*SYSTEM_FOLDERS, *self._readable)) or stage_problem(job)

    async def run(self, job: Job, /) -> Outcome:
        """As the port says."""
        held = view_of(job, readable=(*SYSTEM_FOLDERS, *self._readable))
        with ExitStack() as stack:
            try:
                stack.enter_context(placeholders((one.path, one.folder) for one in held if one.state == "missing"))
            except OSError as error:
                raise SandboxFailed(f"{error.filename} cannot be protected: {error.strerror}.") from error
            stage = stack.enter_context(staged(job))
            files = _Files(stack)
            grip = _Namespace(stack, job)
            arguments = self._arguments(job, held, files, mounts=stage.mounts)
            command = self._command(job, [*arguments, *grip.arguments], files)
            end = await run_child(command, job=job, files=(*files.numbers, *grip.files), grip=grip)
            ran = grip.ran()
        if not ran and not end.timed_out:
            said = b"".join(end.kept.parts()[:2]).decode(errors="replace").strip()
            raise SandboxFailed(f"bubblewrap could not confine the command: {said or f'exit code {end.code}'}.")
        return outcome_of(end, end.code, tuple(stage.notes))

    def _command(self, job: Job, arguments: Sequence[str], files: _Files) -> list[str]:
        """The options go through a file, so that the command cannot read in /proc what was hidden from it."""
        return [self._program, "--args", str(files.add(_joined(arguments))), "--", *job.argv]

    def _arguments(
        self, job: Job, held: Sequence[Held], files: _Files, *, mounts: Sequence[tuple[str, str]] = ()
    ) -> Iterator[str]:
        yield from ("--unshare-all", "--unshare-user", "--uid", str(USER), "--gid", str(USER), "--cap-drop", "ALL")
        yield from ("--die-with-parent", "--new-session", "--hostname", "sandbox")
        if "--disable-userns" in self._options:
            yield "--disable-userns"
        if job.network:
            yield "--share-net"
        staged, opened = [one for one in mounts if one[0] != one[1]], [one for one in mounts if one[0] == one[1]]
        for source, path in staged:  # first, since what every command needs may be in the folder that one stands in for
            yield from ("--bind", source, path)
        yield from self._system(job, files)
        for path in (*self._readable, *job.readable):
            yield from ("--ro-bind-try", path, path)
        for source, path in opened:
            yield from ("--bind", source, path)
        for path in outermost(job.writable):
            yield from ("--bind", path, path)
        yield from _exceptions(held)
        yield from ("--remount-ro", "/")  # else it holds files, without a limit, that seem to have been written
        yield from ("--chdir", job.cwd)
        for name, value in job.environment.items():
            yield from ("--setenv", name, value)
        if known_machine():
            yield from ("--seccomp", str(files.add(filter_for(landlock=False, network=job.network))))

    def _system(self, job: Job, files: _Files) -> Iterator[str]:
        for path in SYSTEM_FOLDERS:
            if os.path.islink(path):
                yield from ("--symlink", os.readlink(path), path)
            else:
                yield from ("--ro-bind-try", path, path)
        for path in (*NAMES, *(RESOLVER if job.network else ())):
            yield from ("--ro-bind-try", os.path.realpath(path), path)
        for path, content in (("/etc/passwd", PASSWD), ("/etc/group", GROUP)):
            yield from ("--ro-bind-data", str(files.add(content)), path)
        yield from ("--proc", "/proc", "--dev", "/dev")
        for name in MASKED:
            path = f"/proc/{name}"
            if os.path.isdir(path):
                yield from ("--tmpfs", path, "--remount-ro", path)
            elif os.path.exists(path):
                yield from ("--ro-bind", "/dev/null", path)
        for path, size in (("/dev/shm", SHARED_MEMORY_BYTES), ("/tmp", TMP_BYTES)):
            if "--size" in self._options:
                yield from ("--size", str(size))
            yield from ("--tmpfs", path)
        # as root outside, we own /proc/sys, and the kernel asks for no more than that: read-only, all of it
        yield from ("--remount-ro", "/proc", "--remount-ro", "/dev")


def _exceptions(held: Sequence[Held]) -> Iterator[str]:
    """Mount over what is hidden, and read-only over what is protected.

    A folder on the way is mounted onto itself, so that nobody can move it away and make another in its place.
    """
    for folder in sorted({folder for one in held for folder in one.way}):
        yield from ("--bind", folder, folder)
    for one in held:
        if one.hidden and one.folder and one.state == "here":
            yield from ("--tmpfs", one.path, "--remount-ro", one.path)
        elif one.hidden and one.state == "here":
            yield from ("--ro-bind", "/dev/null", one.path)
        else:
            yield from ("--ro-bind", one.path, one.path)


def _joined(arguments: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(argument) + b"\0" for argument in arguments)


class _Files:
    """Files of given content, open as long as their stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.numbers: tuple[int, ...] = ()

    def add(self, content: bytes) -> int:
        file = memory_file(content)
        self._stack.callback(os.close, file)
        self.numbers = (*self.numbers, file)
        return file


class _Namespace:
    """The hold on a command: its namespace's first process, known before it goes on, whose end is the end of all."""

    def __init__(self, stack: ExitStack, job: Job) -> None:
        self._stack = stack
        self._limits = limits_of(job)
        told, says = os.pipe()
        waits, go = os.pipe()
        self._told, self._says, self._waits, self._go = (
            stack.enter_context(open(file, mode, buffering=0))
            for file, mode in ((told, "rb"), (says, "wb"), (waits, "rb"), (go, "wb"))
        )
        self.files = (says, waits)
        self.arguments = ("--json-status-fd", str(says), "--block-fd", str(waits))
        self._heard = b""
        self._first: int | None = None

    async def begin(self) -> None:
        """Limit the first process, and let it go on."""
        pid = await self._learn()
        if pid is not None:
            limit(pid, self._limits)
            self._go.write(b".")

    async def _learn(self) -> int | None:
        """Who the first process is; None where bubblewrap has ended before it made one."""
        self._says.close()
        self._waits.close()
        while b"}" not in self._heard:
            piece = await read_soon(self._told.fileno())
            if not piece:
                return None
            self._heard += piece
        pid: int = json.loads(self._heard.partition(b"}")[0] + b"}")["child-pid"]
        if self._first is None:
            self._first = os.pidfd_open(pid)
            self._stack.callback(os.close, self._first)
        return pid

    async def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Kill the first process, and the kernel kills the others; bubblewrap ends by itself then.

        Bubblewrap itself killed too early would leave a first process that waits for it for ever.
        """
        if await self._learn() is not None and self._first is not None:
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    async def gone(self) -> None:
        """The first process ends last."""
        if self._first is not None:
            await ended(self._first)

    def ran(self) -> bool:
        """Whether the command itself was reached."""
        os.set_blocking(self._told.fileno(), False)
        return b'"exit-code"' in self._heard + (self._told.read() or b"")
