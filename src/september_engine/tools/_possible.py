"""What no approval makes possible for a command in a sandbox: it is refused before anybody is asked."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .._patterns import is_below
from ..permissions import Action, Effect, Network, Read, Run, Write, effects_of
from .output import ToolError

__all__ = ["HIDDEN", "PROTECTED", "need_possible"]

PROTECTED = (".git/hooks", ".git/config", ".git/config.worktree", ".git/commondir", ".git/modules")
"""Of a repository: from where git would run what a command wrote there, later and outside of the sandbox."""

HIDDEN = (".env", ".env.local", ".env.development", ".env.production", ".env.staging", ".env.test")
"""Files with keys."""

OTHER_RIGHTS = ("sudo", "su", "doas", "pkexec", "runuser")
DEVICES = ("/dev", "/proc", "/sys")


def need_possible(
    judged: Sequence[Action],
    opens: Sequence[Effect],
    *,
    folders: Sequence[str],
    kept: Sequence[str],
    secret: Sequence[str],
) -> None:
    """Raise `ToolError` where the command could not be done although this were opened for it.

    `folders` are the workspace's, `kept` are paths that commands may only read, `secret` those that they may not even
    read.
    """
    for action in judged:
        if isinstance(action, Run) and (name := action.argv[0].rpartition("/")[2]) in OTHER_RIGHTS:
            raise ToolError(f"There are no other rights to be had by {name} in the sandbox.", reason="sandboxed")
    for effect in effects_of(judged):
        if not isinstance(effect, Network):
            _need_not_kept(effect, kept, secret)
    files = [each.path for each in opens if isinstance(each, Write) and os.path.isfile(each.path)]
    for effect in opens:
        if isinstance(effect, Write):
            if any(effect.path != one and is_below(effect.path, one) for one in files):
                continue  # meant in case this is a folder, as for `ln -s a b`
            _need_openable(effect.path, folders, secret)
            _need_permitted(effect.path)


def _need_not_kept(effect: Read | Write, kept: Sequence[str], secret: Sequence[str]) -> None:
    path = effect.path
    if os.path.basename(path) in HIDDEN or any(is_below(path, one) for one in secret):
        raise ToolError(f"{path} is kept from commands, whatever a person says.", reason="protected")
    in_it = os.path.basename(path) == ".git" and any(is_below(one, path) for one in kept)
    if isinstance(effect, Write) and (in_it or any(is_below(path, one) for one in kept) or _runs_in_git(path)):
        text = f"{path} is protected: git runs what it says. Commands may not write it, whatever a person says."
        raise ToolError(text, reason="protected")


def _runs_in_git(path: str) -> bool:
    return any(f"/{name}/" in f"{path}/" for name in PROTECTED)


def _need_openable(path: str, folders: Sequence[str], secret: Sequence[str]) -> None:
    if path == "/":
        text = "It may write anywhere on this machine, and that cannot be opened. Name the files or folders it changes."
        raise ToolError(text, reason="sandboxed")
    if any(is_below(folder, path) for folder in folders):
        text = f"{path} holds the workspace, and cannot be opened as a whole. Name what is meant in it."
        raise ToolError(text, reason="sandboxed")
    if any(is_below(path, device) for device in DEVICES):
        raise ToolError(f"{path} is no ordinary file, and cannot be opened for a command.", reason="sandboxed")
    if (held := next((one for one in secret if is_below(one, path)), None)) is not None:
        raise ToolError(
            f"{path} holds {held}, which is kept from commands, whatever a person says.", reason="protected"
        )


def _need_permitted(path: str) -> None:
    """What the system will not let this program do, the command cannot do either."""
    if os.path.lexists(path):
        if not os.path.islink(path) and not os.access(path, os.W_OK):
            raise ToolError(f"The system does not permit writing {path}.", reason="permission_denied")
        return
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise ToolError(f"{folder} is a file, not a folder.", reason="not_a_directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ToolError(f"The system does not permit making anything in {folder}.", reason="permission_denied")
