"""Programs that only look: at files, at texts, at the machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .call import Call, Effect, Judge, Outcome
from .doubt import NotUnderstood
from .options import parse
from .values import Argument

__all__ = ["PROGRAMS"]

TALKS = """
    : true false echo pwd whoami id uname arch nproc sleep seq basename dirname which type groups tty uptime free ps
    printenv expr yes logname cal
"""
"""No option of theirs reads a file that a word names, or does anything."""

READS = """
    cat ls wc head tail stat du df cut tr nl tac rev fold fmt expand unexpand column comm join paste od hexdump strings
    cmp diff realpath readlink md5sum sha1sum sha224sum sha256sum sha384sum sha512sum b2sum cksum sum
    grep egrep fgrep jq
"""
"""No option of theirs writes or runs anything, so a word may be anything: what it names is read."""

PATTERN_FIRST = frozenset("grep egrep fgrep jq rg".split())
LOOK_AROUND = frozenset("ls du grep rg tree".split())

STRICT: Mapping[str, str] = {
    "sort": "-bdfghiMnrsuVzc -k: -t: -S: --key: --field-separator: --reverse --unique --numeric-sort --version-sort "
    "--human-numeric-sort --ignore-case --stable --check --parallel:",
    "tree": "-adfhilpqrstuDFACNS -L: -I: -P: --noreport --dirsfirst --gitignore --prune --du --charset: --filelimit:",
    "rg": "-acFhHiIlLnNoPpqsSuUvwx0 -A: -B: -C: -e: -g: -m: -M: -r: -t: -T: -j: -E: -f< -d: --after-context: "
    "--before-context: --context: --glob: --iglob: --type: --type-not: --regexp: --max-count: --max-depth: --replace: "
    "--files --files-with-matches --files-without-match --count --count-matches --hidden --no-ignore --no-ignore-vcs "
    "--line-number --no-line-number --ignore-case --smart-case --fixed-strings --word-regexp --multiline --pcre2 "
    "--heading --no-heading --color: --sort: --stats --json --type-list --no-messages --with-filename --no-filename "
    "--only-matching --invert-match --passthru --trim --vimgrep --null --max-columns: --max-filesize: --text --version",
    "file": "-bihLNrs --brief --mime --mime-type --mime-encoding --dereference",
    "date": "-uIR -d: -I? -r< --utc --date: --iso-8601? --rfc-3339: --rfc-email",
    "xxd": "-bceipu -l: -s: -c: -g:",
    "base64": "-d -w: --decode --wrap: --ignore-garbage",
    "base32": "-d -w: --decode --wrap:",
    "hostname": "-fisI",
    "getconf": "-a",
    "locale": "-a",
    "lscpu": "-J",
    "bc": "-lq",
}

TEST_UNARY = frozenset("-b -c -d -e -f -g -h -k -L -n -p -r -s -S -u -w -x -z -O -G -N -t".split())
"""Without `-v` and `-R`, which run what is in a subscript."""
TEST_BINARY = frozenset("= == != -eq -ne -lt -le -gt -ge -nt -ot -ef".split())


def talks(call: Call) -> Outcome:
    return Outcome()


def reads(call: Call) -> Outcome:
    named = list(_named(call.arguments))
    if call.program in PATTERN_FIRST and not _has_pattern_option(call.arguments):
        named = named[1:]
    effects: list[Effect] = [call.read(one) for one in named]
    return Outcome(effects=_or_here(call, effects))


def reads_strictly(call: Call) -> Outcome:
    """By the list of options, for programs of which some option writes or runs something."""
    options = parse(call, STRICT[call.program])
    operands = options.operands
    if call.program == "date" and not all((one.value or one.begins).startswith("+") for one in operands):
        raise NotUnderstood("it may set the clock")
    if call.program == "xxd" and len(operands) > 1:
        raise NotUnderstood("xxd writes its second operand")
    if call.program == "hostname" and operands:
        raise NotUnderstood("it sets the name of the machine")
    if call.program == "rg" and not options.has("-e", "-f", "--regexp", "--files", "--type-list"):
        operands = operands[1:]
    if call.program in ("date", "getconf", "locale", "lscpu"):
        return Outcome(effects=tuple(options.effects(call)))
    return Outcome(effects=_or_here(call, [*options.effects(call), *map(call.read, operands)]))


def uniq(call: Call) -> Outcome:
    options = parse(call, "-cdDiuz -f: -s: -w: --count --repeated --unique --ignore-case")
    source, target = options.operands[:1], options.operands[1:]
    if len(target) > 1 or any(one.many for one in options.operands):
        raise NotUnderstood("uniq writes its second operand")
    return Outcome(effects=(*map(call.read, source), *map(call.write, target)))


def printf(call: Call) -> Outcome:
    """`-v` and `%n` set variables, and bash runs what is in their subscripts."""
    shape = call.arguments[0] if call.arguments else Argument("")
    if shape.value is None or shape.value.startswith("-") or re.search(r"%[^a-zA-Z%]*n", shape.value):
        raise NotUnderstood("the format of printf is not a plain text")
    return Outcome()


def test(call: Call) -> Outcome:
    """Only tests of which the shape is certain, whatever their words turn out to be."""
    words = list(call.arguments)
    if call.program == "[":
        if not words or words.pop().value != "]":
            raise NotUnderstood("this test is not understood")
    if words and words[0].value == "!":
        words = words[1:]
    match [word.value for word in words]:
        case _ if any(word.many for word in words):
            raise NotUnderstood("this test is not understood: a word of it may become several")
        case [] | [_]:
            return Outcome()
        case [operator, _] if operator in TEST_UNARY:
            return Outcome(effects=(call.read(words[1]),) if operator not in ("-n", "-z", "-t") else ())
        case [_, operator, _] if operator in TEST_BINARY:
            return Outcome()
        case _:
            raise NotUnderstood("this test is not understood")


def _named(words: tuple[Argument, ...]) -> Iterator[Argument]:
    """The words that may name a file: all but options, and what is attached to an option and looks like a path."""
    for word in words:
        if word.value is None or not word.value.startswith("-"):
            yield word
        elif "/" in word.value or "=" in word.value:
            attached = word.value.partition("=")[2] or word.value[word.value.index("/") :]
            if "/" in attached or "." in attached:
                yield Argument(word.source, value=attached)


def _has_pattern_option(words: tuple[Argument, ...]) -> bool:
    given = [word.value or word.begins for word in words]
    return any(re.match(r"-[^-]*[ef]|--(regexp|file|from-file)", one) for one in given) or any(
        word.value is None and word.may_be_option for word in words
    )


def _or_here(call: Call, effects: list[Effect]) -> tuple[Effect, ...]:
    return tuple(effects or ([call.read(Argument(".", value="."))] if call.program in LOOK_AROUND else []))


PROGRAMS: Mapping[str, Judge] = {
    **dict.fromkeys(TALKS.split(), talks),
    **dict.fromkeys(READS.split(), reads),
    **dict.fromkeys(STRICT, reads_strictly),
    "uniq": uniq,
    "printf": printf,
    "test": test,
    "[": test,
}
