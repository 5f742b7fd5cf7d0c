"""Programs that run other programs: what they run is judged as a command of its own, or they are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from ..permissions import Write
from .call import Call, Inner, Judge, Outcome, Script
from .doubt import NotUnderstood
from .options import parse
from .values import Argument

__all__ = ["HARMLESS", "PROGRAMS", "is_harmless"]

HARMLESS = frozenset(
    """
    CI NODE_ENV PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED PYTHONHASHSEED PYTHONUTF8 PYTHONFAULTHANDLER PYTHONASYNCIODEBUG
    RUST_BACKTRACE RUST_LOG FORCE_COLOR NO_COLOR CLICOLOR LANG LC_ALL TZ GOOS GOARCH CGO_ENABLED DJANGO_SETTINGS_MODULE
    FLASK_ENV RAILS_ENV RACK_ENV LOG_LEVEL LOGLEVEL VERBOSE DEBUG PORT COLUMNS CARGO_TERM_COLOR CARGO_INCREMENTAL TERM
    """.split()
)
"""Variables that make no program run, read or write anything else."""

SEARCHED = frozenset("PYTHONPATH MYPYPATH".split())
"""Folders in which code is looked for: harmless as long as they are the workspace's own."""

WORD = re.compile(r"[A-Za-z0-9_.@:,+*=-]*")
OWN_FOLDERS = re.compile(
    r"(?:\.|[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*/?)(?::(?:\.|[A-Za-z0-9_][A-Za-z0-9_./-]*))*"
)


def is_harmless(name: str, value: Argument) -> bool:
    """Whether a command may be given this variable."""
    if value.value is None:
        return False
    if name in SEARCHED:
        return OWN_FOLDERS.fullmatch(value.value) is not None and ".." not in value.value
    return name in HARMLESS and WORD.fullmatch(value.value) is not None


def after_options(call: Call) -> Outcome:
    """The command comes after the wrapper's own options, and after its operands, where it has some."""
    spec, operands = SPECS[call.program]
    options = parse(call, spec, stop=True)
    command = options.operands[operands:]
    if any(one.many or one.value is None for one in options.operands[:operands]) or not command:
        raise NotUnderstood(f"what {call.program} runs cannot be told")
    return Outcome(runs=(Inner(command),))


def command(call: Call) -> Outcome:
    options = parse(call, "-vVp", stop=True)
    if options.has("-v", "-V"):
        return Outcome()
    if options.has("-p") or not options.operands:
        raise NotUnderstood("what command runs cannot be told")
    return Outcome(runs=(Inner(options.operands),))


def env(call: Call) -> Outcome:
    """Without `-S`, which splits a text into words, and `-C`."""
    options = parse(call, "-i0 -u: --ignore-environment --unset: --null", stop=True)
    words = list(options.operands)
    while words and "=" in (words[0].value or words[0].begins):
        name, _, value = (words[0].value or "").partition("=")
        if not is_harmless(name, attrs.evolve(words[0], value=value if words[0].value is not None else None)):
            raise NotUnderstood(f"what `{words[0].source}` makes of the command is not known")
        words.pop(0)
    return Outcome(runs=(Inner(tuple(words)),) if words else ())


def shell(call: Call) -> Outcome:
    """`sh -c` with a text, which is read in turn; or a script of the workspace."""
    options = parse(call, "-ceuxn -o:", stop=True)
    if any(one.value != "pipefail" for one in options.values("-o")):
        raise NotUnderstood(f"an option of {call.program} is not known")
    words = options.operands
    first = words[0].value if words else None
    if first is None or words[0].many or first.startswith("+"):
        raise NotUnderstood(f"what {call.program} runs cannot be looked at")
    if options.has("-c"):
        return Outcome(runs=(Script(first, posix=call.program != "bash"),))
    path = words[0].path(call.cwd)
    if path is None or first == "-":
        raise NotUnderstood(f"what {call.program} runs cannot be looked at")
    call.need_workspace(path)
    return Outcome(opaque=True)


def xargs(call: Call) -> Outcome:
    """The command gets words that nobody knows yet."""
    options = parse(
        call,
        "-0rtx -n: -P: -L: -I: -d: -s: --null --no-run-if-empty --max-args: --max-procs: --delimiter: --verbose",
        stop=True,
    )
    given = options.operands or (Argument("echo", value="echo"),)
    places = options.values("-I")
    if not places:
        return Outcome(runs=(Inner((*given, Argument("…", many=True))),))
    place = places[-1].value
    if not place:
        raise NotUnderstood("what xargs runs cannot be told")
    return Outcome(runs=(Inner(tuple(_filled(one, place, Argument("…")) for one in given)),))


