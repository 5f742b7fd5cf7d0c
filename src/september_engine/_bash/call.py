"""One program about to run: its words, where it runs, and what is known to come of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import attrs

from .._patterns import is_below
from ..permissions import Network, Read, Write
from .doubt import NotUnderstood
from .values import Argument, absolute

__all__ = ["Call", "Effect", "Inner", "Judge", "Outcome", "Script", "leaves", "write"]

Effect: TypeAlias = Read | Write | Network


@attrs.frozen
class Call:
    """A program and its decoded words.

    Args:
        cwd: The folder it runs in.
        start: The folder that the whole command was started in: the workspace, as far as the shell is concerned.
    """

    program: str
    arguments: tuple[Argument, ...]
    cwd: str
    start: str

    def read(self, argument: Argument) -> Read:
        """Reading the file it names; reading anything, where that cannot be told."""
        return Read(path=argument.path(self.cwd) or "/")

    def write(self, argument: Argument) -> Write:
        """Writing the file it names. Raises `NotUnderstood` where that cannot be told, or where git is its reader."""
        path = argument.path(self.cwd)
        if path is None:
            raise NotUnderstood(f"which file `{argument.source}` names cannot be told")
        return write(path)

    def here(self) -> Write:
        """Writing in the folder it runs in."""
        return Write(path=self.cwd)

    def need_workspace(self, path: str | None = None) -> None:
        """Code from elsewhere is not the workspace's code. Raises `NotUnderstood`."""
        path = path if path is not None else self.cwd
        if not is_below(path, self.start):
            raise NotUnderstood(f"{self.program} runs what {path} says, which is not below {self.start}", writes=path)


@attrs.frozen
class Inner:
    """A command that the program runs."""

    arguments: tuple[Argument, ...]


@attrs.frozen
class Script:
    """A text that the program gives to a shell; `posix` where that is a plain `sh`."""

    text: str
    posix: bool


@attrs.frozen
class Outcome:
    """What comes of a call. `opaque` as in `Run`; `runs` are judged as commands of their own.

    `doubt` is why that may not be all: as `NotUnderstood` would say it, but that the effects are known to come of it.
    """

    effects: tuple[Effect, ...] = ()
    opaque: bool = False
    runs: tuple[Inner | Script, ...] = ()
    doubt: str = ""


Judge: TypeAlias = Callable[[Call], Outcome]


def write(path: str) -> Write:
    if ".git" in path.lower().split("/"):
        raise NotUnderstood(f"it changes {path}, which git reads and runs later", writes=path)
    return Write(path=path)


def leaves(argument: Argument, *, cwd: str, start: str) -> bool:
    """Whether something in this word is a path out of the workspace: the word, or what follows a `=`, `:` or `,`."""
    text = argument.value if argument.value is not None else argument.begins
    return any(_leaves(one, cwd, start) for one in _paths_in(text))


def _paths_in(text: str) -> Iterable[str]:
    for piece in text.replace("=", "\n").replace(":", "\n").replace(",", "\n").split("\n"):
        yield piece
        if piece.startswith("-") and len(piece) > 2:  # a value may be attached to a short option
            yield piece[2:]


def _leaves(text: str, cwd: str, start: str) -> bool:
    is_path = text.startswith(("/", "~")) or ".." in text.split("/")
    return is_path and not is_below(absolute(text, cwd), start)
