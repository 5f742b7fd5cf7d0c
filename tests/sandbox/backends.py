"""The sandboxes of this machine for tests, each tried once."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from september_engine.errors import ConfigurationError
from september_engine.sandbox.base import Job, Outcome, Sandbox
from september_engine.sandbox.choice import choose_sandbox

__all__ = ["NOBODY", "bash_job", "processes_with", "python_of", "sandbox_or_skip", "shell"]

NOBODY = 65534

TOOLCHAINS = tuple(sorted({os.path.realpath(sys.prefix), os.path.realpath(sys.base_prefix)}))


@cache
def _sandbox(name: str) -> Sandbox | str:
    try:
        return choose_sandbox(name, readable=TOOLCHAINS)  # type: ignore[arg-type]  # one of the names
    except ConfigurationError as error:
        return error.message


def sandbox_or_skip(name: str) -> Sandbox:
    """This sandbox; a test that needs it is skipped where it does not work, and says why."""
    found = _sandbox(name)
    if isinstance(found, str):
        pytest.skip(f"no {name} here: {found}")
    return found


@cache
def python_of(user: int | None) -> str | None:
    """A Python that this user (None: ourselves) can run, and that is no older than ours must be."""
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run([candidate, "-I", "-c", code], user=user, cwd="/", capture_output=True, check=False)
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def bash_job(command: str, folder: Path, **more: object) -> Job:
    """A command for bash, in a folder that it may change."""
    options: dict[str, object] = {
        "argv": ("/bin/bash", "--noprofile", "--norc", "-c", command),
        "cwd": str(folder),
        "environment": {"PATH": "/usr/bin:/bin"},
        "writable": (str(folder),),
        "seconds": 20.0,
        **more,
    }
    return Job(**options)  # type: ignore[arg-type]  # as the caller says


async def shell(sandbox: Sandbox, command: str, folder: Path, **more: object) -> Outcome:
    """How the command ended."""
    return await sandbox.run(bash_job(command, folder, **more))


def processes_with(mark: str) -> list[int]:
    """The processes that have this in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
