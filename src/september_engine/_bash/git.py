"""git, by subcommand. What reads only reads; what writes may run the hooks of the repository, and is opaque."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import attrs

from ..permissions import Network
from .call import Call, Effect, Outcome, write
from .doubt import NotUnderstood
from .hosts import host_of
from .options import Options, parse
from .values import Argument, absolute

__all__ = ["PROGRAMS"]

LOG = (
    "-# -pqzLGS -n: -S: -G: -L: -U: -M? -C? --oneline --graph --all --decorate? --stat? --numstat --shortstat "
    "--format: --pretty? --patch --no-patch -s -u --since: --until: --after: --before: --author: --committer: "
    "--grep: -i -E -F --name-only --name-status --follow --no-merges --merges --first-parent --reverse --date: "
    "--abbrev-commit --abbrev? --color? --no-color --max-count: --skip: --no-decorate --summary --tags? --branches? "
    "--remotes? --left-right --cherry-pick --topo-order --date-order --full-history --diff-filter: --word-diff? "
    "--no-ext-diff --no-textconv --cc -c -m -w -b --ignore-all-space --ignore-space-change --cached --staged "
    "--exit-code --quiet --check --merge-base --minimal --histogram --patience --raw --no-renames --find-renames? "
    "--unified: --pickaxe-regex --no-prefix --relative? --full-index --binary --no-index --show-signature "
    "--compact-summary --dirstat? --text -a"
)
READS: Mapping[str, str] = {
    "status": "-sbvuz -u? --short --branch --porcelain? --long --verbose --ignored? --untracked-files? --show-stash "
    "--no-renames --ahead-behind --no-ahead-behind",
    "log": LOG,
    "diff": LOG,
    "show": LOG,
    "shortlog": "-sne --summary --numbered --email --all --no-merges --since: --until: --group:",
    "blame": "-swlcefnptM -L: -C --porcelain --line-porcelain --date: --show-email --since: --abbrev:",
    "ls-files": "-cdmosuzt --cached --deleted --modified --others --stage --exclude-standard --ignored --unmerged "
    "--error-unmatch --exclude: --full-name --eol --directory --deduplicate",
    "ls-tree": "-drtlz --name-only --name-status --full-tree --full-name --long --abbrev?",
    "rev-parse": "-q --short? --abbrev-ref? --show-toplevel --verify --git-dir --show-prefix --is-inside-work-tree "
    "--all --symbolic-full-name --absolute-git-dir --show-cdup --quiet --git-common-dir "
    "--show-superproject-working-tree --is-bare-repository --is-shallow-repository --branches? --tags?",
    "rev-list": "-# -n: --count --all --max-count: --since: --until: --no-merges --merges --reverse --left-right "
    "--first-parent --abbrev-commit --oneline --max-parents:",
    "describe": "--tags --always --dirty? --abbrev: --long --exact-match --all --match: --contains --first-parent",
    "cat-file": "-petspr --batch-check",
    "merge-base": "--is-ancestor --all --fork-point --octopus",
    "name-rev": "--name-only --tags --always",
    "show-ref": "-qd --heads --tags --verify --hash? --head",
    "for-each-ref": "--format: --sort: --count: --merged? --no-merged? --contains? --points-at:",
    "count-objects": "-vH",
    "check-ignore": "-vnq --verbose --no-index",
    "grep": "-# -niIwlLcovhHEFGPpW -e: -A: -B: -C: -m: --line-number --ignore-case --word-regexp --count --cached "
    "--untracked --files-with-matches --name-only --extended-regexp --fixed-strings --perl-regexp --break --heading "
    "--and --or --not --show-function --function-context --all-match --only-matching --color? --no-color "
    "--max-depth: --recurse-submodules",
    "diff-tree": "-rptsz --name-only --name-status --no-commit-id --stat --root",
    "version": "--build-options",
    "--version": "",
}
WRITES: Mapping[str, str] = {
    "add": "-AunvpfNi --all --update --dry-run --verbose --force --intent-to-add --patch --renormalize --chmod:",
    "commit": "-amqvnso -m: -F< -C: --all --message: --amend --no-edit --no-verify --quiet --verbose --signoff "
    "--allow-empty --allow-empty-message --author: --date: --fixup: --squash: --only --dry-run --file< "
    "--reuse-message: --no-gpg-sign --trailer: --reset-author --short --porcelain --cleanup:",
    "checkout": "-qfmbBtd -b: -B: --quiet --force --ours --theirs --track? --no-track --detach --orphan: --merge "
    "--progress",
    "switch": "-qfcCd -c: -C: --create: --force-create: --detach --quiet --force --discard-changes --orphan: "
    "--track? --guess",
    "restore": "-qSWs -s: --staged --worktree --source: --quiet --ours --theirs --merge",
    "merge": "-qm -m: --no-ff --ff-only --ff --squash --abort --continue --quit --no-edit --no-commit --commit --quiet "
    "--message: --no-verify --stat --no-stat --allow-unrelated-histories",
    "rebase": "-q --abort --continue --skip --quit --onto: --autosquash --autostash --no-autostash --quiet --root "
    "--rebase-merges --keep-empty --no-verify --fork-point --no-fork-point",
    "cherry-pick": "-nx -m: --no-commit --abort --continue --skip --quit --ff --allow-empty --mainline: --signoff",
    "revert": "-n -m: --no-commit --abort --continue --skip --quit --no-edit --mainline: --signoff",
    "reset": "-q --hard --soft --mixed --keep --merge --quiet",
    "rm": "-rfqn --cached --force --quiet --ignore-unmatch --dry-run",
    "mv": "-fkvn --force --verbose --dry-run",
    "clean": "-fdxXnqe -e: --force --dry-run --quiet --exclude:",
    "apply": "-Rv3 -p: --check --stat --numstat --summary --reverse --index --cached --3way --verbose --reject "
    "--whitespace: --recount --ignore-whitespace",
    "am": "-3qs --abort --continue --skip --quit --3way --signoff --quiet",
    "gc": "-q --auto --prune? --aggressive --quiet",
    "prune": "-nv",
    "update-index": "-q --refresh --assume-unchanged --no-assume-unchanged --skip-worktree --no-skip-worktree --chmod:",
    "init": "-qb -b: --quiet --initial-branch: --bare",
}
NETWORK: Mapping[str, str] = {
    "fetch": "-apqtfv -j: --all --prune --tags --no-tags --quiet --depth: --unshallow --force --dry-run --verbose "
    "--multiple",
    "pull": "-qrv --rebase? --no-rebase --ff-only --ff --no-ff --quiet --autostash --prune --tags --all --no-edit "
    "--depth: --verbose",
    "push": "-unfqdv --set-upstream --force --force-with-lease? --tags --follow-tags --dry-run --delete --quiet --all "
    "--no-verify --porcelain --verbose --atomic",
    "ls-remote": "-htq --heads --tags --refs --quiet --exit-code --symref --sort:",
}
CLONE = "-qvb -b: --quiet --verbose --branch: --depth: --single-branch --no-tags --bare --mirror --no-checkout -n "
"--filter: --sparse"


def git(call: Call) -> Outcome:
    """Raises `NotUnderstood` outside of the workspace: the settings of a repository can make git run anything."""
    options = parse(call, "-P -C: --no-pager --no-optional-locks --version", stop=True)
    for folder in options.values("-C"):
        path = folder.path(call.cwd)
        if path is None or folder.value is None:
            raise NotUnderstood(f"which folder `{folder.source}` is cannot be told")
        call = attrs.evolve(call, cwd=path)
    call.need_workspace()
    words = options.operands
    name = words[0].value if words else "--version"
    if name is None:
        raise NotUnderstood("which command of git it is cannot be told")
    inner = Call(f"git {name}", words[1:], call.cwd, call.start)
    if name in READS:
        return _reads(inner, parse(inner, READS[name]))
    if name in WRITES:
        return _writes(inner, parse(inner, WRITES[name]))
    if name in NETWORK:
        return _talks(inner, parse(inner, NETWORK[name]))
    if name in OTHERS:
        return OTHERS[name](inner)
    raise NotUnderstood(f"what git {name} does is not known")


def _reads(call: Call, options: Options) -> Outcome:
    outside = [call.read(one) for one in options.operands if _is_path(one)]
    return Outcome(effects=(call.read(_here()), *outside))


def _writes(call: Call, options: Options) -> Outcome:
    named: list[Effect] = [write(absolute(one.value or "", call.cwd)) for one in options.operands if _is_path(one)]
    if call.program == "git init":
        named += [call.write(one) for one in options.operands]
    return Outcome(effects=(call.here(), *named, *options.effects(call)), opaque=True)


def _talks(call: Call, options: Options) -> Outcome:
    remote = options.operands[:1]
    hosts = [Network(host=_remote_host(one)) for one in remote] or [Network(host="*")]
    return Outcome(effects=(*hosts, call.here()), opaque=True)


def _clone(call: Call) -> Outcome:
    options = parse(call, CLONE)
    if not 1 <= len(options.operands) <= 2 or any(one.value is None for one in options.operands):
        raise NotUnderstood("what git clone makes cannot be told")
    source, *target = options.operands
    name = re.sub(r"(?:/?\.git)?/*$", "", source.value or "").rpartition("/")[2].rpartition(":")[2]
    folder = call.write(target[0] if target else Argument(name, value=name or "."))
    return Outcome(effects=(Network(host=_remote_host(source)), folder), opaque=True)


def _branch(call: Call) -> Outcome:
    options = parse(
        call,
        "-avrqldDmMcCf --all --list --remotes --verbose --show-current --merged? --no-merged? --contains? --sort: "
        "--format: --delete --move --copy --force -u: --set-upstream-to: --unset-upstream --points-at: --no-color "
        "--color? --column?",
    )
    changes = options.operands and not options.has("-l", "--list", "--contains", "--merged", "--no-merged")
    changes = changes or options.has("-d", "-D", "-m", "-M", "-c", "-C", "-u", "--set-upstream-to", "--unset-upstream")
    return Outcome(effects=(call.here(),), opaque=True) if changes else Outcome(effects=(call.read(_here()),))


def _tag(call: Call) -> Outcome:
    options = parse(
        call,
        "-ladfn -m: --list --annotate --delete --force --message: --sort: --format: --contains? --merged? "
        "--points-at: -n?",
    )
    changes = options.operands and not options.has("-l", "--list")
    return Outcome(effects=(call.here(),), opaque=True) if changes else Outcome(effects=(call.read(_here()),))


def _stash(call: Call) -> Outcome:
    verb, words = (call.arguments[0], call.arguments[1:]) if call.arguments else (Argument("push", value="push"), ())
    if verb.value is not None and verb.value.startswith("-"):
        verb, words = Argument("push", value="push"), call.arguments
    inner = attrs.evolve(call, arguments=words)
    if verb.value in ("list", "show"):
        return _reads(inner, parse(inner, LOG))
    if verb.value not in ("push", "pop", "apply", "drop", "clear", "save", "branch"):
        raise NotUnderstood("what this git stash does is not known")
    return _writes(
        inner, parse(inner, "-uakqS -m: --include-untracked --all --keep-index --quiet --staged --index --message:")
    )


def _reflog(call: Call) -> Outcome:
    first = call.arguments[0].value if call.arguments else "show"
    if first in ("expire", "delete", None):
        raise NotUnderstood("it may change the reflog")
    return _reads(call, parse(call, LOG))


def _remote(call: Call) -> Outcome:
    given = [one.value for one in call.arguments]
    if given in ([], ["-v"], ["--verbose"]) or (given[0] == "get-url" and len(given) == 2):
        return Outcome(effects=(call.read(_here()),))
    raise NotUnderstood("it may change where git reads from and writes to", writes=absolute(".git/config", call.cwd))


def _config(call: Call) -> Outcome:
    options = parse(
        call,
        "-lz --get --get-all --get-regexp --list --show-origin --show-scope --local --global --system --name-only "
        "--null",
    )
    if not options.has("-l", "--list", "--get", "--get-all", "--get-regexp"):
        settings = absolute(".git/config", call.cwd)
        raise NotUnderstood("it may change the settings of git, which make it run programs", writes=settings)
    return Outcome(effects=(call.read(_here()),))


def _worktree(call: Call) -> Outcome:
    given = [one.value for one in call.arguments]
    if given[:1] == ["list"]:
        return Outcome(effects=(call.read(_here()),))
    inner = attrs.evolve(call, arguments=call.arguments[1:])
    if given[:1] not in (["add"], ["remove"], ["prune"]):
        raise NotUnderstood("what this git worktree does is not known")
    options = parse(inner, "-fdqb -b: --force --detach --quiet")
    return Outcome(effects=(call.here(), *(call.write(one) for one in options.operands[:1])), opaque=True)


OTHERS: Mapping[str, Callable[[Call], Outcome]] = {
    "clone": _clone,
    "branch": _branch,
    "tag": _tag,
    "stash": _stash,
    "reflog": _reflog,
    "remote": _remote,
    "config": _config,
    "worktree": _worktree,
}


def _is_path(argument: Argument) -> bool:
    """Whether an operand names something by an absolute path, or above this folder."""
    return argument.value is not None and (argument.value.startswith("/") or ".." in argument.value.split("/"))


def _remote_host(argument: Argument) -> str:
    """The host of a remote. Raises `NotUnderstood` for a transport that runs a command, and for a path."""
    text = argument.value
    if text is None:
        raise NotUnderstood("which remote it is cannot be told")
    if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", text):
        return "*"
    host = host_of(text)
    if host is None:
        raise NotUnderstood(f"`{text}` may make git run a command")
    return host


def _here() -> Argument:
    return Argument(".", value=".")


PROGRAMS = {"git": git}
