"""The programs that are known. What is not here asks."""

from __future__ import annotations

from collections.abc import Mapping

from .._patterns import is_below
from . import git, network, projects, readers, scripts, wrappers, writers
from .call import Call, Judge, Outcome
from .doubt import NotUnderstood, UnknownProgram
from .values import absolute

__all__ = ["judge"]

KNOWN: Mapping[str, Judge] = {
    **readers.PROGRAMS,
    **scripts.PROGRAMS,
    **writers.PROGRAMS,
    **git.PROGRAMS,
    **network.PROGRAMS,
    **projects.PROGRAMS,
    **wrappers.PROGRAMS,
}

NEVER: Mapping[str, str] = {
    **dict.fromkeys("eval source .".split(), "it runs a text in this very shell"),
    **dict.fromkeys("exec builtin alias unalias trap enable shopt hash".split(), "it changes what the shell does next"),
    **dict.fromkeys("declare typeset local readonly let unset".split(), "it changes variables in ways that run code"),
}
"""What no rule can speak for: the commands after it mean something else."""

WHY_NOT: Mapping[str, str] = {
    **dict.fromkeys("sudo su doas pkexec runuser".split(), "it runs something with the rights of another user"),
    **dict.fromkeys("kill pkill killall xkill fuser".split(), "it ends processes"),
    **dict.fromkeys("docker podman kubectl nerdctl lxc".split(), "it runs programs out of reach"),
    **dict.fromkeys("crontab at batch systemctl service launchctl".split(), "it makes the machine run something later"),
    **dict.fromkeys("mount umount mkfs fdisk mknod chown chgrp reboot shutdown".split(), "it changes the machine"),
    **dict.fromkeys("vi vim nvim emacs nano ed ex less more man".split(), "it is made for a person, and runs commands"),
}

SYSTEM = ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin")


def judge(call: Call) -> Outcome:
    """What comes of a call. Raises `NotUnderstood`."""
    folder, slash, name = call.program.rpartition("/")
    if not slash:
        return _known(call, name)
    if folder in SYSTEM:
        return _known(Call(name, call.arguments, call.cwd, call.start), name)
    if not is_below(absolute(call.program, call.cwd), call.start):
        raise NotUnderstood(f"the program {call.program} is not known")
    # its name says how it wants to be judged, its place that nobody knows what it is
    if name in KNOWN:
        outcome = _known(Call(name, call.arguments, call.cwd, call.start), name)
        return Outcome(effects=outcome.effects, opaque=True, runs=outcome.runs)
    return projects.in_workspace(call)


def _known(call: Call, name: str) -> Outcome:
    if name in KNOWN:
        return KNOWN[name](call)
    if name in NEVER:
        raise NotUnderstood(f"{name}: {NEVER[name]}")
    raise UnknownProgram(f"{name}: {WHY_NOT[name]}" if name in WHY_NOT else f"the program {name} is not known")
