"""The built-in tools: an agent that can work on a machine, in the folders it is given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from .._bash import actions_of
from ..permissions import Action
from ..sandbox.base import Sandbox
from ..sandbox.choice import Wanted, choose_sandbox
from ._possible import HIDDEN
from .ask_user import ask_user
from .bash import bash_tool
from .files import file_tools
from .tool import Tool
from .workspace import Workspace

__all__ = ["builtin_tools"]


def builtin_tools(
    root: str | os.PathLike[str],
    *,
    also: Sequence[str | os.PathLike[str]] = (),
    hidden: Sequence[str | os.PathLike[str]] = (),
    environment: Mapping[str, str] | None = None,
    network: Literal["judged", "off"] = "judged",
    sandbox: Wanted | Sandbox | None = "auto",
) -> list[Tool[..., Any]]:
    """`bash`, `read_file`, `write_file`, `edit_file`, `grep`, `find_files` and `ask_user`, for `Engine(tools=[…])`.

    They work in `root` and cannot leave it: file tools by how they open files, commands by their sandbox. What they
    may do there without asking a person is for the engine's `Policy`. An engine puts its own database out of their
    reach, and the `.env` file in its working directory.

    Args:
        root: The folder that relative paths are below, and in which each command starts.
        also: More folders that they may read and change.
        hidden: Files and folders they may not even read; relative ones are below `root`. `.env` and its kin (`HIDDEN`
            in `bash`) always are among them: anywhere for file tools, directly in one of the folders for commands.
        environment: Variables that commands get. From the engine's own environment they get nothing.
        network: "judged" opens it for commands that are known to talk to hosts, once the policy or a person has let
            them run; "off" never does.
        sandbox: "auto" takes the strongest that works here; a name takes that one, and a `Sandbox` itself. "off" lets
            commands do whatever this program may; then code that nobody has looked at asks a person first. None
            leaves `bash` out.

    Trying the sandbox takes some 100 ms and blocks. Raises `ConfigurationError` for a folder that is missing, and where
    no sandbox works or the `sandbox` extra is not installed, with what to install.
    """
    workspace = Workspace(root, also=also, hidden=HIDDEN)
    home = workspace.root
    secret = [os.path.join(home, path) for path in hidden]
    workspace.hide(secret)
    tools = [*file_tools(workspace), ask_user]
    if sandbox is None:
        return tools

    def judge(command: str) -> Sequence[Action]:
        return actions_of(command, cwd=home, home=home)

    judge("true")  # now is the time to hear that its parser is not installed
    walls = choose_sandbox(sandbox) if isinstance(sandbox, str) else sandbox
    bash = bash_tool(
        walls,
        root=home,
        judge=judge,
        writable=also,
        hidden=secret,
        environment=environment,
        network=network,
    )
    return [bash, *tools]
