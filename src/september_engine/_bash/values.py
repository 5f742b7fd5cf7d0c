"""What words come to: the arguments of a command, as far as they can be told without running anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from .doubt import NotUnderstood
from .syntax import Output, Part, Text, Variable, Word

__all__ = ["Argument", "World", "absolute", "alternatives", "expand"]

SAFE = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
"""A value of these stays one word, the same one, when it is not quoted."""

GLOB = re.compile(r"[*?\[]")
BRACES = re.compile(r",|\.\.")
ONE_BRACE = re.compile(r"([^{}]*)\{([^{}]*)\}([^{}]*)")


@attrs.frozen
class Argument:
    """One word of a command, or several (`many`).

    Args:
        source: As it was typed.
        value: What the command gets, or None where that cannot be told.
        begins: What the value certainly begins with.
        stays: Whether the rest of the value is a path that never climbs: the matches of `src/*.py` stay below `src/`.
        many: Whether it may become no word, or more than one.
    """

    source: str
    value: str | None = None
    begins: str = ""
    stays: bool = False
    many: bool = False

    @property
    def may_be_option(self) -> bool:
        """Whether a command may take it for an option, as far as can be told."""
        known = self.value if self.value is not None else self.begins
        return known.startswith(("-", "+")) or (self.value is None and not known)

    def path(self, cwd: str) -> str | None:
        """The absolute path it names, or the folder below which all lies that it may name; None if it may be any."""
        if self.value is not None:
            return absolute(self.value, cwd) if self.value else None
        if self.stays:
            return absolute(self.begins[: self.begins.rfind("/") + 1] or ".", cwd)
        return None


@attrs.frozen
class World:
    """A state that the shell may be in: its folder, and the variables that were set on the way."""

    cwd: str
    names: tuple[tuple[str, Argument], ...] = ()

    def with_cwd(self, cwd: str) -> World:
        return attrs.evolve(self, cwd=cwd)

    def with_name(self, name: str, value: Argument) -> World:
        return attrs.evolve(
            self, names=tuple(sorted({**dict(self.names), name: value}.items(), key=lambda one: one[0]))
        )


def absolute(path: str, cwd: str) -> str:
    """As text: `..` takes the segment before it away, whatever a symbolic link may make of it."""
    segments: list[str] = []
    for segment in (path if path.startswith("/") else f"{cwd}/{path}").split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments)


def expand(word: Word, world: World, *, home: str, assigned: bool = False) -> Argument:
    """What the word comes to in this world.

    `assigned` is for the value of an assignment, where `*`, `{` and blanks have no meaning of their own.
    """
    if not word.parts:
        return Argument(word.source, value="")
    alone = word.bare == "["  # the command, which is no pattern
    pieces = [_piece(part, world, home, alone=alone) for part in _without_tilde(word, home)]
    plain = "".join(part.text for part in word.parts if isinstance(part, Text) and not part.quoted)
    if (
        (BRACES.search(plain.partition("{")[2]) and not assigned)
        or re.search(r"[=:]~", plain)
        or (assigned and plain.startswith("~"))
    ):
        return Argument(word.source, begins=_before(pieces, "{~"), many=True)
    many = not assigned and any(piece.many for piece in pieces)
    if all(piece.value is not None and (assigned or not piece.pattern) for piece in pieces):
        return Argument(word.source, value="".join(piece.value or "" for piece in pieces), many=many)
    begins, rest = _split(pieces, assigned=assigned)
    return Argument(word.source, begins=begins, stays=rest is not None and _stays(begins, rest), many=many)


def alternatives(word: Word) -> list[Word]:
    """`a{b,c}` as the words it stands for; braces that are any more involved are left, and not decoded."""
    found = ONE_BRACE.fullmatch(word.bare or "")
    before, inside, after = found.groups() if found is not None else ("", "", "")
    if "," not in inside:
        return [word]
    texts = [before + one + after for one in inside.split(",")]
    return [Word((Text(one, quoted=False),), one, word.start) for one in texts if one]


@attrs.frozen
class _Piece:
    """A part of a word: its text, or how it begins; `pattern` where the text holds unquoted `*`, `?` or `[`."""

    value: str | None
    begins: str = ""
    stays: bool = False
    many: bool = False
    pattern: bool = False


def _piece(part: Part, world: World, home: str, *, alone: bool) -> _Piece:
    match part:
        case Text(text=text, quoted=quoted):
            pattern = not quoted and GLOB.search(text) is not None and not alone
            return _Piece(text, many=pattern, pattern=pattern)
        case Variable(name=name, quoted=quoted):
            known = {"HOME": Argument("", value=home), "PWD": Argument("", value=world.cwd)} | dict(world.names)
            value = known.get(name, Argument(""))
            if not quoted and (value.value is None or not SAFE.fullmatch(value.value)):
                return _Piece(None, many=True)
            # "$@" is as many words as there are
            return _Piece(value.value, begins=value.begins, stays=value.stays, many=name == "@")
        case Output(quoted=quoted):
            return _Piece(None, many=not quoted)


def _without_tilde(word: Word, home: str) -> Iterable[Part]:
    """The parts, with a `~` that stands for the home folder replaced. Raises for somebody else's home."""
    first, *rest = word.parts
    if not isinstance(first, Text) or first.quoted or not first.text.startswith("~"):
        return word.parts
    user, slash, _ = first.text[1:].partition("/")
    if user or (rest and not slash):
        raise NotUnderstood(f"`{word.source}` names the home of somebody")
    return [Text(home, quoted=True), Text(first.text[1:], quoted=False), *rest]


def _before(pieces: Iterable[_Piece], stops: str) -> str:
    begins = ""
    for piece in pieces:
        text = piece.value or ""
        found = re.search(f"[{re.escape(stops)}*?\\[]", text)
        begins += text[: found.start()] if found else text
        if found or piece.value is None:
            break
    return begins


def _split(pieces: list[_Piece], *, assigned: bool) -> tuple[str, str | None]:
    """How the word begins, and what follows that as a pattern; None where it may be anything."""
    begins, rest, open_ = "", "", False
    for piece in pieces:
        text = piece.value
        if open_:
            rest += "*" if text is None else text
        elif text is None:
            begins, rest, open_ = begins + piece.begins, "*", True
        elif piece.pattern and not assigned:
            at = next(found.start() for found in [GLOB.search(text)] if found)
            begins, rest, open_ = begins + text[:at], text[at:], True
        else:
            begins += text
    unknown = [piece for piece in pieces if piece.value is None]
    return begins, rest if all(piece.stays for piece in unknown) and len(unknown) <= 1 else None


def _stays(begins: str, rest: str) -> bool:
    """Whether a path that begins so, and goes on in any way that matches the pattern, stays in its first folder."""
    segments = (begins[begins.rfind("/") + 1 :] + rest).split("/")
    return not any(one == ".." or (one.startswith(".") and GLOB.search(one)) for one in segments)
