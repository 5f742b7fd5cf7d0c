"""What a job protects and hides, looked up on the disk once, before its command starts.

A path that must stay as it is needs more than itself: who can move a folder above it away can make another in its
place. So each exception comes with the folders between it and the writable folder, its `way`; and a path that does not
exist is represented by the first part of it that is missing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Literal

import attrs

from ._placeholders import is_placeholder
from .base import Job, SandboxFailed

__all__ = ["Held", "outermost", "problem_of", "view_of"]


@attrs.frozen
class Held:
    """One exception within a writable folder.

    `path` is what to hold: the exception itself, the first missing part of it, or what stands in its way and is no
    folder. `way` are the existing folders from below the writable folder `root` down to it. `folder` says whether it
    is one, or, where it is missing, whether it would have to be.
    """

    root: str
    path: str
    way: tuple[str, ...]
    state: Literal["here", "missing"]
    folder: bool
    hidden: bool


def outermost(folders: Sequence[str]) -> list[str]:
    """These folders without those that are inside of others: who can change a folder can move what is in it."""
    return [one for one in dict.fromkeys(folders) if not any(one.startswith(f"{other}/") for other in folders)]


def view_of(job: Job, *, readable: Sequence[str]) -> list[Held]:
    """What to hold, once each, hidden before protected. `readable` is what the command sees beside its own folders.

    Raises `SandboxFailed` where a symbolic link is in the way, and where something hidden would be seen.
    """
    if "/" in job.writable:
        raise SandboxFailed("The whole machine cannot be writable: give a folder.", path="/")
    for path in (*job.protected, *job.hidden):
        if os.path.normpath(path) != path or not path.startswith("/"):
            raise SandboxFailed(f"{path} cannot be held: give it absolute and normalised.", path=path)
    for folder in (job.cwd, *job.writable):
        if os.path.realpath(folder) != folder:
            raise SandboxFailed(f"{folder} is not where it seems: give the folder that it leads to.", path=folder)
    for path in (*job.opened, *job.readable):
        folder = os.path.dirname(path)
        if os.path.realpath(folder) != folder:
            raise SandboxFailed(f"{path} leads elsewhere, through a link: give the path that it leads to.", path=path)
    for path in job.opened:
        if any(one == path or one.startswith(f"{path.rstrip('/')}/") for one in (*job.writable, *job.hidden)):
            raise SandboxFailed(f"{path} cannot be opened: it holds the workspace, or what is kept.", path=path)
    held: dict[str, Held] = {}
    for path, hidden in (*((each, True) for each in job.hidden), *((each, False) for each in job.protected)):
        one = _held(job, path, hidden)
        if one is not None:
            held.setdefault(one.path, one)
        elif hidden and any(path == folder or path.startswith(f"{folder}/") for folder in readable):
            raise SandboxFailed(f"{path} cannot be hidden: it is in a folder that every command may read.", path=path)
    return list(held.values())


def problem_of(job: Job, *, readable: Sequence[str]) -> str | None:
    """What `view_of` would raise for this job, or that what is opened for it holds one of its folders; or None."""
    try:
        view_of(job, readable=readable)
    except SandboxFailed as error:
        return error.message
    return None


def _held(job: Job, path: str, hidden: bool) -> Held | None:
    for root in job.writable:
        if path == root or root.startswith(f"{path}/"):
            raise SandboxFailed(f"{root} cannot be writable: {path}, which holds it, must not be.", path=path)
    around = next((root for root in outermost(job.writable) if path.startswith(f"{root}/")), None)
    return None if around is None else _found(around, path, hidden)


def _found(root: str, path: str, hidden: bool) -> Held:
    names = path[len(root) + 1 :].split("/")
    way: list[str] = []
    here = root
    for index, name in enumerate(names):
        here = f"{here}/{name}"
        last = index == len(names) - 1
        try:
            status = os.lstat(here)
        except FileNotFoundError:
            return Held(root, here, tuple(way), "missing", not last, hidden)
        mode = status.st_mode
        if is_placeholder(status):
            return Held(root, here, tuple(way), "missing", stat.S_ISDIR(mode), hidden)
        if stat.S_ISLNK(mode):
            raise SandboxFailed(
                f"{here} is a symbolic link, and {path} must be out of the command's reach: what a link leads to can "
                "be exchanged. Replace it by what it leads to.",
                path=here,
            )
        if last or not stat.S_ISDIR(mode):
            return Held(root, here, tuple(way), "here", stat.S_ISDIR(mode), hidden)
        way.append(here)
    raise AssertionError("a path has a last part")
