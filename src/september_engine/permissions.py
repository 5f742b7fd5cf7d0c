"""Permissions: may a call run? Rules and what a call would do in; a decision, with a reason a person can read, out.

1. Deny beats ask beats allow; an allow rule speaks for what it names and for nothing else of the call.
2. What is not understood asks. Nothing falls open.
3. A policy is advice to people. The sandbox is the boundary.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

import msgspec

from ._patterns import is_below, is_host, literal, path_pattern, reaches, words_match
from .messages import JSON

__all__ = [
    "Action",
    "Allow",
    "Ask",
    "Decision",
    "Deny",
    "Effect",
    "Network",
    "Policy",
    "Read",
    "Rule",
    "Run",
    "Unknown",
    "Write",
    "beyond",
    "effects_of",
    "in_words",
    "opening_in_words",
]


class _Action(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class Read(_Action, frozen=True, kw_only=True, tag="read"):
    """Reading below an absolute, normalised path."""

    path: str


class Write(_Action, frozen=True, kw_only=True, tag="write"):
    """Making, changing or removing something at, or anywhere below, an absolute, normalised path."""

    path: str


class Network(_Action, frozen=True, kw_only=True, tag="network"):
    """Talking to a host, by its name in lower case; "*" where it cannot be told which."""

    host: str


Effect: TypeAlias = Read | Write | Network


class Run(_Action, frozen=True, kw_only=True, tag="run"):
    """Running a program with these decoded words; `effects` is what is known to come of it.

    `opaque` says that it runs code which cannot be looked at here, such as a test suite of the workspace. `unknown` is
    why nobody can tell what the program does, as in `Unknown`: a rule for the program speaks for that, too.
    """

    argv: tuple[str, ...]
    effects: tuple[Effect, ...] = ()
    opaque: bool = False
    unknown: str = ""


class Unknown(_Action, frozen=True, kw_only=True, tag="unknown"):
    """Something that was not understood; `why` ends the sentence "This asks because …"."""

    why: str


Action: TypeAlias = Run | Read | Write | Network | Unknown


class Rule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to do with calls, or with what they do.

    Without `run`, `read`, `write` and `network` it speaks for whole calls of the tool; with one of them, for the
    actions of this kind that match. In patterns, `*` stands for anything within one path segment or word and `**` for
    anything; a `run` pattern is a command as it is typed, and ends in ` **` where more words may follow. A rule that
    is remembered for a call of one input has it in `input`. One that is remembered has in `effects` what was known to
    come of the call or program, and speaks for no more: the same words do something else in another folder, or when a
    symbolic link leads elsewhere.

    Args:
        effect: "allow", "ask" or "deny".
        tool: The tool's name, or "*" for all.
        reason: Why, for the person who is asked and for the model that is refused.
    """

    effect: Literal["allow", "ask", "deny"]
    tool: str = "*"
    run: str | None = None
    read: str | None = None
    write: str | None = None
    network: str | None = None
    input: dict[str, JSON] | None = None
    effects: tuple[Effect, ...] | None = None
    reason: str = ""


