"""Programs that run the code of the workspace: its tests, its build, its checkers. Opaque; the sandbox holds them.

What they run must be the workspace's own, in a file that can be looked at: not a text among the words, and not a file
from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ..permissions import Write
from .call import Call, Inner, Judge, Outcome, leaves
from .doubt import NotUnderstood
from .network import ANY_HOST
from .options import parse
from .values import Argument, absolute

__all__ = ["PROGRAMS", "in_workspace"]

TOOLS = """
    pytest py.test mypy ruff black isort flake8 pylint pyright pyflakes pycodestyle bandit vulture nox tsc eslint
    prettier jest vitest mocha ava ctest ninja meson gofmt golangci-lint staticcheck rustfmt rspec rubocop rake phpunit
    sphinx-build mkdocs alembic pre-commit stylelint biome esbuild rollup webpack vite gradle javac
    shellcheck shfmt yamllint markdownlint hadolint codespell clang-format
"""
"""They do what files of the workspace say."""

REFUSED: Mapping[str, tuple[str, ...]] = {
    "go": (
        "-exec",
        "-toolexec",
        "-vettool",
        "-ldflags",
        "-gcflags",
        "-asmflags",
        "-gccgoflags",
        "-overlay",
        "-modfile",
        "-w",
    ),
    "cargo": ("--config", "-Z"),
    "npm": (
        "--script-shell",
        "--node-options",
        "-c",
        "--call",
        "--prefix",
        "--userconfig",
        "--globalconfig",
        "-g",
        "--global",
    ),
    "esbuild": ("--serve",),
    "rake": (
        "-e",
        "--execute",
        "-E",
        "--execute-continue",
        "-p",
        "--execute-print",
        "-r",
        "--require",
        "-g",
        "--system",
    ),
    "rspec": ("-e", "--drb"),
    "pylint": ("--init-hook", "--load-plugins"),
    "meson": ("devenv",),
    "yarn": ("-e", "--eval", "-p", "--print", "-c", "-r", "--require"),
    "pnpm": ("-e", "--eval", "-p", "--print", "-c", "-r", "--require"),
    "bun": ("-e", "--eval", "-p", "--print", "-c", "-r", "--preload"),
    "ctest": ("-S", "--script", "-D"),
    "gradle": ("-I", "--init-script"),
    "vite": ("--host",),
    "pre-commit": ("try-repo", "autoupdate", "install"),
}
"""Options that hold code or name a program, and commands of these tools that fetch something."""

SUBCOMMANDS: Mapping[str, tuple[str, str]] = {
    "cargo": (
        "build test check clippy fmt run bench doc clean tree metadata nextest b t c r",
        "install add update fetch search",
    ),
    "go": ("build test vet run fmt list version env generate doc", "get install mod work"),
    "npm": (
        "test run run-script start ls list t tst prefix root explain",
        "install ci i add update outdated audit view info uninstall remove rebuild dedupe prune",
    ),
    "yarn": ("test run start build lint dev why", "install add remove upgrade"),
    "pnpm": ("test run start build lint dev ls list why", "install i add remove update"),
    "bun": ("test run build", "install add remove update"),
    "pip": ("list show freeze check", "install download wheel uninstall index"),
    "uv": ("tree version", "sync lock add remove pip venv build"),
    "poetry": ("check show version env build", "install add remove update lock"),
    "pipenv": ("check graph", "install sync lock update"),
    "pdm": ("list show build", "install add remove update lock sync"),
    "deno": ("test check lint fmt task", "install add cache update"),
    "bundle": ("check list show", "install update add"),
    "hatch": ("version test fmt", "build env dep"),
    "composer": ("validate show", "install update require"),
}
"""For each: commands that work with what is there, and commands that fetch packages and run their scripts."""

RUNNERS = frozenset("uv poetry pipenv pdm bundle".split())
"""`uv run x` and its like are `x`, with the packages of the project."""

MODULES = frozenset(
    """
    pytest unittest mypy ruff black isort flake8 pylint build compileall pyflakes pycodestyle tox nox mkdocs sphinx
    py_compile tabnanny doctest
    """.split()
)
"""Modules that `python -m` may run: none takes code among its words."""

PYTHON = Argument("python", value="python")
NAME = re.compile(r"[A-Za-z0-9_.:@/-]+")
MAKE_VALUE = re.compile(r"(?!SHELL|MAKE)[A-Za-z_][A-Za-z0-9_]*=(?:[0-9]+|true|false|yes|no|on|off|debug|release)?")


def tool(call: Call) -> Outcome:
    call.need_workspace()
    _need_own(call, call.arguments)
    return Outcome(effects=(), opaque=True)


def subcommands(call: Call) -> Outcome:
    call.need_workspace()
    name = call.arguments[0].value if call.arguments else ""
    if (
        name in ("--version", "-V", "-v", "")
        and len(call.arguments) <= 1
        and call.program not in ("yarn", "pnpm", "bun")
    ):
        return Outcome()
    local, fetching = (words.split() for words in SUBCOMMANDS[call.program])
    rest = call.arguments[1:]
    if name in ("run", "exec") and call.program in RUNNERS:
        if not rest or rest[0].may_be_option:
            raise NotUnderstood(f"what {call.program} runs cannot be told")
        file = (rest[0].value or "").endswith(".py")
        return Outcome(opaque=True, runs=(Inner((PYTHON, *rest) if file else rest),))
    if name in local:
        _need_own(call, rest)
        remote = call.program == "go" and name == "run" and any("@" in (one.value or "") for one in rest)
        return Outcome(effects=(ANY_HOST,) if remote else (), opaque=True)
    if name in fetching:
        _need_own(call, rest)
        return Outcome(effects=(ANY_HOST, call.here()), opaque=True)
    raise NotUnderstood(f"what {call.program} {name} does is not known")


def npx(call: Call) -> Outcome:
    """Whatever is not installed, it fetches."""
    options = parse(call, "-y --yes --no-install --no", stop=True)
    if not options.operands:
        raise NotUnderstood("what npx runs cannot be told")
    _need_own(call, options.operands)
    fetches = () if options.has("--no-install", "--no") else (ANY_HOST,)
    return Outcome(effects=fetches, opaque=True)


def make(call: Call) -> Outcome:
    """Targets, and variables with values that cannot be a command."""
    options = parse(
        call,
        "-kBsinqwS -j? -C: -f: -O? --jobs? --directory: --file: --keep-going --dry-run --silent --always-make "
        "--no-print-directory --output-sync?",
    )
    call.need_workspace()
    places = options.values("-C", "-f", "--directory", "--file")
    if any(one.path(call.cwd) is None or one.value == "-" for one in places):
        raise NotUnderstood("what make reads cannot be told")
    for place in places:
        call.need_workspace(place.path(call.cwd))
    for one in options.operands:
        text = one.value or ""
        if not (NAME.fullmatch(text) or MAKE_VALUE.fullmatch(text)) or leaves(one, cwd=call.cwd, start=call.start):
            raise NotUnderstood(f"what make does with `{one.source}` is not known")
    return Outcome(opaque=True)


def cmake(call: Call) -> Outcome:
    options = parse(
        call, "-S: -B: -G: -D: -j? --build: --target: --config: --parallel? --preset: --version --test-dir:"
    )
    call.need_workspace()
    _need_own(call, (*options.operands, *(value for _, value in options.found if value is not None)))
    if any(re.search(r"[/;\s]", (one.value or ";").partition("=")[2]) for one in options.values("-D")):
        raise NotUnderstood("a value that cmake is given may be a program")
    return Outcome(opaque=True)


def just(call: Call) -> Outcome:
    options = parse(call, "-l --list --summary --dry-run -n")
    call.need_workspace()
    _need_own(call, options.operands)
    if not all(NAME.fullmatch(one.value or "") for one in options.operands):
        raise NotUnderstood("a word for just may become part of a command")
    return Outcome(opaque=True)


def tox(call: Call) -> Outcome:
    options = parse(call, "-qvlr -e: -p? --parallel? --recreate --list")
    call.need_workspace()
    _need_own(call, options.operands)
    return Outcome(opaque=True)


def python(call: Call) -> Outcome:
    options = parse(call, "-uBOsSIEqbdV -m: -W: --version", stop=True, last="-m")
    for module in options.values("-m"):
        return _module(call, module.value or "", options.operands)
    return _runs_file(call, options.operands, harmless=options.has("-V", "--version"))


def _module(call: Call, name: str, words: Sequence[Argument]) -> Outcome:
    call.need_workspace()
    if name == "pip":
        return subcommands(Call("pip", tuple(words), call.cwd, call.start))
    if name == "json.tool":
        files = [one for one in words if not one.may_be_option]
        return Outcome(effects=(*map(call.read, files[:1]), *map(call.write, files[1:])))
    if name == "venv":
        options = parse(
            Call("venv", tuple(words), call.cwd, call.start),
            "--clear --system-site-packages --without-pip --prompt: --upgrade-deps",
        )
        return Outcome(effects=tuple(call.write(one) for one in options.operands), opaque=True)
    if name == "http.server":
        return Outcome(effects=(ANY_HOST,), opaque=True)
    if name == "coverage":
        return coverage(Call("coverage", tuple(words), call.cwd, call.start))
    if name not in MODULES:
        raise NotUnderstood(f"what the module {name} does with its words is not known")
    _need_own(call, words)
    return Outcome(opaque=True)


def coverage(call: Call) -> Outcome:
    call.need_workspace()
    _need_own(call, call.arguments)
    if call.arguments and call.arguments[0].value == "run":
        options = parse(
            Call(call.program, call.arguments[1:], call.cwd, call.start),
            "-m -ap --module --branch --append --parallel-mode --source: --omit: --include: --rcfile:",
            stop=True,
        )
        flag = [Argument("-m", value="-m")] if options.has("-m", "--module") else []
        return Outcome(opaque=True, runs=(Inner((PYTHON, *flag, *options.operands)),))
    return Outcome(opaque=True)


def interpreter(call: Call) -> Outcome:
    """node, ruby, perl and php with a file. Their options hold code."""
    options = parse(call, INTERPRETERS[call.program], stop=True)
    harmless = options.has("-v", "--version")
    if call.program == "node" and options.has("--test") and not options.operands:
        call.need_workspace()
        return Outcome(opaque=True)
    return _runs_file(call, options.operands, harmless=harmless)


def _runs_file(call: Call, words: Sequence[Argument], *, harmless: bool) -> Outcome:
    if not words and harmless:
        return Outcome()
    path = words[0].path(call.cwd) if words and words[0].value not in (None, "-") else None
    if path is None:
        raise NotUnderstood(f"the code that {call.program} runs cannot be looked at")
    call.need_workspace(path)
    return Outcome(opaque=True)


def compiler(call: Call) -> Outcome:
    """Without `-wrapper`, `-fplugin`, `-B` and `@file`, by which a compiler runs other programs."""
    options = parse(
        call,
        "-cgSEvOsw -o> -I: -L: -l: -D: -U: -std: -MD! -MMD! -MP! -pthread! -shared! -static! -fPIC! -ansi! "
        "-pedantic! -Wall! -Wextra! -Werror! -Wpedantic! -Wshadow! -Wconversion! -O0! -O1! -O2! -O3! -Os! -Og! "
        "-march: -mtune: --version",
    )
    if any((one.value or one.source).startswith("@") for one in options.operands):
        raise NotUnderstood("the options of the compiler are in a file")
    written = [one for one in options.effects(call) if isinstance(one, Write)]
    return Outcome(effects=(*map(call.read, options.operands), *(written or [call.here()])))


def maven(call: Call) -> Outcome:
    """The goals of the usual life of a build; others run commands."""
    goals = frozenset("clean validate compile test package verify install".split())
    options = parse(call, "-qBo -pl: -am! -DskipTests! -T: --version")
    call.need_workspace()
    if any(one.value not in goals for one in options.operands):
        raise NotUnderstood("what this goal of maven does is not known")
    return Outcome(opaque=True)


def in_workspace(call: Call) -> Outcome:
    """A program of the workspace, by its path."""
    _need_own(call, call.arguments)
    return Outcome(opaque=True)


def _need_own(call: Call, words: Sequence[Argument]) -> None:
    """Raises for a word that names something out of the workspace, may be anything, or is an option that holds code."""
    refused = REFUSED.get(call.program, ())
    for word in words:
        if word.value is None and not (word.stays and word.begins):
            raise NotUnderstood(f"what `{word.source}` is cannot be told, and {call.program} may run it")
        if leaves(word, cwd=call.cwd, start=call.start):
            why = f"`{word.source}` is not below {call.start}, and {call.program} may run or write it"
            plain = word.value is not None and not word.value.startswith("-") and "=" not in word.value
            raise NotUnderstood(why, writes=absolute(word.value or "", call.cwd) if plain else None)
        if any(_is_refused((word.value or "").partition("=")[0], one) for one in refused):
            raise NotUnderstood(f"what {call.program} does with {word.source} is not known")


def _is_refused(word: str, refused: str) -> bool:
    """Whether it is this option or command; or a beginning of it, with one `-` or two, or with a value attached."""
    if not word.startswith("-") or not refused.startswith("-"):
        return word == refused
    if len(refused) == 2 and not word.startswith("--"):
        return word.startswith(refused)
    return len(word.lstrip("-")) > 1 and refused.lstrip("-").startswith(word.lstrip("-"))


INTERPRETERS: Mapping[str, str] = {
    "node": "-v --version --test --watch --check --no-warnings --enable-source-maps --trace-warnings "
    "--experimental-vm-modules",
    "ruby": "-w -c -v --version",
    "perl": "-wc -v --version",
    "php": "-l -v --version",
    "tsx": "",
    "ts-node": "",
    "lua": "-v",
}

PROGRAMS: Mapping[str, Judge] = {
    **dict.fromkeys(TOOLS.split(), tool),
    **dict.fromkeys(SUBCOMMANDS, subcommands),
    **dict.fromkeys(INTERPRETERS, interpreter),
    **dict.fromkeys("python python3 python3.11 python3.12 python3.13 pypy3".split(), python),
    **dict.fromkeys("gcc g++ cc c++ clang clang++".split(), compiler),
    "pip3": lambda call: subcommands(Call("pip", call.arguments, call.cwd, call.start)),
    "npx": npx,
    "make": make,
    "gmake": make,
    "cmake": cmake,
    "just": just,
    "tox": tox,
    "coverage": coverage,
    "mvn": maven,
}
