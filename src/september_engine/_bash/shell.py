"""The walk: through the commands, in every state the shell may be in when it comes to them.

1. A command may succeed or fail, and a loop may run any number of times: all that may be is followed.
2. What is not understood is said once and changes nothing; the rest is judged all the same, so that rules still see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import attrs

from ..permissions import Action, Network, Read, Run, Unknown, Write
from . import text, tree
from .call import Call, Inner, Script, write
from .doubt import NotUnderstood, UnknownProgram
from .grammar import parse
from .syntax import (
    AndOr,
    Commands,
    For,
    Group,
    If,
    Loop,
    Node,
    Not,
    Output,
    Pipeline,
    Redirect,
    Redirected,
    Simple,
    Subshell,
    Test,
    Word,
)
from .table import judge
from .values import Argument, World, absolute, alternatives, expand
from .wrappers import is_harmless

__all__ = ["actions_of"]

MOST_WORLDS = 16
MOST_STEPS = 500
DEEPEST_RUN = 5

OWN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
NOT_OWN = re.compile(r"_|.*_proxy|histchars|auto_resume")
"""Lower-case names that mean something to bash or to programs."""

DEVICES = frozenset("/dev/null /dev/stdout /dev/stderr /dev/stdin /dev/tty".split())

Worlds = tuple[World, ...]
Ends = tuple[Worlds, Worlds]
"""The worlds after a command that succeeded, and those after one that failed."""


def actions_of(command: str, *, cwd: str, home: str) -> tuple[Action, ...]:
    """What the command would do. Never raises for any text; what is not understood is `Unknown`.

    Raises `ConfigurationError` where tree-sitter is not installed.

    Args:
        command: What would be given to `bash -c`, in a clean environment.
        cwd: The absolute folder it would run in. Code that is run must be below it to be the workspace's own.
        home: The absolute home folder it would see.
    """
    walk = _Walk(start=absolute(cwd, "/"), home=absolute(home, "/"))
    try:
        walk.script(command, World(walk.start), posix=False)
    except NotUnderstood as doubt:
        walk.doubt(doubt)
    return tuple(dict.fromkeys(walk.actions))


def _node_of(command: str, *, posix: bool) -> Node:
    text.check(command)
    node, starts = parse(command, posix=posix)
    if tree.starts_of(command) != starts:
        raise NotUnderstood("two readers do not agree on what its commands are")
    return node


@attrs.define
class _Walk:
    start: str
    home: str
    actions: list[Action] = attrs.field(factory=list, init=False)
    _seen: set[World] = attrs.field(factory=set, init=False)
    _steps: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)
    _read_before: dict[tuple[str, bool], Node] = attrs.field(factory=dict, init=False)

    def script(self, command: str, world: World, *, posix: bool) -> None:
        if (command, posix) not in self._read_before:
            self._read_before[command, posix] = _node_of(command, posix=posix)
        self._node(self._read_before[command, posix], (world,))

    def doubt(self, doubt: NotUnderstood) -> None:
        self.actions.append(Unknown(why=str(doubt)))
        if doubt.writes is not None:
            self.actions.append(Write(path=doubt.writes))

    def _node(self, node: Node, worlds: Worlds) -> Ends:
        """Judge it in each of these worlds; the worlds after it."""
        self._seen.update(worlds)
        succeeded, failed = self._ends(node, worlds)
        self._seen.update(succeeded, failed)
        return _few(succeeded), _few(failed)

    def _ends(self, node: Node, worlds: Worlds) -> Ends:
        match node:
            case Simple():
                return _joined(self._simple(node, world) for world in worlds)
            case Test(words=words):
                for world in worlds:
                    self._outputs(words, world)
                return worlds, worlds
            case Not(body=body):
                succeeded, failed = self._node(body, worlds)
                return failed, succeeded
            case Group(body=body):
                return self._node(body, worlds)
            case Subshell(body=body):
                self._node(body, worlds)
                return worlds, worlds
            case Pipeline(parts=parts):
                for part in parts:  # each is a subshell
                    self._node(part, worlds)
                return worlds, worlds
            case AndOr(first=first, rest=rest):
                return self._and_or(first, rest, worlds)
            case Commands(items=items):
                return self._commands(items, worlds)
            case If():
                return self._if(node, worlds)
            case Loop() | For():
                return self._loop(node, worlds)
            case Redirected(body=body, redirects=redirects):
                for world in worlds:
                    self._redirects(redirects, world)
                succeeded, failed = self._node(body, worlds)
                return succeeded, (*failed, *worlds)  # a redirect may fail

    def _and_or(self, first: Node, rest: Sequence[tuple[str, Node]], worlds: Worlds) -> Ends:
        succeeded, failed = self._node(first, worlds)
        for operator, node in rest:
            if operator == "&&":
                succeeded, more = self._node(node, succeeded)
                failed = _few((*failed, *more))
            else:
                more, failed = self._node(node, failed)
                succeeded = _few((*succeeded, *more))
        return succeeded, failed

    def _commands(self, items: Sequence[tuple[Node, bool]], worlds: Worlds) -> Ends:
        ends: Ends = (worlds, worlds)
        for node, background in items:
            before = _few((*ends[0], *ends[1]))
            ends = self._node(node, before)
            if background:
                ends = (before, before)
        return ends

    def _if(self, node: If, worlds: Worlds) -> Ends:
        succeeded, failed = self._node(node.condition, worlds)
        then = self._node(node.then, succeeded)
        otherwise = self._node(node.otherwise, failed) if node.otherwise is not None else (failed, failed)
        return _joined((then, otherwise))

    def _loop(self, node: Loop | For, worlds: Worlds) -> Ends:
        """Until nothing new comes up. `break` may leave it in any world that was seen inside."""
        outside, self._seen = self._seen, set()
        known: Worlds = ()
        while len(known) < len(worlds):
            known = worlds
            if isinstance(node, Loop):
                succeeded, failed = self._node(node.condition, worlds)
                self._node(node.body, failed if node.until else succeeded)
            else:
                self._node(node.body, self._bound(node, worlds))
            worlds = _few((*worlds, *self._seen))
        self._seen |= outside
        return worlds, worlds

    def _bound(self, node: For, worlds: Worlds) -> Worlds:
        bound: list[World] = []
        for world in worlds:
            self._outputs(node.words, world)
            for argument in self._arguments(node.words, world):
                one = attrs.evolve(argument, many=False)
                # of several words that nobody knows, each is a word of which nothing is known
                one = one if one.value is not None or one.stays else Argument(one.source)
                bound.append(self._named(world, node.name, one))
        return _few(bound)

    def _simple(self, node: Simple, world: World) -> Ends:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise NotUnderstood("there are too many ways in which it may run")
        self._outputs(node.words, world)
        self._redirects(node.redirects, world)
        after = world
        try:
            if not node.words:
                after = self._assigned(node, world)
                # variables are set even where `x=$(…)` fails, but not where a redirect does
                return (after,), ((after, world) if node.redirects else (after,))
            self._outputs((one.value for one in node.assignments), world)
            self._need_harmless(node, world)
            after = self._command(self._arguments(node.words, world), world)
        except NotUnderstood as doubt:
            self.doubt(doubt)
        moved = after.cwd != world.cwd  # only `cd` moves, and only where it succeeds
        return (after,), ((world,) if moved else (after, world))

    def _assigned(self, node: Simple, world: World) -> World:
        """One after the other: `x=a y=$(cat $x)` reads a."""
        for one in node.assignments:
            self._outputs((one.value,), world)
            world = self._named(world, one.name, expand(one.value, world, home=self.home, assigned=True))
        self._redirects(node.redirects, world)
        return world

    def _command(self, arguments: Sequence[Argument], world: World) -> World:
        """Judge one command; the world after it succeeded."""
        match arguments[0].value:
            case "cd":
                self._ran(arguments)
                return self._cd(arguments[1:], world)
            case "export":
                self._export(arguments[1:])
            case "read":
                return self._read(arguments[1:], world)
            case "set":
                self._set(arguments[1:])
            case "exit" | "break" | "continue" | "wait":
                if not all(re.fullmatch(r"[0-9]{1,3}|[$][?]", one.value or one.source) for one in arguments[1:]):
                    raise NotUnderstood(f"what `{arguments[0].source}` does here is not known")
            case _:
                self._program(arguments, world)
        return world

    def _program(self, arguments: Sequence[Argument], world: World) -> None:
        name = arguments[0].value
        if not name or arguments[0].many:
            raise NotUnderstood(f"which program `{arguments[0].source}` is cannot be told")
        try:
            outcome = judge(Call(name, tuple(arguments[1:]), world.cwd, self.start))
        except NotUnderstood as doubt:
            if isinstance(doubt, UnknownProgram) and all(one.value is not None and not one.many for one in arguments):
                self._ran(arguments, unknown=str(doubt))
                return
            self._ran(arguments)
            raise
        self._ran(arguments, effects=outcome.effects, opaque=outcome.opaque)
        if outcome.doubt:
            raise NotUnderstood(outcome.doubt)
        if self._running >= DEEPEST_RUN and outcome.runs:
            raise NotUnderstood("too many programs run one another")
        self._running += 1
        for inner in outcome.runs:
            self._inner(inner, world)
        self._running -= 1

    def _inner(self, inner: Inner | Script, world: World) -> None:
        match inner:
            case Inner(arguments=arguments):
                self._program(arguments, world)
            case Script(text=command, posix=posix):
                self.script(command, World(world.cwd), posix=posix)

    def _ran(self, arguments: Iterable[Argument], **known: object) -> None:
        argv = tuple(one.value if one.value is not None else one.source for one in arguments)
        self.actions.append(Run(argv=argv, **known))  # type: ignore[arg-type]

    # what the shell does by itself

    def _cd(self, arguments: Sequence[Argument], world: World) -> World:
        words = [one for one in arguments if one.value != "--"]
        target = words[0].value if words else self.home
        if len(words) > 1 or not target or target.startswith("-") or (words and words[0].many):
            raise NotUnderstood("where `cd` goes cannot be told")
        return world.with_cwd(absolute(target, world.cwd))

    def _export(self, arguments: Sequence[Argument]) -> None:
        for one in arguments:
            name, equals, value = (one.value or "").partition("=")
            if not equals or not is_harmless(name, Argument(one.source, value=value)):
                raise NotUnderstood(f"what `export {one.source}` makes of the commands after it is not known")

    def _read(self, arguments: Sequence[Argument], world: World) -> World:
        for one in arguments:
            if one.value != "-r":
                world = self._named(world, one.value or "", Argument(""))
        return world

    def _set(self, arguments: Sequence[Argument]) -> None:
        typed = " ".join(one.value or "?" for one in arguments)
        if not re.fullmatch(r"([-+][eux]+ ?|[-+][eux]*o pipefail ?)+", typed):
            raise NotUnderstood(f"what `set {typed}` makes of the commands after it is not known")

    def _named(self, world: World, name: str, value: Argument) -> World:
        if is_harmless(name, value):
            return world.with_name(name, attrs.evolve(value, many=False))
        if not OWN_NAME.fullmatch(name) or NOT_OWN.fullmatch(name):
            raise NotUnderstood(f"what setting the variable {name} does is not known")
        return world.with_name(name, attrs.evolve(value, many=False))

    def _need_harmless(self, node: Simple, world: World) -> None:
        for one in node.assignments:
            value = expand(one.value, world, home=self.home, assigned=True)
            splits = one.name == "IFS" and value.value == "" and node.words[0].bare == "read"
            if not splits and not is_harmless(one.name, value):
                raise NotUnderstood(f"what `{one.name}=` makes of the command is not known")

    def _redirects(self, redirects: Sequence[Redirect], world: World) -> None:
        self._outputs([one.target for one in redirects], world)
        for redirect in redirects:
            try:
                self.actions.extend(self._redirect(redirect, world))
            except NotUnderstood as doubt:
                self.doubt(doubt)

    def _redirect(self, redirect: Redirect, world: World) -> Iterator[Action]:
        target = expand(redirect.target, world, home=self.home)
        if redirect.operator == "<<<":
            return
        if redirect.operator in (">&", "<&") and re.fullmatch(r"[0-9]{1,3}-?|-", target.value or ""):
            return
        path = target.path(world.cwd)
        if redirect.operator == "<&" or path is None or target.many:
            raise NotUnderstood(f"where `{redirect.operator}{redirect.target.source}` leads cannot be told")
        socket = re.match(r"/dev/(?:tcp|udp)/([^/]+)/", path)
        if socket:
            yield Network(host=socket.group(1).lower())
        elif path not in DEVICES:
            yield Read(path=path) if redirect.operator == "<" else write(path)

    def _arguments(self, words: Iterable[Word], world: World) -> list[Argument]:
        return [expand(one, world, home=self.home) for word in words for one in alternatives(word)]

    def _outputs(self, words: Iterable[Word], world: World) -> None:
        """Judge what runs inside of words."""
        for word in words:
            for part in word.parts:
                if isinstance(part, Output):
                    self._node(part.body, (world,))


def _joined(ends: Iterable[Ends]) -> Ends:
    succeeded: list[World] = []
    failed: list[World] = []
    for one, other in ends:
        succeeded += one
        failed += other
    return _few(succeeded), _few(failed)


def _few(worlds: Iterable[World]) -> Worlds:
    """Each once. Raises where there are too many to follow."""
    known = tuple(dict.fromkeys(worlds))
    if len(known) > MOST_WORLDS:
        raise NotUnderstood("there are too many states in which it may run")
    return known
