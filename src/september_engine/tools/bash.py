"""The `bash` tool: a command of the model, run in a sandbox.

Whether it may run is for the policy, before. Here it is confined, given a clean environment, and told about in a text
that can be read. A command that fails is a result; an error is only what kept it from being run.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import attrs
import msgspec
from msgspec import Meta

from .._context.text import clean_terminal
from .._patterns import is_below
from ..errors import ConfigurationError
from ..messages import JSON
from ..permissions import Action, Effect, Network, Read, Run, Unknown, Write, beyond, effects_of
from ..sandbox.base import GRACE_SECONDS, Job, OpeningSandbox, Outcome, Sandbox, SandboxFailed
from ._bare import is_bare, undo_bare
from ._possible import HIDDEN, PROTECTED, need_possible
from .output import ToolError
from .tool import Tool, tool

__all__ = ["MOST_SECONDS", "PROTECTED", "bash_tool"]

MOST_SECONDS = 600
SECONDS = 120
TOOL_SECONDS = MOST_SECONDS + 2 * GRACE_SECONDS

COMMAND_BYTES = 100_000
"""The kernel takes no argument much larger."""

REMOVING = ("bzip2", "gunzip", "gzip", "mv", "rm", "rmdir", "unlink", "xz")
KEPT_FROM = re.compile("Permission denied|Read-only file system|No such file or directory|Device or resource busy")
PATH_IN = re.compile(r"(?<![\w.])/[\w./@+~-]*[\w/@+~-]")
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/proc", "/dev", "/sys", "/tmp")
MOST_NAMED = 3

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    "PATH": PATH,
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""From nothing. Git is told not to look for the system's settings: they are out of reach, and may hold credentials.
Nor for the user's: HOME is the workspace, and a file there would say what `git status` runs.

Python takes compiled code for that of a source changed within the same second to the same size, as agents do; so it
is told not to keep any.
"""


def bash_tool(
    sandbox: Sandbox,
    *,
    root: str | os.PathLike[str],
    judge: Callable[[str], Sequence[Action]],
    writable: Sequence[str | os.PathLike[str]] = (),
    protected: Sequence[str | os.PathLike[str]] = (),
    hidden: Sequence[str | os.PathLike[str]] = (),
    environment: Mapping[str, str] | None = None,
    network: Literal["judged", "off"] = "judged",
    shell: str | None = None,
) -> Tool[[str, int], Coroutine[Any, Any, dict[str, JSON]]]:
    """The `bash` tool on this sandbox.

    Args:
        root: The folder that each command starts in, may change, and has as its HOME.
        judge: What a command would do. It opens the network: a command that runs has been allowed, or approved.
        writable: Further folders that commands may change.
        protected: What in these folders they may only read, beside that of git from where it runs programs.
        hidden: What in these folders they may not read, beside the files named in `HIDDEN`: the engine's database
            (`Store.files`) and key files.
        environment: Added to `ENVIRONMENT` and HOME, which are all that a command gets.
        network: "judged" opens it for commands that talk to hosts and for programs that nobody knows; "off"
            never does.
        shell: Where bash is; found by itself where None.

    Raises `ConfigurationError` where a folder or bash is missing.
    """
    folders = tuple(_folder(path) for path in (root, *writable))
    program = shell or shutil.which("bash", path=PATH)
    if program is None:
        raise ConfigurationError("bash is not installed, so there can be no bash tool.")
    commands = _Commands(
        sandbox=sandbox,
        judge=judge,
        program=program,
        folders=folders,
        environment={**ENVIRONMENT, "HOME": folders[0], **(environment or {})},
        kept=tuple(f"{folder}/{name}" for folder in folders for name in PROTECTED) + tuple(map(_place, protected)),
        secret=[*(f"{folder}/.env" for folder in folders), *map(_place, hidden)],
        guarded=tuple(folder for folder in folders if sandbox.confines and not is_bare(folder)),
        has_network=network != "off",
    )

    @tool(name="bash", timeout=TOOL_SECONDS, actions=commands.actions)
    async def bash(
        command: Annotated[str, Meta(description="What bash runs, as `bash -c` does.")],
        timeout: Annotated[int, Meta(description="Seconds after which it is killed.", ge=1, le=MOST_SECONDS)] = SECONDS,
    ) -> dict[str, JSON]:
        """Run a bash command in the workspace and get its output, exit code and duration.

        Each call starts in the same folder, in a new shell: use `cd folder && …` within one command. Nothing goes on
        running after the call, so start no servers in the background for later. There is no terminal and no input.
        Output is stdout and stderr as they came; a long one keeps its beginning and end. /tmp is emptied after each
        call; the network is closed but for commands that name what they talk to. Only the workspace can be changed, and
        outside of it what the command itself names, after a person said yes; paths inside of scripts are not seen.
        """
        return await commands.run(command, timeout)

    def opened(granted: Sequence[Effect]) -> Callable[..., Coroutine[Any, Any, dict[str, JSON]]]:
        return partial(commands.run, granted=granted)

    return attrs.evolve(
        bash,
        roots=folders,
        confined=sandbox.confines,
        hide=commands.hide,
        check=commands.check,
        opened=opened if sandbox.confines else None,
    )


