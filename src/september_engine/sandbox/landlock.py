"""Landlock: a command that may only open what is listed, for where namespaces are not to be had.

Landlock guards files, TCP, signals and debugging; a seccomp filter refuses what it does not know; capabilities are
dropped and cannot be regained. The command is in the same world as the engine, so it can tell that files outside exist,
and see the names of other processes, but not more.

Landlock can only allow, a folder and all that is in it. Two things follow. What a job protects inside of a writable
folder can be changed while the command runs, and is put back before its outcome is given. And in a folder that holds
something hidden, or is on the way to it, what is there can be changed, but nothing can be made, renamed or removed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from ..errors import ConfigurationError
from . import _syscalls as kernel
from ._order import Order
from ._process import limits_of
from ._seccomp import filter_for, known_machine
from ._system import DEVICES, NAMES, RESOLVER, SYSTEM_FOLDERS
from ._view import Held, outermost, problem_of, view_of
from ._watched import BARE_PYTHON, check, run_watched
from .base import Job, Outcome

__all__ = ["Landlock"]

NEEDED_VERSION = 6
"""The first that keeps signals in (Linux 6.12): before, a command could end the engine."""

LIST = 1 << 3
WRITE = kernel.ALL_RIGHTS & ~kernel.MAKE_DEVICES
USERS = ("/etc/group", "/etc/passwd")

Rule = tuple[str, int, bool]


class Landlock:
    """The sandbox on Landlock, seccomp and rlimits; needs Linux 6.12, and nothing to be installed.

    `readable` are further folders that commands may read; `python` runs the watcher. Raises `ConfigurationError`, with
    the reason, where it does not work here: it is tried once.
    """

    name = "landlock"
    confines = True
    scratch = ()

    def __init__(self, *, readable: Sequence[str] = (), python: str = BARE_PYTHON) -> None:
        self._readable = tuple(readable)
        self._python = python
        if not known_machine() or not sys.platform.startswith("linux"):
            raise ConfigurationError("Landlock is only supported on Linux on x86_64 and aarch64.")
        version = kernel.landlock_version()
        if version < NEEDED_VERSION:
            raise ConfigurationError(
                f"This system's Landlock cannot keep signals in: it has version {version} and must have "
                f"{NEEDED_VERSION} (Linux 6.12 or newer, `landlock` among its lsm=)."
            )
        job = Job(argv=("true",), cwd="/", environment={"PATH": "/usr/bin:/bin"})
        if problem := check(self._order(job, []), python=python):
            raise ConfigurationError(f"Landlock does not work here: {problem}.")

    def problem(self, job: Job, /) -> str | None:
        """As the port says."""
        return problem_of(job, readable=(*SYSTEM_FOLDERS, *self._readable))

    async def run(self, job: Job, /) -> Outcome:
        """As the port says."""
        held = view_of(job, readable=(*SYSTEM_FOLDERS, *self._readable))
        return await run_watched(job, self._order(job, held), python=self._python)

    def _order(self, job: Job, held: Sequence[Held]) -> Order:
        hidden = [one for one in held if one.hidden and one.state == "here"]
        fixed = {folder for one in hidden for folder in (one.root, *one.way)}
        guarded = [one for one in held if one not in hidden and os.path.dirname(one.path) not in fixed]
        guarded += [one for one in held if not one.hidden and one.state == "here" and one not in guarded]
        return Order(
            parent=os.getpid(),
            argv=job.argv,
            cwd=job.cwd,
            environment=dict(job.environment),
            limits=limits_of(job),
            landlock=True,
            tcp=not job.network,
            rules=(*self._system(job), *_folders(job, hidden, fixed), *_opened(job)),
            program=filter_for(landlock=True, network=job.network, names=bool(job.opened)),
            guards=tuple(dict.fromkeys((one.root, one.path) for one in guarded)),
            writable=job.writable,
            held=tuple(sorted(one.path for one in held)),
            fixed=tuple(sorted(fixed)),
            opened=job.opened,
        )

    def _system(self, job: Job) -> Iterator[Rule]:
        for path in (*SYSTEM_FOLDERS, *NAMES, *USERS, *(RESOLVER if job.network else ()), *self._readable, "/proc"):
            yield path, kernel.READ, True
        for path in DEVICES:
            yield path, kernel.FILE_RIGHTS, False


def _opened(job: Job) -> Iterator[Rule]:
    """What is there already; what is to be made, replaced or removed is for the broker."""
    for path in job.opened:
        yield path, WRITE, False
    for path in job.readable:
        yield path, kernel.READ, False


def _folders(job: Job, hidden: Sequence[Held], fixed: set[str]) -> Iterator[Rule]:
    secret = {one.path for one in hidden}
    unlisted = {folder for one in hidden if one.folder for folder in (one.root, *one.way)}
    for root in outermost(job.writable):
        if root in fixed:
            yield from _around(root, fixed, secret, unlisted)
        else:
            yield root, WRITE, False


def _around(folder: str, fixed: set[str], secret: set[str], unlisted: set[str]) -> Iterator[Rule]:
    """Everything in the folder but what is secret; the folder itself can at most be listed."""
    if folder not in unlisted:
        yield folder, LIST, False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.path in fixed:
                yield from _around(entry.path, fixed, secret, unlisted)
            elif entry.path not in secret:
                yield entry.path, WRITE, False
