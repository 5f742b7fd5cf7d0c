"""What was opened for one command under bubblewrap, staged so that it reaches these names and nothing beside them.

A mount shows a folder and all that is in it; and what is itself a mount cannot be removed, or replaced. So for what is
to be made, replaced or removed, the command gets a folder of its own in the place of the real one, in which nothing but
these names is: a file by a second link to it, so that changing it changes the real one at once; what is known to be
removed or moved away by being moved there. When the command has ended, what became of each name is done to the real
folder, by renames. A folder that is only changed is mounted as it is.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import attrs

from ._system import SYSTEM_FOLDERS
from ._view import outermost
from .base import Job, SandboxFailed

__all__ = ["Stage", "stage_problem", "staged"]

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@attrs.frozen
class Stage:
    """The mounts that show it, as pairs of what is mounted and where; and `notes` on what could not be done after."""

    mounts: tuple[tuple[str, str], ...]
    notes: list[str] = attrs.field(factory=list)


@attrs.frozen
class _Name:
    """One name to be staged: the folder that it is in, and what has the name, or None."""

    folder: str
    name: str
    status: os.stat_result | None
    removed: bool = False

    @property
    def is_moved(self) -> bool:
        """A file that is removed has no second link meanwhile: `gzip` would leave such a one alone."""
        return self.status is not None and (
            stat.S_ISDIR(self.status.st_mode) or (self.removed and stat.S_ISREG(self.status.st_mode))
        )

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.name)


def stage_problem(job: Job) -> str | None:
    """Why what this job wants opened cannot be staged, as far as can be told before; or None."""
    try:
        for one in _names(job)[1]:
            _need_stage(one)
    except SandboxFailed as error:
        return error.message
    return None


@contextmanager
def staged(job: Job) -> Iterator[Stage]:
    """Have it staged as long as this lasts. Raises `SandboxFailed`, and then nothing has changed."""
    mounted, names = _names(job)
    for one in names:
        _need_stage(one)
    folders: dict[str, str] = {}
    stage = Stage(())
    done: list[_Name] = []
    try:
        for one in names:
            if one.folder not in folders:
                folders[one.folder] = _made_in(one.folder)
            try:
                _bring(one, folders[one.folder])
            except OSError as error:
                raise SandboxFailed(f"{one.path} cannot be opened: {error.strerror}.", path=one.path) from error
            done.append(one)
        mounts = [(folders[folder], folder) for folder in sorted(folders)] + [(path, path) for path in mounted]
        yield attrs.evolve(stage, mounts=tuple(mounts), notes=stage.notes)
    finally:
        for one in done:
            _prune(f"{folders[one.folder]}/{one.name}", one.path, job.opened)
        kept = {folders[one.folder] for one in done if not _settled(one, folders[one.folder], stage.notes)}
        stage.notes.extend(_beside(job, folders, {one.path for one in done}))
        for place in set(folders.values()) - kept:
            shutil.rmtree(place, ignore_errors=True)


def _names(job: Job) -> tuple[list[str], list[_Name]]:
    """What is mounted as it is, and the names that are staged: of a path, the first part that is missing."""
    mounted: list[str] = []
    names: dict[str, _Name] = {}
    for path in outermost(job.opened):
        status = _status(path)
        if status is not None and stat.S_ISDIR(status.st_mode) and path not in job.removed:
            mounted.append(path)
            continue
        folder, name = os.path.split(path)
        while status is None and _status(folder) is None:
            folder, name = os.path.split(folder)
        one = _Name(folder, name, status, path in job.removed)
        if status is not None and path not in job.removed and _unstaged(one):
            mounted.append(path)  # it can be written to, though not replaced
        else:
            names[one.path] = one
    return mounted, list(names.values())


def _unstaged(one: _Name) -> str | None:
    """Why nothing can stand in for the folder that it is in, or None."""
    if one.folder == "/":
        return "it is directly in /"
    if any(one.folder == each or one.folder.startswith(f"{each}/") for each in SYSTEM_FOLDERS):
        return f"{one.folder} is a folder of the system, which every command needs"
    status = _status(one.folder)
    if status is None or not stat.S_ISDIR(status.st_mode):
        return f"{one.folder} is not a folder"
    if not os.access(one.folder, os.W_OK | os.X_OK):
        return f"{one.folder} may not be written by this program"
    return None


def _need_stage(one: _Name) -> None:
    if (why := _unstaged(one)) is not None:
        raise SandboxFailed(f"{one.path} cannot be made, replaced or removed by a command: {why}.", path=one.path)
    if one.status is not None and not (stat.S_ISREG(one.status.st_mode) or stat.S_ISDIR(one.status.st_mode)):
        if not stat.S_ISLNK(one.status.st_mode):
            raise SandboxFailed(f"{one.path} is no file and no folder, and cannot be opened.", path=one.path)


def _made_in(folder: str) -> str:
    """A folder of ours beside what is staged: on the same file system, so that everything is done by renames."""
    place = f"{folder}/.september-engine-{secrets.token_hex(8)}"
    try:
        os.mkdir(place, 0o700)
    except OSError as error:
        raise SandboxFailed(f"Nothing can be made in {folder}: {error.strerror}.", path=folder) from error
    return place


def _bring(one: _Name, place: str) -> None:
    if one.status is None:
        return
    if one.is_moved:
        os.rename(one.path, f"{place}/{one.name}")
    else:
        os.link(one.path, f"{place}/{one.name}", follow_symlinks=False)


def _prune(left: str, path: str, opened: Sequence[str]) -> None:
    """Of a folder that was made on the way to what was opened, keep what is on that way, or was opened."""
    if any(path == one or path.startswith(f"{one}/") for one in opened):
        return
    status = _status(left)
    if status is None:
        return
    if any(one.startswith(f"{path}/") for one in opened) and stat.S_ISDIR(status.st_mode):
        for name in os.listdir(left):
            _prune(f"{left}/{name}", f"{path}/{name}", opened)
    elif stat.S_ISDIR(status.st_mode):
        shutil.rmtree(left, ignore_errors=True)
    else:
        os.unlink(left)


def _beside(job: Job, folders: Mapping[str, str], staged: Container[str]) -> Iterator[str]:
    """What the command made beside what was opened, and is gone with the stage; not what mounts were put on."""
    mounted = (*job.writable, *job.opened, *job.readable)
    for folder, place in folders.items():
        for name in sorted(os.listdir(place)) if folder != "/etc" else ():
            path = os.path.join(folder, name)
            if path not in staged and not any(one == path or one.startswith(f"{path}/") for one in mounted):
                yield f"{path} was not opened for this command: what it made there is gone."


def _settled(one: _Name, place: str, notes: list[str]) -> bool:
    """Do to the real folder what the command did to the name. False where that failed: then what it left is kept."""
    left = f"{place}/{one.name}"
    now = _status(left)
    real = _status(one.path)
    try:
        if one.is_moved:
            if now is not None and real is None:
                os.rename(left, one.path)
            elif now is not None:
                raise FileExistsError
        elif now is None:
            if one.status is not None and real is not None and os.path.samestat(one.status, real):
                os.unlink(one.path)
        elif one.status is None or not os.path.samestat(one.status, now):
            if (one.status is None) != (real is None) or (
                one.status is not None and real is not None and not os.path.samestat(one.status, real)
            ):
                raise FileExistsError
            if real is not None and stat.S_ISDIR(now.st_mode):
                os.unlink(one.path)
            os.rename(left, one.path)
    except OSError:
        notes.append(f"{one.path} was changed by something else meanwhile. What the command made of it is in {left}.")
        return False
    with suppress(OSError):
        _flush(one.folder)
    return True


def _flush(folder: str) -> None:
    file = os.open(folder, FOLDER)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