class Allow(msgspec.Struct, frozen=True, kw_only=True, tag="allow", tag_field="type"):
    """It may run."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask", tag_field="type"):
    """A person must say yes first. `remember` are the rules that would make the same call run by itself."""

    reason: str
    remember: tuple[Rule, ...] = ()


class Deny(msgspec.Struct, frozen=True, kw_only=True, tag="deny", tag_field="type"):
    """It may not run, whatever a person says."""

    reason: str


Decision: TypeAlias = Allow | Ask | Deny


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine allows.

    Without any rule: reading and running is allowed; writing inside `roots`, too; writing elsewhere, talking to a host
    that is not among `hosts`, code that cannot be looked at where no sandbox holds it, tools that were declared to
    need it, and whatever was not understood ask a person first.

    Args:
        rules: Deny beats ask beats allow; their order does not matter.
        roots: Absolute, normalised folders.
        hosts: Names; `*.example.org` stands for every name below it.
        confined: Whether shell commands run in a sandbox.
    """

    rules: tuple[Rule, ...] = ()
    roots: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    confined: bool = True

    def judge(
        self,
        tool: str,
        input: dict[str, JSON],
        actions: Sequence[Action],
        *,
        declared: str | None = None,
        remembered: Sequence[Rule] = (),
    ) -> Decision:
        """Whether this call may run.

        `declared` is why the tool itself asks for a person, if it does. `remembered` are rules that people gave as
        answers: they answer what would be asked, and change nothing about what is denied.
        """
        call = _Call(tool, input, tuple(actions))
        for rule in self.rules:
            if rule.effect == "deny" and (denied := call.hit_by(rule)) is not None:
                return Deny(reason=_said(rule, f"{denied} is denied by a rule."))
        if any(call.is_whole(rule) for rule in remembered):
            return Allow()
        allowing = [rule for rule in self.rules if rule.effect == "allow"]
        open_actions = [action for action in actions if not _covered(action, remembered, tool)]
        reasons = self._asked(_Call(tool, input, tuple(open_actions)))
        held = [action for action in open_actions if self._asked(_Call(tool, input, (action,)))]
        if not any(call.is_whole(rule) for rule in allowing):
            reasons += [declared] if declared else []
            for action in open_actions:
                gate = [] if _covered(action, allowing, tool) else list(self._gate(action, allowing, tool))
                reasons += gate
                held += [action] if gate else []
        if not reasons:
            return Allow()
        whole = declared is not None or not actions or any(_is_doubtful(action) for action in open_actions)
        whole = whole or any(rule.effect == "ask" and call.is_whole(rule) for rule in self.rules)
        return Ask(reason=" ".join(dict.fromkeys(reasons)), remember=_remembering(call, held, whole=whole))

    def opened(
        self,
        tool: str,
        input: dict[str, JSON],
        actions: Sequence[Action],
        wanted: Sequence[Effect],
        *,
        roots: Sequence[str],
        remembered: Sequence[Rule] = (),
    ) -> tuple[Effect, ...]:
        """Which of the wanted effects this call may have although they are outside of the tool's own folders.

        For a call that no person was asked about. Only what is named is opened: what is below one of `roots`, what the
        pattern of an allow rule matches, and what a person approved when an answer was remembered. A rule that allows a
        whole tool or program names no path, so it opens none.
        """
        call = _Call(tool, input, tuple(actions))
        rules = [rule for rule in (*self.rules, *remembered) if rule.effect == "allow" and rule.tool in ("*", tool)]

        def is_named(effect: Effect) -> bool:
            if not isinstance(effect, Network) and any(is_below(effect.path, root) for root in roots):
                return True
            return any(
                _speaks_for(rule, effect) or (effect in (rule.effects or ()) and call.hit_by(rule) is not None)
                for rule in rules
            )

        return tuple(filter(is_named, wanted))

    def _asked(self, call: _Call) -> list[str]:
        asking = [rule for rule in self.rules if rule.effect == "ask"]
        return [_said(rule, f"A rule asks before {hit}.") for rule in asking if (hit := call.hit_by(rule)) is not None]

    def _gate(self, action: Action, allowing: Sequence[Rule], tool: str) -> Iterator[str]:
        """Why this needs a person where no rule speaks for it."""
        match action:
            case Run():
                if action.unknown:
                    yield f"{_doubt(action.unknown)} It may use the network."
                if action.opaque and not self.confined:
                    yield f"`{_typed(action)}` runs code that nobody has looked at, and there is no sandbox."
                for effect in action.effects:
                    if not _covered(effect, allowing, tool):
                        yield from self._gate(effect, allowing, tool)
            case Write(path=path) if not any(is_below(path, root) for root in self.roots):
                yield f"It writes outside of the allowed folders: {path}."
            case Network(host=host) if not any(is_host(host, known) for known in self.hosts):
                yield f"It uses the network: {'some host' if host == '*' else host}."
            case Unknown(why=why):
                yield _doubt(why)
            case _:
                return


class _Call(msgspec.Struct, frozen=True):
    tool: str
    input: dict[str, JSON]
    actions: tuple[Action, ...]

    def is_whole(self, rule: Rule) -> bool:
        """Whether the rule speaks for the call as a whole."""
        if rule.tool not in ("*", self.tool) or (rule.run, rule.read, rule.write, rule.network) != (None,) * 4:
            return False
        if rule.effects is not None and not set(effects_of(self.actions)) <= set(rule.effects):
            return False
        return rule.input is None or rule.input == self.input

    def hit_by(self, rule: Rule) -> str | None:
        """What of the call the rule speaks for, in words, or None."""
        if self.is_whole(rule):
            return self.tool
        if rule.tool not in ("*", self.tool):
            return None
        return next((_named(each) for each in _each(self.actions) if _touches(rule, each)), None)


def _each(actions: Iterable[Action]) -> Iterator[Action]:
    for action in actions:
        yield action
        if isinstance(action, Run):
            yield from action.effects


def effects_of(actions: Iterable[Action]) -> tuple[Effect, ...]:
    """What is known to come of these actions, each once: what they name themselves, and what programs do."""
    return tuple(dict.fromkeys(each for each in _each(actions) if isinstance(each, Read | Write | Network)))


