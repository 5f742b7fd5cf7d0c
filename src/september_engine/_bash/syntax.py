"""The part of bash that is understood, as values: words and the commands that are made of them."""

from __future__ import annotations

from typing import TypeAlias

import attrs

__all__ = [
    "AndOr",
    "Assignment",
    "Commands",
    "For",
    "Group",
    "If",
    "Loop",
    "Node",
    "Not",
    "Output",
    "Part",
    "Pipeline",
    "Redirect",
    "Redirected",
    "Simple",
    "Subshell",
    "Test",
    "Text",
    "Variable",
    "Word",
]


@attrs.frozen
class Text:
    """Characters. Quoted ones mean themselves; among the others `*?[{~` may mean more."""

    text: str
    quoted: bool


@attrs.frozen
class Variable:
    """`$name` or `${name}`, or a special one such as `$?` or `$1`."""

    name: str
    quoted: bool


@attrs.frozen
class Output:
    """`$(…)`."""

    body: Node
    quoted: bool


Part: TypeAlias = Text | Variable | Output


@attrs.frozen
class Word:
    """One word as it is typed. `start` is where, in characters of the whole text."""

    parts: tuple[Part, ...]
    source: str
    start: int

    @property
    def bare(self) -> str | None:
        """The text where nothing of it is quoted or expanded: only such a word can be a reserved word."""
        match self.parts:
            case (Text(text=text, quoted=False),):
                return text
            case _:
                return None


@attrs.frozen
class Assignment:
    name: str
    value: Word


@attrs.frozen
class Redirect:
    """`operator` is one of `< > >> >| &> &>> >& <& <<<`. A here-document is literal text, and is left out."""

    operator: str
    target: Word


@attrs.frozen
class Simple:
    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...]


@attrs.frozen
class Test:
    """`[[ … ]]`, with `&&`, `||` and `!` left out: words between them."""

    words: tuple[Word, ...]


@attrs.frozen
class Not:
    body: Node


@attrs.frozen
class Pipeline:
    parts: tuple[Node, ...]


@attrs.frozen
class AndOr:
    """`first`, then each of `rest` after its `&&` or `||`, from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@attrs.frozen
class Commands:
    """Commands one after the other; those with True are put in the background."""

    items: tuple[tuple[Node, bool], ...]


@attrs.frozen
class Subshell:
    body: Node


@attrs.frozen
class Group:
    body: Node


@attrs.frozen
class If:
    condition: Node
    then: Node
    otherwise: Node | None


@attrs.frozen
class Loop:
    """`while`, or `until` where `until` is set."""

    condition: Node
    body: Node
    until: bool


@attrs.frozen
class For:
    name: str
    words: tuple[Word, ...]
    body: Node


@attrs.frozen
class Redirected:
    """A compound command with redirects of its own."""

    body: Node
    redirects: tuple[Redirect, ...]


Node: TypeAlias = Simple | Test | Not | Pipeline | AndOr | Commands | Subshell | Group | If | Loop | For | Redirected
