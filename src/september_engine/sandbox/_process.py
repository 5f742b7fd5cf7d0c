"""One child process: started, listened to, ended in time. What all ways of running a command share.

1. A call ends when the child does, not when its output does: somebody else may hold that for hours.
2. Memory is flat however much comes: a head and a tail are kept, the rest is counted.
3. However the wait ends, by time, cancellation or an error, the child is gone when it has ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import anyio
import attrs

from .base import GRACE_SECONDS, Job, Outcome, SandboxFailed

__all__ = [
    "Ended",
    "Grip",
    "Kept",
    "ended",
    "limit",
    "limits_of",
    "memory_file",
    "outcome_of",
    "read_soon",
    "run_child",
]

DRAIN_SECONDS = 0.1
"""How long output that is still under way may take after the end of the child."""

OBEY_SECONDS = GRACE_SECONDS - 0.5
"""How long a child that is asked to stop may take for it before it is killed."""

CHUNK = 1 << 18
PIPE_BYTES = 1 << 20


class Grip(Protocol):
    """How one kind of child is held."""

    async def begin(self) -> None:
        """What is to be done once the child has been started."""
        ...

    async def stop(self, child: subprocess.Popen[bytes]) -> None:
        """Ask it, or make it, to end with all that it started. Called at most once, maybe in the middle of `begin`."""
        ...

    async def gone(self) -> None:
        """Wait until nothing of it is left; called when the child itself has ended."""
        ...


class Kept:
    """The head and the tail of bytes that come in pieces, and how many there were between."""

    def __init__(self, *, head: int, tail: int) -> None:
        self._head_room, self._tail_room = head, tail
        self._head = bytearray()
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._left_out = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if piece:
            self._pieces.append(piece)
            self._held += len(piece)
        while self._pieces and self._held - len(self._pieces[0]) >= self._tail_room:
            gone = len(self._pieces.popleft())
            self._held -= gone
            self._left_out += gone

    def parts(self) -> tuple[bytes, bytes, int]:
        """Head, tail, and the number of bytes between."""
        joined = b"".join(self._pieces)
        over = max(len(joined) - self._tail_room, 0)
        return bytes(self._head), joined[over:], self._left_out + over


@attrs.frozen
class Ended:
    """How a child ended; `code` as `subprocess` has it."""

    code: int
    kept: Kept
    timed_out: bool
    duration_ms: int


async def run_child(argv: Sequence[str], *, job: Job, files: Sequence[int], grip: Grip) -> Ended:
    """Start this program, with an empty environment and these files open, and see it through.

    Cancelling stops it, and takes at most `GRACE_SECONDS`. Raises `SandboxFailed` where it cannot be started.
    """
    began = time.monotonic()
    kept = Kept(head=job.head, tail=job.tail)
    child, output = _started(argv, files)
    pidfd = _pidfd(child.pid)
    drained = _listen(output, kept)
    dead = asyncio.ensure_future(ended(pidfd) if pidfd is not None else anyio.to_thread.run_sync(child.wait))
    try:
        with anyio.move_on_after(job.seconds) as limit:
            await grip.begin()
            await asyncio.wait((dead,))
    finally:
        with anyio.CancelScope(shield=True):
            if not dead.done():
                with anyio.move_on_after(OBEY_SECONDS):
                    await grip.stop(child)
                    await asyncio.wait((dead,))
            if not dead.done():
                child.kill()
                await asyncio.wait((dead,))
            with anyio.move_on_after(OBEY_SECONDS):
                await grip.gone()
            await asyncio.wait((drained,), timeout=DRAIN_SECONDS)
        _hang_up(output, drained)
        code = child.wait()
        if pidfd is not None:
            os.close(pidfd)
    return Ended(code, kept, limit.cancelled_caught, round((time.monotonic() - began) * 1000))


def _started(argv: Sequence[str], files: Sequence[int]) -> tuple[subprocess.Popen[bytes], int]:
    reads, writes = os.pipe()
    try:
        _widen(reads)
        child = subprocess.Popen(
            list(argv),
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=writes,
            stderr=writes,
            pass_fds=tuple(files),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reads)
        raise SandboxFailed(f"{argv[0]} cannot be started: {error.strerror}.") from error
    finally:
        os.close(writes)
    return child, reads


def _widen(pipe: int) -> None:
    """Fewer, larger reads, where the system's limits for a user allow it."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            return


def _pidfd(pid: int) -> int | None:
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None


def _listen(output: int, kept: Kept) -> asyncio.Future[None]:
    """Keep what comes; the future is done at the end of it."""
    loop = asyncio.get_running_loop()
    drained = loop.create_future()
    os.set_blocking(output, False)

    def read() -> None:
        try:
            piece = os.read(output, CHUNK)
        except BlockingIOError:
            return
        if piece:
            kept.feed(piece)
        else:
            loop.remove_reader(output)
            _settle(drained)

    loop.add_reader(output, read)
    return drained


def _hang_up(output: int, drained: asyncio.Future[None]) -> None:
    asyncio.get_running_loop().remove_reader(output)
    drained.cancel()
    os.close(output)


async def ended(pidfd: int) -> None:
    """Wait for the end of this process. Cancelling stops the wait."""
    await _readable(pidfd)


async def _readable(file: int) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(file, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(file)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def read_soon(file: int) -> bytes:
    """What can be read there as soon as anything can; b"" at its end."""
    await _readable(file)
    return os.read(file, 1 << 16)


def memory_file(content: bytes) -> int:
    """A file of this content that has no name: for what a child is to read."""
    file = os.memfd_create("september")
    with open(file, "wb", closefd=False) as opened:
        opened.write(content)
    os.lseek(file, 0, os.SEEK_SET)
    return file


def limits_of(job: Job) -> dict[str, int]:
    """The job's rlimits, by their names in `resource`."""
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_DATA": job.memory,
        "RLIMIT_FSIZE": job.file_size,
        "RLIMIT_NPROC": job.processes,
    }


def limit(pid: int, limits: Mapping[str, int]) -> None:
    """Set these rlimits for another process of this user, and let it go first when memory runs out."""
    for name, value in limits.items():
        kind = getattr(resource, name)
        most = resource.prlimit(pid, kind)[1]
        wanted = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.prlimit(pid, kind, (wanted, wanted))
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="utf-8")
    except OSError:  # its /proc belongs to somebody else: then it takes its chances
        return


def outcome_of(end: Ended, code: int, notes: tuple[str, ...] = ()) -> Outcome:
    """The outcome of a command that ended with this code: negative for a signal, or as shells tell of one."""
    exit_code = 128 - code if code < 0 else code
    head, tail, left_out = end.kept.parts()
    return Outcome(
        head=head,
        tail=tail,
        left_out=left_out,
        exit_code=exit_code,
        signal=_signal_name(exit_code - 128),
        timed_out=end.timed_out,
        duration_ms=end.duration_ms,
        notes=notes,
    )


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