@attrs.define(kw_only=True)
class _Commands:
    """What a `bash` tool runs, and where.

    `kept` is what commands may only read. `secret` is what in the folders they may not even read, and `outside` what a
    command that a person lets reach out of the folders may not reach. `guarded` are the folders that are no repository
    by themselves, and stay so.
    """

    sandbox: Sandbox
    judge: Callable[[str], Sequence[Action]]
    program: str
    folders: tuple[str, ...]
    environment: Mapping[str, str]
    kept: tuple[str, ...]
    secret: list[str]
    guarded: tuple[str, ...]
    has_network: bool
    outside: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.secret += _linked([*self.secret, *_found(self.folders)])

    def hide(self, paths: Iterable[str]) -> None:
        found = [*map(_place, paths)]
        places = [path for path in found if _inside(path, self.folders)]
        self.secret += [*places, *_linked(places)]
        self.outside += [*found, *map(os.path.realpath, found)]

    def actions(self, input: Mapping[str, JSON]) -> Sequence[Action]:
        command = input.get("command")
        return self.would(command) if isinstance(command, str) else (Unknown(why="there is no command"),)

    def would(self, command: str) -> Sequence[Action]:
        return tuple(_leading(_lasting(self.judge(command), self.sandbox.scratch, self.folders), self.folders))

    def check(self, input: Mapping[str, JSON], opens: Sequence[Effect]) -> None:
        """Raise `ToolError` where the command could not be done although this were opened for it."""
        command = _checked(str(input["command"]))
        if not self.sandbox.confines:
            return
        judged = self.would(command)
        secret = [*self.secret, *self.outside, *_found(self.folders)]
        need_possible(judged, opens, folders=self.folders, kept=self.kept, secret=secret)
        if not self.has_network and any(isinstance(effect, Network) for effect in effects_of(judged)):
            raise ToolError("Commands have no network here, whatever a person says.", reason="network_off")
        if not isinstance(self.sandbox, OpeningSandbox):
            if opens:
                raise ToolError("This sandbox cannot open anything outside of the workspace.", reason="sandboxed")
        elif (problem := self.sandbox.problem(self._job(command, judged, opens, 1))) is not None:
            raise ToolError(problem, reason="sandbox_failed")

    async def run(self, command: str, timeout: int = SECONDS, *, granted: Sequence[Effect] = ()) -> dict[str, JSON]:
        judged = self.would(_checked(command))
        if granted:
            self.check({"command": command}, granted)
            _need_unchanged([each.path for each in granted if isinstance(each, Write)], self.folders)
        outcome = await _outcome(self.sandbox, self._job(command, judged, granted, timeout), self.guarded)
        if not self.sandbox.confines:
            return _told(outcome, timeout, ())
        open_to_it = [each.path for each in granted if not isinstance(each, Network)]
        held = [] if granted else [each.path for each in beyond(judged, self.folders) if isinstance(each, Write)]
        return _told(outcome, timeout, _kept_from(outcome, held, (*self.folders, *open_to_it)))

    def _job(self, command: str, judged: Sequence[Action], granted: Sequence[Effect], seconds: float) -> Job:
        opened = tuple(effect.path for effect in granted if isinstance(effect, Write))
        return Job(
            argv=(self.program, "--noprofile", "--norc", "-c", command),
            cwd=self.folders[0],
            environment=self.environment,
            writable=self.folders,
            protected=self.kept,
            hidden=tuple(_hidden([*self.secret, *_found(self.folders)], self.folders)),
            opened=opened,
            removed=tuple(path for path in opened if _is_removed(path, judged)),
            readable=tuple(effect.path for effect in granted if isinstance(effect, Read)),
            network=self.has_network and any(map(_talks, judged)),
            seconds=seconds,
        )