def beyond(actions: Iterable[Action], roots: Sequence[str]) -> tuple[Read | Write, ...]:
    """Which of their effects on files are outside of these folders, what is written first.

    Reading "/" stands for reading something that cannot be told, and is left out.
    """
    files = [each for each in effects_of(actions) if not isinstance(each, Network)]
    outside = [each for each in files if not any(is_below(each.path, root) for root in roots)]
    written = [each for each in outside if isinstance(each, Write)]
    read = [each for each in outside if isinstance(each, Read) and each.path != "/"]
    return (*written, *(each for each in read if not any(is_below(each.path, one.path) for one in written)))


def opening_in_words(opens: Iterable[Effect], actions: Iterable[Action]) -> str:
    """What a yes opens, as the person who is asked reads it; "" where that is nothing, and nothing more is meant."""
    if named := ", ".join(_named(effect) for effect in opens):
        return f"A yes allows this call, and no other, {named}."
    doubtful = any(isinstance(action, Unknown) or (isinstance(action, Run) and action.unknown) for action in actions)
    return "A yes opens nothing outside of the workspace." if doubtful else ""


def _covered(action: Action, rules: Iterable[Rule], tool: str) -> bool:
    """Whether an allow rule speaks for this action. What a command is known to do goes with the command."""
    mine = [rule for rule in rules if rule.tool in ("*", tool)]
    if any(_speaks_for(rule, action) for rule in mine):
        return True
    return (
        isinstance(action, Run)
        and not action.opaque
        and not action.unknown
        and len(action.effects) > 0
        and all(_covered(effect, mine, tool) for effect in action.effects)
    )


def _speaks_for(rule: Rule, action: Action) -> bool:
    match action:
        case Run(argv=argv, effects=effects):
            known = rule.effects is None or set(effects) <= set(rule.effects)
            return known and rule.run is not None and words_match(rule.run, argv)
        case Read(path=path):
            return rule.read is not None and path_pattern(rule.read).fullmatch(path) is not None
        case Write(path=path):
            return rule.write is not None and path_pattern(rule.write).fullmatch(path) is not None
        case Network(host=host):
            return rule.network is not None and is_host(host, rule.network)
        case Unknown():
            return False


def _touches(rule: Rule, action: Action) -> bool:
    """As `_speaks_for`, and also where the action reaches into what the rule names: for rules that hold back."""
    if _speaks_for(rule, action):
        return True
    match action:
        case Write(path=path):
            return rule.write is not None and reaches(path, rule.write)
        case Read(path=path):
            return rule.read is not None and reaches(path, rule.read)
        case Network(host="*"):
            return rule.network is not None
        case _:
            return False


def _remembering(call: _Call, actions: Iterable[Action], *, whole: bool) -> tuple[Rule, ...]:
    """The narrowest rules that answer this question for good."""
    if whole:
        effects = effects_of(call.actions) or None
        return (Rule(effect="allow", tool=call.tool, input=call.input if call.actions else None, effects=effects),)
    return tuple(dict.fromkeys(_remembered(call.tool, action) for action in actions))


def _remembered(tool: str, action: Action) -> Rule:
    match action:
        case Run(argv=argv, effects=effects):
            return Rule(effect="allow", tool=tool, run=shlex.join(map(literal, argv)), effects=effects)
        case Read(path=path):
            return Rule(effect="allow", tool=tool, read=literal(path))
        case Write(path=path):
            return Rule(effect="allow", tool=tool, write=literal(path))
        case Network(host=host):
            return Rule(effect="allow", tool=tool, network=host)
        case Unknown():
            raise AssertionError("what was not understood is remembered as a whole")


def in_words(rule: Rule) -> str:
    """The rule as a person reads it, such as "bash: run `npm publish`"."""
    kinds = (("run", rule.run), ("read", rule.read), ("write", rule.write), ("use the network:", rule.network))
    does = [f"{kind} {pattern}" for kind, pattern in kinds if pattern is not None]
    if rule.input is not None:
        does = ["exactly this call"]
    return f"{rule.effect} {rule.tool}: {' and '.join(does) or 'every call'}"


def _is_doubtful(action: Action) -> bool:
    """Whether a rule made of it could speak for more than a person was shown: "some host" would be every host."""
    if isinstance(action, Run):
        return action.unknown != ""
    return isinstance(action, Unknown) or (isinstance(action, Network) and "*" in action.host)


def _doubt(why: str) -> str:
    return f"It was not understood: {why}."


def _said(rule: Rule, otherwise: str) -> str:
    return rule.reason or otherwise


def _typed(run: Run) -> str:
    return shlex.join(run.argv)


def _named(action: Action) -> str:
    match action:
        case Run():
            return f"`{_typed(action)}`"
        case Read(path=path):
            return f"reading {path}"
        case Write(path=path):
            return f"writing {path}"
        case Network(host=host):
            return "the network" if host == "*" else f"talking to {host}"
        case Unknown():
            return "what was not understood"
