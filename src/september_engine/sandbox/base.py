"""The port every sandbox implements: run one command so that nothing of it gets out or stays.

A sandbox decides nothing. What a command may write, what it must not see, and whether it has a network is said in its
job; everything the job does not name is out of its reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs
import msgspec

from ..errors import EngineError

__all__ = ["GRACE_SECONDS", "Job", "OpeningSandbox", "Outcome", "Sandbox", "SandboxFailed"]

GRACE_SECONDS = 2.0
"""The longest that a command is still there after its time is up or its call was cancelled."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class SandboxFailed(EngineError):
    """The command was not run, because it could not be confined as its job asks. The fault is not the command's."""


@attrs.frozen(kw_only=True)
class Job:
    """One command, and the world it may see. Paths are absolute, normalised and without symbolic links.

    Attributes:
        argv: The program, found on the `PATH` of `environment`, and its arguments.
        cwd: The folder it starts in; below one of `writable`.
        environment: All of it; nothing is inherited.
        writable: Folders it may read and change.
        protected: Paths inside of these that it may read only. One that does not exist cannot be made.
        hidden: Paths inside of these that it may not even read. One that does not exist cannot be made.
        opened: What a person, or a rule, opened for this command outside of `writable`: each path, there or not, it may
            make, change, replace and remove, with all below it, and nothing beside it.
        removed: Those of `opened` that it is known to remove or to move away.
        readable: What it may read besides, each with all below it.
        network: Whether it may talk to other hosts.
        seconds: How long it may take.
        head: Bytes kept from the beginning of what it writes to stdout and stderr.
        tail: Bytes kept from the end.
        memory: Bytes of data that each of its processes may have.
        processes: How many processes and threads it may have at once. The kernel does not hold root to it.
        file_size: Bytes that a file it writes may grow to.
    """

    argv: tuple[str, ...]
    cwd: str
    environment: Mapping[str, str] = attrs.field(factory=dict)
    writable: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    network: bool = False
    seconds: float = 120.0
    head: int = 24 * KIB
    tail: int = 8 * KIB
    memory: int = 4 * GIB
    processes: int = 512
    file_size: int = 4 * GIB


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended, and what it wrote: stdout and stderr as they came, raw.

    `left_out` counts the bytes between `head` and `tail` that were not kept. `exit_code` is as shells have it: 128 and
    the number of the signal where one ended the command, and then `signal` is its name. A command whose time was up
    has `timed_out`, and was killed. `notes` are sentences on what the sandbox did about it.
    """

    head: bytes
    tail: bytes
    left_out: int
    exit_code: int
    signal: str | None
    timed_out: bool
    duration_ms: int
    notes: tuple[str, ...] = ()


class Sandbox(Protocol):
    """Runs commands. One sandbox runs any number at once."""

    @property
    def name(self) -> str:
        """What it is, in one word."""
        ...

    @property
    def confines(self) -> bool:
        """Whether a command is held to what its job names: False only where the host's own code wants no walls."""
        ...

    @property
    def scratch(self) -> tuple[str, ...]:
        """Folders that each command has to itself and that are gone after it: writing there changes nothing."""
        ...

    async def run(self, job: Job, /) -> Outcome:
        """Run the command to its end, or to the end of its time. When this returns, nothing of it runs any more.

        It ends with the command, not with the last process that still holds its output: those are killed.
        Cancelling kills everything and takes at most `GRACE_SECONDS`. Raises `SandboxFailed`.
        """
        ...


@runtime_checkable
class OpeningSandbox(Sandbox, Protocol):
    """A sandbox that can open paths outside of a job's folders, for one command.

    With one that cannot, a command that needs such a path is refused, and nobody is asked about it.
    """

    def problem(self, job: Job, /) -> str | None:
        """Why it could not run this job as it asks, as far as can be told without running it; None where it can.

        It may look at the disk, and is called before a person is asked about the command.
        """
        ...
