"""The grammar: a strict subset of bash's, by recursive descent. What is not in it is refused."""

from __future__ import annotations

import re

import attrs

from .doubt import NotUnderstood
from .lexer import END, NEWLINE, Lexer, Operator, Token
from .syntax import (
    AndOr,
    Assignment,
    Commands,
    For,
    Group,
    If,
    Loop,
    Node,
    Not,
    Pipeline,
    Redirect,
    Redirected,
    Simple,
    Subshell,
    Test,
    Text,
    Word,
)

__all__ = ["MOST_COMMANDS", "parse"]

MOST_COMMANDS = 50
DEEPEST = 12
"""Substitutions, subshells and compound commands inside each other. Each level is a dozen frames of ours."""

RESERVED = frozenset(
    "if then elif else fi while until do done for case esac select function coproc in { } ! [[ ]]".split()
)
REDIRECTS = frozenset(("<", ">", ">>", ">|", "&>", "&>>", ">&", "<&", "<<<", "<<"))
ASSIGNS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?=)")
TEST_UNARY = frozenset("-d -e -f -h -L -n -r -s -w -x -z".split())
TEST_BINARY = frozenset(("=", "==", "!="))
NOT_POSIX = frozenset(("&>", "&>>", "<<<", "|&"))


def parse(text: str, *, posix: bool = False) -> tuple[Node, frozenset[int]]:
    """The commands, and where each begins, in characters. Raises `NotUnderstood`.

    `posix` refuses what a plain `sh` reads differently.
    """
    if posix and re.search(r"\$'|\{[^{}\s]*,", text):
        raise NotUnderstood("sh and bash read it differently")
    script = _Script(text, posix)
    parser = _Parser(script, at=0, depth=0)
    node = parser.sequence(until=(END,))
    return node, frozenset(script.starts)


@attrs.define
class _Script:
    """The text, and what was found in it so far."""

    text: str
    posix: bool
    starts: list[int] = attrs.field(factory=list, init=False)

    def found(self, start: int) -> None:
        self.starts.append(start)
        if len(self.starts) > MOST_COMMANDS:
            raise NotUnderstood(f"it holds more than {MOST_COMMANDS} commands")


