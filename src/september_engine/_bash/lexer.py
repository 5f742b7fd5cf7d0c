"""The lexer: text in, words and operators out, exactly where bash begins and ends them.

What bash would read differently here and there (history, aliases, extended patterns, arithmetic, arrays, backquotes,
a line continuation inside a word) is refused, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

import attrs

from .doubt import NotUnderstood
from .syntax import Node, Output, Part, Text, Variable, Word

__all__ = ["END", "NEWLINE", "Lexer", "Operator", "Token"]

OPERATORS = ("&>>", "<<<", "&&", "||", "|&", "&>", "<<", "<&", ">>", ">&", ">|", ";", "|", "&", "(", ")", "<", ">")
REFUSED_OPERATORS = {
    ";;": "`case` is not understood",
    ";&": "`case` is not understood",
    "<>": "`<>` is not understood",
    "<<-": "`<<-` is not understood",
    "<(": "it holds a process substitution",
    ">(": "it holds a process substitution",
    "((": "it holds arithmetic",
}
ENDS_WORD = frozenset(" \t\n|&;()<>")
SPECIAL = ENDS_WORD | frozenset("'\"\\$`")

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BRACED_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
SUBSCRIPT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\[")
DESCRIPTOR = re.compile(r"[0-9]+(?=[<>])")
PLAIN = re.compile(r'[^"\\$`]+')
DELIMITER = re.compile(r"[A-Za-z0-9_]+")
ANSI_PIECE = re.compile(
    r"\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{1,4}|U[0-9A-Fa-f]{1,8}|[abeEfnrtv\\'\"?])|[^\\']"
)
ANSI_LETTERS = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))


@attrs.frozen
class Operator:
    """`text` is "" at the end and a newline at the end of a line."""

    text: str
    start: int


Token: TypeAlias = Word | Operator

END, NEWLINE = "", "\n"


@attrs.define
class Lexer:
    """Reads from `at` on. `inner` parses what follows a `$(` and says where its `)` ends."""

    text: str
    at: int
    inner: Callable[[int], tuple[Node, int]]
    _heredocs: list[tuple[str, bool]] = attrs.field(factory=list, init=False)

    def next(self) -> Token:
        self._skip_blanks()
        start = self.at
        if start == len(self.text):
            if self._heredocs:
                raise NotUnderstood("a here-document has no end")
            return Operator(END, start)
        if self.text[start] == "\n":
            self.at += 1
            self._read_heredocs()
            return Operator(NEWLINE, start)
        if descriptor := DESCRIPTOR.match(self.text, start):
            self.at = descriptor.end()
        for refused, why in REFUSED_OPERATORS.items():
            if self.text.startswith(refused, self.at):
                raise NotUnderstood(why)
        for operator in OPERATORS:
            if self.text.startswith(operator, self.at):
                self.at += len(operator)
                return Operator(operator, start)
        return self._word(start)

    def expect_heredoc(self, delimiter: Word) -> None:
        """What follows the current line, up to this word, is text for a command."""
        quoted = any(isinstance(part, Text) and part.quoted for part in delimiter.parts)
        text = "".join(part.text for part in delimiter.parts if isinstance(part, Text))
        if not DELIMITER.fullmatch(text) or not all(isinstance(part, Text) for part in delimiter.parts):
            raise NotUnderstood("the end of a here-document is not a plain word")
        self._heredocs.append((text, quoted))

    def leave(self) -> int:
        """Where this lexer stopped, for who goes on from there."""
        if self._heredocs:
            raise NotUnderstood("a here-document has no end")
        return self.at

    def _skip_blanks(self) -> None:
        while self.at < len(self.text):
            if self.text[self.at] in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at) and (self.at == 0 or self.text[self.at - 1] in " \t\n"):
                self.at += 2
            elif self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = end if end >= 0 else len(self.text)
            else:
                return

    def _read_heredocs(self) -> None:
        for delimiter, quoted in self._heredocs:
            end = re.compile(rf"^{delimiter}(?:\n|\Z)", re.MULTILINE).search(self.text, self.at)
            if end is None:
                raise NotUnderstood("a here-document has no end")
            if not quoted and re.search(r"[$`\\]", self.text[self.at : end.start()]):
                raise NotUnderstood("a here-document holds expansions")
            # the newline after the delimiter ends the line that the here-document belongs to
            self.at = end.end()
        self._heredocs.clear()

    def _word(self, start: int) -> Word:
        if SUBSCRIPT.match(self.text, start):
            raise NotUnderstood("it may assign to an array")
        parts: list[Part] = []
        while self.at < len(self.text) and self.text[self.at] not in ENDS_WORD:
            parts.extend(self._part())
        source = self.text[start : self.at]
        if source.endswith("}") and self.text.startswith(("<", ">"), self.at):
            raise NotUnderstood("a redirect names a variable for its descriptor")
        return Word(parts=tuple(_merged(parts)), source=source, start=start)

    def _part(self) -> list[Part]:
        match self.text[self.at]:
            case "'":
                return [Text(self._until_quote(), quoted=True)]
            case '"':
                return self._double_quoted()
            case "$":
                return [self._dollar(quoted=False)]
            case "\\":
                following = self.text[self.at + 1 : self.at + 2]
                if following in ("", "\n"):
                    raise NotUnderstood("a line is continued inside a word")
                self.at += 2
                return [Text(following, quoted=True)]
            case "`":
                raise NotUnderstood("it holds backquotes")
            case _:
                start = self.at
                while self.at < len(self.text) and self.text[self.at] not in SPECIAL:
                    self.at += 1
                return [Text(self.text[start : self.at], quoted=False)]

    def _until_quote(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise NotUnderstood("a quote is not closed")
        inside = self.text[self.at + 1 : end]
        self.at = end + 1
        return inside

    def _double_quoted(self) -> list[Part]:
        self.at += 1
        parts: list[Part] = [Text("", quoted=True)]
        while self.at < len(self.text):
            match self.text[self.at]:
                case '"':
                    self.at += 1
                    return parts
                case "`":
                    raise NotUnderstood("it holds backquotes")
                case "$":
                    parts.append(self._dollar(quoted=True))
                case "\\":
                    following = self.text[self.at + 1 : self.at + 2]
                    escaped = {"\n": "", "$": "$", "`": "`", '"': '"', "\\": "\\"}.get(following, "\\" + following)
                    parts.append(Text(escaped, quoted=True))
                    self.at += 2
                case _:
                    plain = PLAIN.match(self.text, self.at)
                    parts.append(Text(plain.group() if plain else "", quoted=True))
                    self.at = plain.end() if plain else self.at + 1
        raise NotUnderstood("a quote is not closed")

    def _dollar(self, *, quoted: bool) -> Part:
        """What a `$` begins; the character itself where it begins nothing."""
        rest = self.text[self.at + 1 : self.at + 3]
        if rest == "((" or rest[:1] == "[":
            raise NotUnderstood("it holds arithmetic")
        if rest[:1] == "(":
            return self._output(quoted=quoted)
        if rest[:1] == "'" and not quoted:
            return self._ansi_quoted()
        if (rest[:1] == '"' and not quoted) or rest == "\\\n" or not rest[:1].isascii():
            raise NotUnderstood(f"`${rest[:1]}` is not understood")
        if braced := BRACED_NAME.match(self.text, self.at + 1):
            self.at = braced.end()
            return Variable(braced.group(1), quoted=quoted)
        if rest[:1] == "{":
            raise NotUnderstood("it computes with a variable")
        if name := NAME.match(self.text, self.at + 1):
            self.at = name.end()
            if self.text.startswith("\\\n", self.at):
                raise NotUnderstood("a line is continued inside a word")
            return Variable(name.group(), quoted=quoted)
        if rest and rest[0] in "0123456789@*#?$!-":
            self.at += 2
            return Variable(rest[0], quoted=quoted)
        self.at += 1
        return Text("$", quoted=True)

    def _output(self, *, quoted: bool) -> Output:
        start = self.at
        body, self.at = self.inner(self.at + 2)
        if self._heredocs and "\n" in self.text[start : self.at]:
            raise NotUnderstood("a here-document begins in the middle of another command")
        return Output(body, quoted=quoted)

    def _ansi_quoted(self) -> Text:
        self.at += 2
        decoded: list[str] = []
        while self.at < len(self.text) and self.text[self.at] != "'":
            piece = ANSI_PIECE.match(self.text, self.at)
            if piece is None:
                raise NotUnderstood("an escape inside $'…' is not understood")
            decoded.append(_ansi_character(piece))
            self.at = piece.end()
        if self.at == len(self.text):
            raise NotUnderstood("a quote is not closed")
        self.at += 1
        return Text("".join(decoded), quoted=True)


def _ansi_character(piece: re.Match[str]) -> str:
    escape = piece.group(1)
    if escape is None:
        return piece.group()
    if escape in ANSI_LETTERS:
        return ANSI_LETTERS[escape]
    code = int(escape[1:], 16) if escape[0] in "xuU" else int(escape, 8)
    # a NUL ends the word, and what is not ASCII depends on the locale
    if not 0 < code < 128:
        raise NotUnderstood("an escape inside $'…' is not understood")
    return chr(code)


def _merged(parts: list[Part]) -> list[Part]:
    """Neighbours that are text of one kind as one."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, Text) and isinstance(last, Text) and part.quoted == last.quoted:
            merged[-1] = Text(last.text + part.text, quoted=part.quoted)
        else:
            merged.append(part)
    return merged