def _folder(path: str | os.PathLike[str]) -> str:
    folder = os.path.realpath(path)
    if not os.path.isdir(folder):
        raise ConfigurationError(f"The bash tool cannot work in {os.fspath(path)}: it is no folder.")
    return folder


def _place(path: str | os.PathLike[str]) -> str:
    """Where it is; of a link, the link itself and not what it leads to."""
    head, tail = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(head), tail)


def _found(folders: Iterable[str]) -> Iterator[str]:
    """What is hidden only where it is: something stands in for what is hidden and missing, which people would see."""
    for folder in folders:
        yield from (path for name in HIDDEN if os.path.lexists(path := f"{folder}/{name}"))


def _linked(paths: Iterable[str]) -> Iterator[str]:
    """What links lead to, before commands, which can move a link away, have been run."""
    return (os.path.realpath(path) for path in paths if os.path.islink(path))


def _hidden(paths: Iterable[str], folders: Sequence[str]) -> Iterator[str]:
    """Each once. Of a link, what it leads to, where that is in reach; the link itself says nothing."""
    places = (os.path.realpath(path) if os.path.islink(path) else path for path in paths)
    yield from dict.fromkeys(path for path in places if _inside(path, folders))


def _inside(path: str, folders: Iterable[str]) -> bool:
    return any(path != folder and is_below(path, folder) for folder in folders)


def _lasting(actions: Iterable[Action], scratch: Sequence[str], folders: Sequence[str]) -> Iterator[Action]:
    """Without writing what will be gone when the command has ended. A workspace may itself be in such a place."""

    def lasts(action: Action) -> bool:
        if not isinstance(action, Write) or not _inside(action.path, scratch):
            return True
        return any(is_below(folder, action.path) or is_below(action.path, folder) for folder in folders)

    for action in filter(lasts, actions):
        if isinstance(action, Run):
            action = msgspec.structs.replace(action, effects=tuple(filter(lasts, action.effects)))
        yield action


def _leading(actions: Iterable[Action], folders: Sequence[str]) -> Iterator[Action]:
    """With where paths really lead outside of the folders, beside what they are called."""

    def both(effect: Effect, argv: Sequence[str] = ()) -> Iterator[Effect]:
        yield effect
        if isinstance(effect, Network):
            return
        inside = any(is_below(effect.path, folder) for folder in folders)
        real = _place(effect.path) if inside and _means_link(argv, effect.path) else os.path.realpath(effect.path)
        leads_out = not inside or not any(is_below(real, folder) for folder in folders)
        if real != effect.path and leads_out and not os.path.isfile(os.path.dirname(real)):
            yield type(effect)(path=real)

    for action in actions:
        if isinstance(action, Run):
            found = (each for effect in action.effects for each in both(effect, action.argv))
            yield msgspec.structs.replace(action, effects=tuple(dict.fromkeys(found)))
        elif isinstance(action, Unknown):
            yield action
        else:
            yield from both(action)


def _means_link(argv: Sequence[str], path: str) -> bool:
    """Whether the program takes a link of this path away, or another's place, and leaves alone what it leads to."""
    name = argv[0].rpartition("/")[2] if argv else ""
    if name in ("mv", "ln"):  # into a folder that a link leads to they put something
        return not os.path.isdir(path)
    return name in REMOVING and not any(word.endswith("/") for word in argv)


def _need_unchanged(granted: Sequence[str], folders: Sequence[str]) -> None:
    """Raise `ToolError` where a link among what was approved leads to something else by now."""
    for path in granted:
        real = os.path.realpath(path)
        if real not in granted and not any(is_below(real, one) for one in folders):
            text = f"{path} does not lead to what was approved any more, so nothing was run. Call it again to ask."
            raise ToolError(text, reason="changed")


