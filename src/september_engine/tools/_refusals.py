"""What the file system says, in the words that a model is told: what happened, and what to do instead."""

from __future__ import annotations

import errno
import stat
from collections.abc import Sequence
from difflib import get_close_matches

import attrs

from ._beneath import Outside
from ._text import named
from .output import ToolError

__all__ = ["Changed", "Irregular", "Near", "ReadOnly", "Repointed", "refusal"]

NEAR = 3
NEAR_AMONG = 2000
"""Only so many names are compared."""


@attrs.frozen
class Near:
    """Where the way to something ended: a folder, the name it does not have, and those it has."""

    folder: str
    missing: str
    names: list[str]


class Irregular(OSError):
    """Neither a file nor a folder. `kind` says what it is."""

    def __init__(self, mode: int) -> None:
        super().__init__()
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a symbolic link"}
        self.kind = kinds.get(stat.S_IFMT(mode), "a device")


class Changed(OSError):
    """The file is not the one that was looked at."""


class Repointed(Outside):
    """The path leads outside of all roots, and not to what this call was granted."""


class ReadOnly(OSError):
    """Nobody may write this file."""


def refusal(error: OSError | Outside, path: str, roots: Sequence[str], *, near: Near | None = None) -> ToolError:
    """The error as a `ToolError`; `near` is for something that is not found."""
    name = named(path)
    match error:
        case Repointed():
            text = f"{name} does not lead to what was approved any more, so it was left alone. Call it again to ask."
            return ToolError(text, reason="changed")
        case Outside():
            return ToolError(
                f"{name} is outside of the workspace. File tools work only below {_listed(roots)}; "
                "symbolic links that lead out of it are not followed.",
                reason="outside_root",
            )
        case Irregular(kind=kind):
            return ToolError(f"{name} is {kind}, not a file; only files can be read and written.", reason="not_a_file")
        case Changed():
            text = (
                f"{name} was changed by something else at the same time, and was left as it is. Read it and try again."
            )
            return ToolError(text, reason="changed")
        case ReadOnly():
            return ToolError(f"{name} is read-only; nobody may write it.", reason="protected")
        case FileNotFoundError():
            return ToolError(_not_found(path, near), reason="not_found")
        case IsADirectoryError():
            text = f"{name} is a folder. Use find_files with this path to see what is in it."
            return ToolError(text, reason="is_a_directory")
        case FileExistsError():
            text = f"{name} exists. Change a part of it with edit_file, or give overwrite=true to replace all of it."
            return ToolError(text, reason="exists")
        case NotADirectoryError():
            return ToolError(f"A part of {name} is a file or a link, not a folder.", reason="not_a_directory")
        case PermissionError():
            return ToolError(f"The system does not permit this for {name}.", reason="permission_denied")
    return _by_number(error, name)


def _listed(roots: Sequence[str]) -> str:
    *others, last = map(named, roots)
    return f"{', '.join(others)} and {last}" if others else last


def _by_number(error: OSError, name: str) -> ToolError:
    match error.errno:
        case errno.ELOOP:
            text = f"{name} goes through too many symbolic links, or was changed at the same time."
            return ToolError(text, reason="link_loop")
        case errno.ENAMETOOLONG:
            return ToolError("A name in this path is longer than the file system takes.", reason="invalid_path")
        case errno.ENOSPC | errno.EDQUOT:
            text = f"There is no space left for {name}; nothing was changed. Free some space, or write less."
            return ToolError(text, reason="disk_full")
        case errno.EROFS:
            return ToolError(f"{name} is on a read-only file system.", reason="protected")
        case _:
            return ToolError(f"{name} could not be used: {error.strerror or error}.", reason="io_error")


def _not_found(path: str, near: Near | None) -> str:
    text = f"There is no {named(path)}."
    if near is None:
        return text
    by_lower = {name.lower(): name for name in near.names[:NEAR_AMONG]}
    close = get_close_matches(near.missing.lower(), by_lower, n=NEAR, cutoff=0.6)
    if not close:
        return f"{text} {near.folder} has no {named(near.missing)}; find_files shows what is there."
    return f"{text} In {near.folder} there is: {', '.join(named(by_lower[name]) for name in close)}."
