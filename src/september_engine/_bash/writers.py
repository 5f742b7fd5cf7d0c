"""Programs that make, change and remove files: what they write is what counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from .call import Call, Effect, Judge, Outcome, write
from .doubt import NotUnderstood
from .options import Options, parse
from .values import Argument, absolute

__all__ = ["PROGRAMS"]

MAKERS: Mapping[str, str] = {
    "mkdir": "-pv -m: --parents --mode: --verbose",
    "touch": "-acm -d: -t: -r< --no-create --date: --reference<",
    "rm": "-rRfvdI --recursive --force --verbose --dir",
    "rmdir": "-pv --parents --verbose",
    "tee": "-ai --append",
    "truncate": "-c -s: --size: --no-create",
    "shred": "-fuvz -n: -s:",
    "mkfifo": "-m:",
    "unlink": "",
}
"""They write what their operands name. No option of these names a file that is written."""

PACKERS: Mapping[str, str] = {
    "gzip": "-cdfknqrvt123456789 --keep --force --decompress --stdout --best --fast",
    "gunzip": "-cfknqrvt --keep --force --stdout",
    "bzip2": "-cdfkqvz123456789 --keep --force",
    "xz": "-cdfkqvz0123456789 --keep --force",
}
ENDINGS: Mapping[str, str] = {"gzip": ".gz", "gunzip": ".gz", "bzip2": ".bz2", "xz": ".xz"}
UNPACKED = re.compile(r"(.*)\.(?:(t)(?:gz|az|bz2?|xz|lz)|gz|z|bz2?|xz|lzma)", re.IGNORECASE | re.DOTALL)

CREATES = frozenset("mkdir touch rm rmdir unlink chmod".split())
"""Their options do no more than their operands do, so a file whose name looks like an option does no harm."""


def makes(call: Call) -> Outcome:
    options = parse(call, MAKERS[call.program], loose=call.program in CREATES)
    effects = [*options.effects(call), *(call.write(one) for one in options.operands)]
    return Outcome(effects=tuple(effects))


def packs(call: Call) -> Outcome:
    """A file is replaced by a packed one with another ending, or by what was packed in it."""
    options = parse(call, PACKERS[call.program])
    if options.has("-c", "--stdout", "-t"):
        return Outcome(effects=tuple(map(call.read, options.operands)))
    effects = []
    for operand in options.operands:
        path = call.write(operand).path
        effects += [write(path)]
        if found := UNPACKED.fullmatch(path):
            effects += [write(found[1] + (".tar" if found[2] else ""))]
        if not path.endswith(ENDINGS[call.program]):
            effects += [write(path + ENDINGS[call.program])]
    return Outcome(effects=tuple(effects))


def zip_(call: Call) -> Outcome:
    options = parse(call, "-rqju9 --recurse-paths --quiet")
    archive, packed = options.operands[:1], options.operands[1:]
    written = [call.write(one) for one in archive]
    written += [write(f"{one.path}.zip") for one in written if "." not in one.path.rpartition("/")[2]]
    return Outcome(effects=(*written, *map(call.read, packed)))


def chmod(call: Call) -> Outcome:
    options = parse(call, "-Rvcf --recursive --verbose", loose=True)
    return Outcome(effects=tuple(call.write(one) for one in options.operands[1:]))


def cp(call: Call) -> Outcome:
    options = parse(
        call,
        "-aRrpfvnuLPHdTx -t> --target-directory> --archive --recursive --force --verbose --no-clobber --update "
        "--parents",
    )
    sources, target = _sources_and_target(call, options)
    return Outcome(effects=(*map(call.read, sources), *options.effects(call), *target))


def mv(call: Call) -> Outcome:
    options = parse(call, "-fvnuT -t> --target-directory> --force --verbose --no-clobber --update")
    sources, target = _sources_and_target(call, options)
    return Outcome(effects=(*map(call.write, sources), *options.effects(call), *target))


def install(call: Call) -> Outcome:
    options = parse(call, "-dDvCp -m: -t> --directory --mode: --target-directory>")
    if options.has("-d", "--directory"):
        return Outcome(effects=tuple(call.write(one) for one in options.operands))
    sources, target = _sources_and_target(call, options)
    return Outcome(effects=(*map(call.read, sources), *options.effects(call), *target))


def ln(call: Call) -> Outcome:
    """What a link points to can be written through it later: it counts as written."""
    options = parse(call, "-sfnvrT --symbolic --force --no-dereference --verbose --relative")
    *targets, link = options.operands if len(options.operands) > 1 else [*options.operands, _literal(".")]
    place = call.write(link)
    effects: list[Effect] = [place]
    for target in targets:
        # a relative target counts from the link's folder, which is the link itself where that is a folder
        text = target.value
        if not text or target.many:
            raise NotUnderstood(f"what `{target.source}` links to cannot be told")
        folders = (call.cwd,) if not options.has("-s", "--symbolic") else (place.path, absolute("..", place.path))
        effects += [write(absolute(text, folder)) for folder in folders]
    return Outcome(effects=tuple(effects))


def dd(call: Call) -> Outcome:
    effects: list[Effect] = []
    for argument in call.arguments:
        name, equals, value = (argument.value or "").partition("=")
        if name == "if":
            effects.append(call.read(_literal(value)))
        elif name == "of":
            effects.append(call.write(_literal(value)))
        elif not equals or name not in "bs count skip seek conv status iflag oflag ibs obs".split():
            raise NotUnderstood(f"what dd does with `{argument.source}` is not known")
    return Outcome(effects=tuple(effects))


def split(call: Call) -> Outcome:
    """Without `--filter`, which runs a command."""
    options = parse(call, "-dxe -l: -b: -C: -n: -a: --lines: --bytes: --numeric-suffixes --suffix-length:")
    source, prefix = options.operands[:1], options.operands[1:] or (_literal("x"),)
    if len(prefix) > 1 or any(one.many for one in options.operands):
        raise NotUnderstood("what split writes cannot be told")
    path = call.write(prefix[0]).path
    return Outcome(effects=(*map(call.read, source), write(absolute("..", path)), write(path)))


def patch(call: Call) -> Outcome:
    """A patch names the files it changes; those above its folder are refused by patch itself."""
    options = parse(call, "-RsNfEl -p: -i< --strip: --input< --dry-run --reverse --forward --batch --silent")
    effects = [*options.effects(call), call.here(), *(call.write(one) for one in options.operands)]
    return Outcome(effects=tuple(effects), opaque=True)


TAR = (
    "-cxtrukvzjJap -f: -C: --create --extract --list --verbose --gzip --bzip2 --xz --file: --directory: --exclude: "
    "--strip-components: --keep-old-files --exclude-vcs --no-same-owner --wildcards"
)


def tar(call: Call) -> Outcome:
    """Without `-I`, `--to-command`, `--checkpoint-action` and `--rsh-command`, which run commands, and without `-P`."""
    options = parse(Call(call.program, tuple(_spread(call.arguments)), call.cwd, call.start), TAR)
    archives, folders = options.values("-f", "--file"), options.values("-C", "--directory")
    if any(one.value is None or ":" in one.value for one in archives) or len(archives) != 1:
        raise NotUnderstood("which archive it is cannot be told")
    if options.has("-c", "--create", "-r", "-u"):
        written = [] if archives[0].value == "-" else [call.write(archives[0])]
        return Outcome(effects=(*map(call.read, (*folders, *options.operands)), *written))
    read = [] if archives[0].value == "-" else [call.read(archives[0])]
    if options.has("-t", "--list"):
        return Outcome(effects=tuple(read))
    return Outcome(effects=(*read, *(map(call.write, folders) if folders else [call.here()])))


def unzip(call: Call) -> Outcome:
    options = parse(call, "-ojqlptvnu -d> -x:")
    archive = [call.read(one) for one in options.operands[:1]]
    if options.has("-l", "-p", "-t", "-v"):
        return Outcome(effects=tuple(archive))
    return Outcome(effects=(*archive, *(options.effects(call) if options.has("-d") else [call.here()])))


def rsync(call: Call) -> Outcome:
    """Only between local folders, and without `-e` and its like."""
    options = parse(
        call,
        "-avrlptgoDnuzhqcPx --archive --verbose --delete --exclude: --include: --dry-run --progress --stats "
        "--recursive",
    )
    if any(":" in (one.value or one.begins) or one.value is None for one in options.operands):
        raise NotUnderstood("rsync may reach another machine")
    *sources, target = options.operands or [None]
    if target is None:
        raise NotUnderstood("rsync has nothing to do")
    return Outcome(effects=(*map(call.read, (one for one in sources if one)), call.write(target)))


def _sources_and_target(call: Call, options: Options) -> tuple[tuple[Argument, ...], list[Effect]]:
    """The operands but the last, and what is written: the last, and in it, if it is a folder, what has their names."""
    if options.has("-t", "--target-directory"):
        return options.operands, []
    if len(options.operands) < 2 or options.operands[-1].many:
        raise NotUnderstood(f"where {call.program} writes to cannot be told")
    *sources, target = options.operands
    written = call.write(target)
    for source in sources:
        if source.value:
            write(absolute(absolute(source.value, call.cwd).rpartition("/")[2], written.path))
    return tuple(sources), [written]


def _spread(words: tuple[Argument, ...]) -> Iterator[Argument]:
    """`tar cfz x` as `tar -c -f x -z`: without the `-`, the values of the letters follow in their order."""
    first, rest = (words[0].value or "", list(words[1:])) if words else ("", [])
    if not re.fullmatch(r"[a-zA-Z]+", first):
        yield from words
        return
    for letter in first:
        yield _literal(f"-{letter}")
        if letter in "fC" and rest:
            yield rest.pop(0)
    yield from rest


def _literal(text: str) -> Argument:
    return Argument(text, value=text)


PROGRAMS: Mapping[str, Judge] = {
    **dict.fromkeys(MAKERS, makes),
    **dict.fromkeys(PACKERS, packs),
    "zip": zip_,
    "chmod": chmod,
    "cp": cp,
    "mv": mv,
    "install": install,
    "ln": ln,
    "dd": dd,
    "split": split,
    "patch": patch,
    "tar": tar,
    "unzip": unzip,
    "rsync": rsync,
}