def _is_removed(path: str, actions: Iterable[Action]) -> bool:
    """Whether the command is known to take this name away, and not only to change what has it."""
    for action in actions:
        if isinstance(action, Run) and Write(path=path) in action.effects:
            name = action.argv[0].rpartition("/")[2]
            if name in REMOVING or (name == "find" and "-delete" in action.argv):
                return True
    return False


def _checked(command: str) -> str:
    try:
        raw = command.encode()
    except UnicodeEncodeError as error:
        raise ToolError("The command is not valid Unicode.", reason="invalid_input") from error
    if b"\0" in raw:
        raise ToolError("The command holds a NUL character, which bash cannot take.", reason="invalid_input")
    if len(raw) > COMMAND_BYTES:
        raise ToolError(
            f"The command has {len(raw)} bytes; at most {COMMAND_BYTES} can be run. Write it to a file first.",
            reason="invalid_input",
        )
    return command


def _talks(action: Action) -> bool:
    """Whether it may need the network. Of a program that nobody knows nobody can tell, and the question says so."""
    if isinstance(action, Run):
        return action.unknown != "" or any(isinstance(effect, Network) for effect in action.effects)
    return isinstance(action, Network)


async def _outcome(sandbox: Sandbox, job: Job, guarded: Iterable[str]) -> Outcome:
    """Whatever comes of it, none of the guarded folders is a repository by itself when this returns."""
    undone: list[str] = []
    try:
        outcome = await sandbox.run(job)
    except SandboxFailed as error:
        raise ToolError(f"The command was not run. {error.message}", reason="sandbox_failed") from error
    finally:
        undone += filter(undo_bare, guarded)
    notes = [f"{folder}/HEAD was removed: git would have run what is beside it." for folder in undone]
    return msgspec.structs.replace(outcome, notes=(*outcome.notes, *notes))


def _kept_from(outcome: Outcome, held: Sequence[str], folders: Sequence[str]) -> Sequence[str]:
    """The paths outside of the folders that the sandbox kept from a command, as far as its words and output tell."""
    around = (*folders, *SYSTEM)
    found = [*held]
    if outcome.exit_code:
        for line in (outcome.head + b"\n" + outcome.tail).decode("utf-8", "replace").splitlines():
            named = PATH_IN.findall(line) if KEPT_FROM.search(line) else ()
            found += [path for path in named if not any(is_below(path, folder) for folder in around)]
    return list(dict.fromkeys(found))[:MOST_NAMED]


def _told(outcome: Outcome, timeout: int, held: Sequence[str]) -> dict[str, JSON]:
    notes = list(outcome.notes)
    if held:
        notes.append(
            f"Outside of the workspace, and not open to this command: {', '.join(held)}. A person is asked before a "
            "command that itself names what it changes there, as in `cp result.txt /srv/result.txt`; what a script or "
            "the code of a program names is not seen."
        )
    if outcome.timed_out:
        notes.append(f"It was killed because it took longer than {timeout} s.")
    told: dict[str, JSON] = {
        "output": _output(outcome),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "timed_out": outcome.timed_out,
        "duration_ms": outcome.duration_ms,
    }
    return {**told, "notes": [*notes]} if notes else told


def _output(outcome: Outcome) -> str:
    if not outcome.left_out:
        return clean_terminal(outcome.head + outcome.tail)
    head, tail = _whole(outcome.head), outcome.tail.lstrip(bytes(range(0x80, 0xC0)))
    left_out = outcome.left_out + len(outcome.head) - len(head) + len(outcome.tail) - len(tail)
    return f"{clean_terminal(head)}\n[… {left_out} bytes left out …]\n{clean_terminal(tail)}"


def _whole(head: bytes) -> bytes:
    """Without the first part of a character that was cut in two."""
    for length in range(1, min(4, len(head)) + 1):
        if head[-length] >= 0xC0:
            needed = 2 + (head[-length] >= 0xE0) + (head[-length] >= 0xF0)
            return head if needed <= length else head[:-length]
    return head
