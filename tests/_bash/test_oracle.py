"""The oracle: bash runs commands that the policy allows, with stubs for programs; nothing may surprise it.

Every program that is started must be one that was predicted, with those words, and every file that appears must lie
where writing was predicted. The stubs write nothing, so files come from redirects alone.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from september_engine._bash import actions_of
from september_engine._bash.table import KNOWN
from september_engine.permissions import Action, Allow, Policy, Run, Write

from .corpora import ROOT, commands

BASH, CC = shutil.which("bash") or "", shutil.which("cc") or ""
REAL = ("env", "timeout", "nice", "nohup", "xargs", "find")
"""Wrappers that run for themselves, so that what they start is seen, too."""

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(not (BASH and CC), reason="needs bash and a C compiler"),
]


FOLDERS = ("src/app", "build", "docs")
FILES = ("a.txt", "src/a.py", "names.txt")


@attrs.define
class Stage:
    """Folders to run in, each used once, and stubs that log what is started."""

    base: Path
    log: Path
    bins: tuple[Path, Path]
    _used: int = 0

    def root(self) -> Path:
        self._used += 1
        root = self.base / str(self._used)
        for folder in FOLDERS:
            (root / folder).mkdir(parents=True)
        for file in FILES:
            (root / file).write_text("x\n")
        return root

    def run(self, command: str, *, root: Path, fails: bool) -> list[tuple[str, ...]]:
        """The words of each program that was started."""
        self.log.unlink(missing_ok=True)
        subprocess.run(
            [BASH, "-c", f"{command}\nwait"],
            cwd=root,
            env={"PATH": str(self.bins[fails]), "HOME": str(self.base), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
        records = self.log.read_bytes().decode().split("\1\0") if self.log.exists() else []
        return [tuple(record.split("\0")[1:-1]) for record in records if record]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    base = tmp_path_factory.mktemp("oracle").resolve()
    names = {name for name in KNOWN if "/" not in name} | {"docker", "evil"}
    for status in (0, 1):
        folder = base / f"bin{status}"
        folder.mkdir()
        stub = base / f"stub{status}"
        defines = [f'-DLOG="{base / "log"}"', f"-DSTATUS={status}"]
        subprocess.run([CC, "-O1", *defines, "-o", stub, Path(__file__).parent / "stub.c"], check=True)
        for name in names:
            os.link(stub, folder / name)
        for name in ("bash", "sh", *REAL):
            real = BASH if name in ("bash", "sh") else shutil.which(name)
            if real:
                (folder / name).unlink()
                (folder / name).symlink_to(real)
    return Stage(base / "home", base / "log", (base / "bin0", base / "bin1"))


def test_what_bash_starts_was_predicted(stage: Stage) -> None:
    everyday = [command for command in commands("everyday") if ROOT not in command and "tail -f" not in command]
    ran, started = surprises(stage, everyday)
    assert started == []
    assert ran > 300


def test_what_bash_starts_of_commands_that_are_made_up_was_predicted(stage: Stage) -> None:
    ran, started = surprises(stage, list(made_up(random.Random(20261), 160)))
    assert started == []
    assert ran > 200


def surprises(stage: Stage, texts: Sequence[str]) -> tuple[int, list[object]]:
    """How many programs were started in all, and what of it was not predicted."""
    ran, found = 0, list[object]()
    for command in texts:
        for fails in (False, True) if re.search(r"&&|\|\||if|while|!", command) else (False,):
            root = stage.root()
            actions = actions_of(command, cwd=str(root), home=str(stage.base))
            if isinstance(Policy(roots=(str(root),)).judge("bash", {}, actions), Allow):
                started = stage.run(command, root=root, fails=fails)
                ran += len(started)
                found += [(command, one) for one in (*unforeseen(started, actions), *unwritten(stage, root, actions))]
            shutil.rmtree(root)
    return ran, found


def unforeseen(started: Sequence[tuple[str, ...]], actions: Sequence[Action]) -> Iterator[object]:
    predicted = re.compile("|".join(pattern(one) for one in actions if isinstance(one, Run)) or r"(?!)")
    return (argv for argv in started if not predicted.fullmatch("\0".join(argv)))


def unwritten(stage: Stage, root: Path, actions: Sequence[Action]) -> Iterator[object]:
    """New files, anywhere, where nothing was said to be written."""
    written = [one.path for one in actions if isinstance(one, Write)]
    files = {f"{folder}/{name}" for folder, _, names in os.walk(stage.base) for name in names}
    files -= {f"{root}/{file}" for file in FILES}
    return (file for file in files if not any(file == path or file.startswith(f"{path}/") for path in written))


def pattern(run: Run) -> str:
    """What the words of this run may be: a word that was not decoded may be any number of words."""
    words = [
        r"\0?(?:[^\0]*(?:\0[^\0]*)*)?" if re.search(r"[$*?\[…]|\{\}", one) else re.escape(f"\0{one}")
        for one in run.argv
    ]
    return "".join(words).removeprefix(re.escape("\0"))


def made_up(chance: random.Random, count: int) -> Iterator[str]:
    for _ in range(count):
        yield listed(chance, depth=3)


def listed(chance: random.Random, *, depth: int) -> str:
    """A list of commands, with everything inside each other that the grammar knows."""
    parts = [nested(chance, depth=depth - 1) for _ in range(chance.randint(1, 3))]
    text = parts[0]
    for part in parts[1:]:
        text += chance.choice([" && ", " || ", "; ", "\n", " | ", " & ", " && ! "]) + part
    return text


def nested(chance: random.Random, *, depth: int) -> str:
    if depth <= 0 or chance.random() < 0.5:
        return simple(chance)
    inside = listed(chance, depth=depth - 1)
    shape = chance.choice(
        [
            "({})",
            "{{ {}\n}}",
            "if {}\nthen {other}; else {other}; fi",
            'for f in src/*.py \'a b\' {word}; do {}\necho "$f" $f; cat "$f"; done',
            "while {}\n do {other}; break; done",
            "echo $({}\n)",
            'ls "$({}\n)" x',
            'v=$({}\n); cat "$v"',
            "cat <<'E'\n$(evil)\nE\n{}",
            "{} > build/out",
            "({}) 2>> build/err | wc -l",
        ]
    )
    return shape.format(inside, other=simple(chance), word=word(chance))


PROGRAMS = """
    ls|cat|grep -n|wc -l|git status|git log|git add|pytest -q|echo|mkdir -p build/x|rm -f|touch|env CI=1 cat
    timeout 9 ls|nice cat|xargs -n1 wc|find . -name|true|false|CI=1 make|python -m pytest|sort|'c'at|l\\s|"git" diff
    command ls|time ls|[ -f|read -r line <
"""
WHOLE = """
    cd src|cd ..|cd docs|cd src/app|x=1|set -e|sh -c 'ls src; cat a.txt' x|bash -c "cd src && wc -l a.py"
"""
WORDS = """
    a.txt 'b|b.txt' src/a.py src/*.py *.txt "x" 'it'\\''s' a\\|b $'a\\x62' "a$" {a,b}.txt src/{a,app/b}.py "$HOME"x
    x#y a=b HEAD@{1} "$line" no-such '' é
"""


def simple(chance: random.Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(re.split(r"[|\n]", WHOLE.strip())).strip()
    program = chance.choice(re.split(r"[|\n]", PROGRAMS.strip())).strip()
    text = " ".join([program, *(word(chance) for _ in range(chance.randint(1, 3)))])
    text += " ]" if program.startswith("[") else ""
    return text + chance.choice(
        ["", "", "", " > out", " >> build/log", " 2>&1", " < a.txt", " &> build/all", " # note"]
    )


def word(chance: random.Random) -> str:
    return chance.choice(WORDS.split()).replace("|", " ")
