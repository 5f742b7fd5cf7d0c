"""Every example runs, without a key and without a network, and prints what its docstring says."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from ..programs import ROOT, matches, run
from ..sandbox.backends import sandbox_or_skip

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
INTRODUCTION = "It prints:\n"
NEED_SANDBOX = ("coding_agent",)


def skip_without_sandbox(example: Path) -> None:
    if example.stem in NEED_SANDBOX:
        sandbox_or_skip("auto")


def promised(example: Path) -> str:
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, found, output = docstring.partition(INTRODUCTION)
    assert found, f"{example.name} does not say what it prints"
    return textwrap.dedent(output).strip()


def test_there_are_examples() -> None:
    names = {path.stem for path in EXAMPLES}
    assert {"hello", "tools", "resume_after_disconnect", "edit_and_retry", "approval", "answer_after_restart"} <= names
    assert {"plan", "notes", "memory"} <= names
    assert names >= set(NEED_SANDBOX)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_promises_and_uses_the_database_it_is_told_to(example: Path, tmp_path: Path) -> None:
    skip_without_sandbox(example)
    database = tmp_path / "elsewhere" / "brain.sqlite"
    done = run(example, database, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if not matches(promised(example), done.stdout):
        assert done.stdout.strip() == promised(example)
    assert database.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_an_example_that_is_told_of_no_database_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run(ROOT / "examples" / "hello.py", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NEED_SANDBOX)
def test_without_a_sandbox_an_example_says_what_to_install(name: str, tmp_path: Path) -> None:
    program = (
        "import functools, runpy, sys\n"
        "from september_engine.tools import builtin\n"
        "builtin.choose_sandbox = functools.partial(builtin.choose_sandbox, among={})\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    done = run("-c", program, ROOT / "examples" / f"{name}.py", tmp_path / "brain.sqlite", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert "Install bubblewrap" in done.stdout


def test_a_promise_is_compared_line_by_line() -> None:
    assert matches("turn_… ended\nwell", "turn_1 ended\nwell\n")
    assert not matches("turn_… well", "turn_1 ended\nwell")
    assert not matches("a.c", "abc")