class _Parser:
    """One token of look-ahead over one lexer; a `$(` gets a parser of its own."""

    def __init__(self, script: _Script, *, at: int, depth: int) -> None:
        self._script = script
        self._depth = depth
        self._lexer = Lexer(script.text, at, self._inner)
        self._token: Token = Operator(END, at)
        self._advance()

    def sequence(self, *, until: tuple[str, ...]) -> Commands:
        """Commands up to one of these operators or reserved words, which is left for the caller."""
        items: list[tuple[Node, bool]] = []
        self._skip_newlines()
        while not self._is(*until):
            node = self._and_or()
            background = self._is("&")
            if self._is(";", "&", NEWLINE):
                self._advance()
            elif not self._is(*until):
                raise NotUnderstood(f"{self._shown()} is not understood here")
            items.append((node, background))
            self._skip_newlines()
        return Commands(tuple(items))

    def _inner(self, at: int) -> tuple[Node, int]:
        if self._depth >= DEEPEST:
            raise NotUnderstood("it is nested too deeply")
        parser = _Parser(self._script, at=at, depth=self._depth + 1)
        body = parser.sequence(until=(")",))
        return body, parser._lexer.leave()

    def _and_or(self) -> Node:
        first = self._pipeline()
        rest: list[tuple[str, Node]] = []
        while self._is("&&", "||"):
            operator = self._operator()
            self._skip_newlines()
            rest.append((operator, self._pipeline()))
        return AndOr(first, tuple(rest)) if rest else first

    def _pipeline(self) -> Node:
        if self._is("!"):
            self._advance()
            if self._is("!"):
                raise NotUnderstood("`!` is not understood here")
            return Not(self._pipeline())
        parts = [self._command()]
        while self._is("|", "|&"):
            self._operator()
            self._skip_newlines()
            parts.append(self._command())
        return Pipeline(tuple(parts)) if len(parts) > 1 else parts[0]

    def _command(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise NotUnderstood("it is nested too deeply")
        word = self._token.bare if isinstance(self._token, Word) else None
        node = self._simple() if word not in RESERVED and not self._is("(") else self._compound(word)
        self._depth -= 1
        return node

    def _compound(self, word: str | None) -> Node:
        body: Node
        match word:
            case None:
                body = Subshell(self._enclosed("(", ")"))
            case "{":
                body = Group(self._enclosed("{", "}"))
            case "if":
                body = self._if()
            case "while" | "until":
                self._advance()
                condition = self._some(until=("do",))
                body = Loop(condition, self._enclosed("do", "done"), until=word == "until")
            case "for":
                body = self._for()
            case "[[":
                body = self._test()
            case _:
                raise NotUnderstood(f"`{word}` is not understood here")
        redirects: list[Redirect] = []
        while self._is(*REDIRECTS):
            redirects.extend(self._redirect())
        return Redirected(body, tuple(redirects)) if redirects else body

    def _enclosed(self, opening: str, closing: str) -> Node:
        self._expect(opening)
        body = self._some(until=(closing,))
        self._expect(closing)
        return body

    def _some(self, *, until: tuple[str, ...]) -> Commands:
        sequence = self.sequence(until=until)
        if not sequence.items:
            raise NotUnderstood("a command is missing")
        return sequence

    def _if(self) -> Node:
        """From `if` or `elif` on, up to and with the `fi`."""
        self._advance()
        condition = self._some(until=("then",))
        self._expect("then")
        then = self._some(until=("elif", "else", "fi"))
        if self._is("elif"):
            return If(condition, then, self._deeper_if())
        if self._is("else"):
            return If(condition, then, self._enclosed("else", "fi"))
        self._expect("fi")
        return If(condition, then, None)

    def _deeper_if(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise NotUnderstood("it is nested too deeply")
        node = self._if()
        self._depth -= 1
        return node

    def _for(self) -> Node:
        self._advance()
        name = self._word().bare or ""
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not self._is("in"):
            raise NotUnderstood("this `for` is not understood")
        self._advance()
        words: list[Word] = []
        while isinstance(self._token, Word):
            words.append(self._word())
        if not self._is(";", NEWLINE):
            raise NotUnderstood("this `for` is not understood")
        self._advance()
        self._skip_newlines()
        return For(name, tuple(words), self._enclosed("do", "done"))

    def _test(self) -> Node:
        """`[[ … ]]`: only tests that look at names and texts; numbers would be computed, and `-v` runs subscripts."""
        self._refuse_if_posix("[[")
        self._script.found(self._token.start)
        self._advance()
        words = [*self._one_test()]
        while self._is("&&", "||"):
            self._advance()
            words += self._one_test()
        self._expect("]]")
        return Test(tuple(words))

    def _one_test(self) -> list[Word]:
        if self._is("!"):
            self._advance()
        first = self._word()
        if first.bare in TEST_UNARY:
            return [self._word()]
        if first.bare in RESERVED or (first.bare or "").startswith("-"):
            raise NotUnderstood(f"`{first.source}` is not understood inside [[ ]]")
        if isinstance(self._token, Word) and self._token.bare in TEST_BINARY:
            self._advance()
            return [first, self._word()]
        return [first]

    def _simple(self) -> Node:
        start = self._token.start
        assignments: list[Assignment] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        count = 0
        while isinstance(self._token, Word) or self._is(*REDIRECTS):
            count += 1
            if self._is(*REDIRECTS):
                redirects.extend(self._redirect())
                continue
            word = self._word()
            assignment = _assignment(word) if not words else None
            if assignment is not None:
                assignments.append(assignment)
            else:
                words.append(word)
        if not count or self._is("("):
            raise NotUnderstood(f"{self._shown()} is not understood here")
        if words:
            self._script.found(start)
        return Simple(tuple(assignments), tuple(words), tuple(redirects))

    def _redirect(self) -> list[Redirect]:
        operator = self._operator()
        # before the look-ahead moves: the next token may be the newline after which the here-document begins
        if operator == "<<" and isinstance(self._token, Word):
            self._lexer.expect_heredoc(self._token)
        target = self._word()
        return [] if operator == "<<" else [Redirect(operator, target)]

    # tokens

    def _is(self, *texts: str) -> bool:
        """Whether the current token is one of these operators or, unquoted, one of these reserved words."""
        return (self._token.bare if isinstance(self._token, Word) else self._token.text) in texts

    def _advance(self) -> None:
        self._token = self._lexer.next()

    def _expect(self, text: str) -> None:
        if not self._is(text):
            raise NotUnderstood(f"{self._shown()} is not understood here")
        self._advance()

    def _word(self) -> Word:
        if not isinstance(self._token, Word):
            raise NotUnderstood(f"{self._shown()} is not understood here")
        word = self._token
        self._advance()
        return word

    def _operator(self) -> str:
        if isinstance(self._token, Word):
            raise NotUnderstood(f"{self._shown()} is not understood here")
        text = self._token.text
        if text in NOT_POSIX:
            self._refuse_if_posix(text)
        self._advance()
        return text

    def _refuse_if_posix(self, what: str) -> None:
        if self._script.posix:
            raise NotUnderstood(f"`{what}` means something else to sh")

    def _skip_newlines(self) -> None:
        while self._is(NEWLINE):
            self._advance()

    def _shown(self) -> str:
        if isinstance(self._token, Word):
            return f"`{self._token.source}`"
        return {END: "the end", NEWLINE: "the end of the line"}.get(self._token.text, f"`{self._token.text}`")


def _assignment(word: Word) -> Assignment | None:
    """The word as an assignment, where bash takes it as one before a command."""
    first = word.parts[0] if word.parts else None
    if not isinstance(first, Text) or first.quoted:
        return None
    assigns = ASSIGNS.match(first.text)
    if assigns is None:
        return None
    if assigns.group(2) == "+=":
        raise NotUnderstood("it appends to a variable")
    rest = Text(first.text[assigns.end() :], quoted=False)
    value = Word((rest, *word.parts[1:]), word.source[assigns.end() :], word.start + assigns.end())
    return Assignment(assigns.group(1), value)