FIND_TESTS: Mapping[str, int] = {
    **dict.fromkeys(
        "( ) ! -a -o -not -and -or -true -false -empty -print -print0 -prune -quit -readable -writable".split(), 0
    ),
    **dict.fromkeys("-executable -nouser -nogroup -depth -xdev -mount -noleaf -ls -daystart -d".split(), 0),
    **dict.fromkeys("-name -iname -path -ipath -wholename -regex -iregex -type -xtype -size -mtime -mmin".split(), 1),
    **dict.fromkeys("-atime -amin -ctime -cmin -newer -newermt -maxdepth -mindepth -perm -user -group".split(), 1),
    **dict.fromkeys("-links -inum -printf -regextype -lname -samefile -uid -gid -used".split(), 1),
}
"""What `find` may be told, with the number of words that follow. It writes nothing and runs nothing."""


def find(call: Call) -> Outcome:
    words = list(call.arguments)
    starts: list[Argument] = []
    while words and words[0].value not in FIND_TESTS and not (words[0].value or "").startswith("-"):
        if words[0].may_be_option or (words[0].value or words[0].begins).startswith(("(", "!", ",")):
            raise NotUnderstood(f"`{words[0].source}` may turn out to be an action of find")
        starts.append(words.pop(0))
    starts = starts or [Argument(".", value=".")]
    effects: list[Write] = []
    runs: list[Inner] = []
    while words:
        word = words.pop(0).value
        if word == "-delete":
            effects += [call.write(start) for start in starts]
        elif word == "-exec":
            runs += _executed(words, starts)
        elif word is not None and word in FIND_TESTS:
            taken, words = words[: FIND_TESTS[word]], words[FIND_TESTS[word] :]
            if any(one.many for one in taken):
                raise NotUnderstood(f"what follows {word} may turn out to be an action of find")
        else:
            raise NotUnderstood(f"what find does with {word} is not known")
    return Outcome(effects=(*map(call.read, starts), *effects), runs=tuple(runs))


def _executed(words: list[Argument], starts: list[Argument]) -> list[Inner]:
    """The command up to `;` or `{} +`, once for each place where the search begins. Takes its words away."""
    command: list[Argument] = []
    while words and not (words[0].value == ";" or (words[0].value == "+" and command and command[-1].value == "{}")):
        command.append(words.pop(0))
    if not words or not command:
        raise NotUnderstood("what find runs cannot be told")
    many = words.pop(0).value == "+"
    return [Inner(tuple(_filled(one, "{}", _found_below(start, many=many)) for one in command)) for start in starts]


def _found_below(start: Argument, *, many: bool) -> Argument:
    """What `find` finds from here: it begins with the place, as it was typed, and never climbs."""
    place = start.value if start.value is not None else start.begins
    if start.value is None and not start.stays:
        return Argument("{}", begins=place, many=many)
    folder = place if start.value is None or place.endswith("/") else f"{place}/"
    return Argument("{}", begins=folder, stays=True, many=many)


def _filled(word: Argument, place: str, filling: Argument) -> Argument:
    """The word with what is put in this place of it."""
    if word.value is None:
        return word if place not in word.source else Argument(word.source, many=word.many)
    before, found, after = word.value.partition(place)
    if not found:
        return word
    stays = filling.stays and ".." not in after and not before
    return Argument(word.source, begins=before + filling.begins, stays=stays, many=filling.many)


SPECS: Mapping[str, tuple[str, int]] = {
    "timeout": ("-v -s: -k: --signal: --kill-after: --preserve-status --foreground", 1),
    "nice": ("-n: -#", 0),
    "nohup": ("", 0),
    "time": ("-p", 0),
    "stdbuf": ("-i: -o: -e:", 0),
    "ionice": ("-c: -n:", 0),
    "chronic": ("", 0),
}
"""The options of wrappers that only change how a command runs, and how many operands come before it."""

PROGRAMS: Mapping[str, Judge] = {
    **dict.fromkeys(SPECS, after_options),
    **dict.fromkeys(("bash", "sh", "dash"), shell),
    "command": command,
    "env": env,
    "xargs": xargs,
    "find": find,
}
