"""Options, by an allow-list that is written like a usage line.

A specification is words: `-abc` are flags; `-n:` and `--lines:` take a value, `<` in place of `:` one that names a
file that is read, `>` one that is written; `--color?` may have a value attached to it; `-Wall!` is a flag of several
letters; `-#` is a number such as `-20`. What is not in it is refused, so that neither an abbreviation nor a new option
of a program falls open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import attrs

from .call import Call, Effect
from .doubt import NotUnderstood
from .values import Argument

__all__ = ["Options", "parse"]


@attrs.frozen
class Options:
    """What was found: options with their values in order, and the operands."""

    found: tuple[tuple[str, Argument | None], ...]
    operands: tuple[Argument, ...]
    _spec: Mapping[str, str]

    def has(self, *names: str) -> bool:
        return any(name in names for name, _ in self.found)

    def values(self, *names: str) -> list[Argument]:
        return [value for name, value in self.found if name in names and value is not None]

    def effects(self, call: Call) -> Iterator[Effect]:
        """What the files that options name are for."""
        for name, value in self.found:
            if value is not None and self._spec[name] == "<":
                yield call.read(value)
            elif value is not None and self._spec[name] == ">":
                yield call.write(value)


def parse(call: Call, spec: str, *, stop: bool = False, last: str = "", loose: bool = False) -> Options:
    """The call's words by the specification. Raises `NotUnderstood` for what is not in it.

    Args:
        call: The call.
        spec: The options that are known to be harmless, or whose files are looked at.
        stop: The first operand ends the options, as for programs that run another one.
        last: An option that ends the options, too.
        loose: A word that may turn out to be an option is an operand: for programs whose options do no more than
            their operands do.
    """
    return _Reading(call, _kinds(spec), stop=stop, last=last, loose=loose).options()


@attrs.define
class _Reading:
    call: Call
    kinds: Mapping[str, str]
    stop: bool
    last: str
    loose: bool
    found: list[tuple[str, Argument | None]] = attrs.field(factory=list, init=False)
    operands: list[Argument] = attrs.field(factory=list, init=False)

    def options(self) -> Options:
        waiting = list(self.call.arguments)
        while waiting:
            argument = waiting.pop(0)
            if argument.value == "--":
                self.operands.extend(waiting)
                break
            if self._is_option(argument):
                self._option(argument, waiting)
                if self.found[-1][0] == self.last:
                    self.operands.extend(waiting)
                    break
            else:
                self.operands.append(argument)
                if self.stop:
                    self.operands.extend(waiting)
                    break
        return Options(tuple(self.found), tuple(self.operands), self.kinds)

    def _is_option(self, argument: Argument) -> bool:
        if argument.value is not None:
            return argument.value.startswith("-") and argument.value != "-"
        if argument.begins.startswith("--") and "=" in argument.begins:
            return True
        if argument.may_be_option and not (self.loose and not argument.begins):
            raise NotUnderstood(f"`{argument.source}` may turn out to be an option")
        return False

    def _option(self, argument: Argument, waiting: list[Argument]) -> None:
        text = argument.value if argument.value is not None else argument.begins
        name, equals, value = text.partition("=")
        if name in self.kinds and (text.startswith("--") or len(name) > 2):
            attached = attrs.evolve(
                argument, value=value if argument.value is not None else None, begins=value, stays=False
            )
            self._found(name, attached if equals else None, waiting)
        elif text[1:].isdecimal() and "-#" in self.kinds:
            self.found.append(("-#", argument))
        elif text.startswith("--") or argument.value is None:
            self._refuse(name)
        else:
            self._cluster(text, waiting)

    def _cluster(self, text: str, waiting: list[Argument]) -> None:
        """Single letters after one `-`, of which the last may have a value."""
        for at, letter in enumerate(text[1:], start=2):
            kind = self.kinds.get(f"-{letter}")
            if kind is None:
                self._refuse(f"-{letter}")
            rest = text[at:]
            if kind:
                self._found(f"-{letter}", Argument(rest, value=rest) if rest else None, waiting)
                return
            self.found.append((f"-{letter}", None))

    def _found(self, name: str, value: Argument | None, waiting: list[Argument]) -> None:
        kind = self.kinds[name]
        if value is None and kind in (":", "<", ">"):
            if not waiting or waiting[0].many or _is_doubtful(name, waiting[0]):
                raise NotUnderstood(f"the value of {name} cannot be told")
            value = waiting.pop(0)
        if value is not None and kind == "":
            self._refuse(f"{name}=")
        self.found.append((name, value))

    def _refuse(self, name: str) -> None:
        raise NotUnderstood(f"what {self.call.program} does with {name} is not known")


def _is_doubtful(name: str, value: Argument) -> bool:
    """Whether the program may take a word of its own for another option, and not for the value of this one.

    Some programs know some long options only with `=`; a single letter always takes the next word.
    """
    if value.value is not None:
        return value.value.startswith("-") and value.value != "-"
    return name.startswith("--") and value.may_be_option


@cache
def _kinds(spec: str) -> Mapping[str, str]:
    kinds: dict[str, str] = {}
    for word in spec.split():
        name, kind = (word[:-1], word[-1]) if word[-1] in ":<>?!" else (word, "")
        if kind or name.startswith("--") or len(name) == 2:
            kinds[name] = kind.replace("!", "")
        else:
            kinds.update((f"-{letter}", "") for letter in name[1:])
    return kinds
