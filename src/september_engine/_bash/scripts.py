"""sed and awk: little languages of which a small part cannot run, read or write anything but its input."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .call import Call, Judge, Outcome
from .doubt import NotUnderstood
from .options import parse
from .values import Argument

__all__ = ["PROGRAMS", "is_plain_awk", "is_plain_sed"]

_REGEX = r"/(?:\\[^\n]|[^/\\\n])*/[IM]*"
_ADDRESS = rf"(?:[0-9]+(?:~[0-9]+)?|\$|{_REGEX})"
_DELIMITED = "|".join(
    rf"{re.escape(one)}(?:\\[^\n]|[^{re.escape(one)}\\\n])*{re.escape(one)}(?:\\[^\n]|[^{re.escape(one)}\\\n])*{re.escape(one)}"
    for one in "/|#,@:!_%+"
)
_COMMAND = re.compile(
    rf"""
    [\s;]*
    (?:{_ADDRESS}(?:,[ ]*(?:[+~]?[0-9]+|{_ADDRESS}))?)?   # which lines
    [ ]*!?[ ]*
    (?:
        s(?:{_DELIMITED})[gpiI0-9]*                       # without the flags e and w
      | y(?:{_DELIMITED})
      | [pdDPnNgGhHxlz=]
      | [qQ][ ]*[0-9]*
      | [aic][ ]*[^\s\\][^\n\\]*(?=\n|\Z)                  # text to the end of the line
      | [{{}}]
    )
    [ ]*(?=[;\n}}]|\Z)
    |
    [\s;]*\{{                                              # a block, whose commands follow
    """,
    re.VERBOSE,
)
_BLOCK = re.compile(rf"[\s;]*{_ADDRESS}(?:,[ ]*(?:[+~]?[0-9]+|{_ADDRESS}))?[ ]*!?[ ]*\{{")

AWK_REFUSED = re.compile(r"system|getline|close|fflush|@|[|]")
SED_OPTIONS = (
    "-nErsuz -e: -i? --quiet --silent --regexp-extended --expression: --in-place? --null-data --separate --debug"
)


def sed(call: Call) -> Outcome:
    options = parse(call, SED_OPTIONS)
    scripts, files = options.values("-e", "--expression"), options.operands
    if not scripts:
        scripts, files = list(files[:1]), files[1:]
    texts = [one.value for one in scripts]
    if not texts or any(text is None for text in texts) or not is_plain_sed("\n".join(text or "" for text in texts)):
        raise NotUnderstood("the script of sed may do more than change its input")
    if not options.has("-i", "--in-place"):
        return Outcome(effects=tuple(call.read(one) for one in files))
    suffixes = options.values("-i", "--in-place")
    if any(one.value is None or "/" in one.value or "*" in one.value for one in suffixes):
        raise NotUnderstood("where sed -i keeps the old file cannot be told")
    changed = [call.write(one) for one in files]
    kept = [
        call.write(Argument(one.source, value=f"{one.value}{end.value}"))
        for end in suffixes
        for one in files
        if one.value
    ]
    return Outcome(effects=(*changed, *kept))


def awk(call: Call) -> Outcome:
    options = parse(call, "-F: -v: --field-separator: --assign:", stop=True)
    program, files = options.operands[:1], options.operands[1:]
    if not program or program[0].value is None or not is_plain_awk(program[0].value):
        raise NotUnderstood("the program of awk may do more than print")
    return Outcome(effects=tuple(call.read(one) for one in files if "=" not in (one.value or "")))


def is_plain_sed(script: str) -> bool:
    """Whether the script only edits its input: no `e`, `w`, `r`, no flags `e` and `w`, no jumps."""
    at = 0
    while at < len(script):
        if re.compile(r"[\s;]*\Z").match(script, at):
            return True
        command = _BLOCK.match(script, at) or _COMMAND.match(script, at)
        if command is None or command.end() == at:
            return False
        at = command.end()
    return True


def is_plain_awk(program: str) -> bool:
    """Whether the program only prints: it runs nothing, reads nothing else, and sends nothing to a file."""
    if AWK_REFUSED.search(program.replace("||", "")):
        return False
    # `>` after a print writes a file; before any it compares
    return ">" not in program.partition("print")[2]


PROGRAMS: Mapping[str, Judge] = {"sed": sed, **dict.fromkeys("awk gawk mawk nawk".split(), awk)}
