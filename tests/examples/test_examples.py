"""Every example runs, without a key and without a network, and prints what its docstring says."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest

from ..programs import ROOT, matches, run

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
INTRODUCTION = "It prints:\n"


def promised(example: Path) -> str:
    docstring = ast.get_docstring(ast.parse(example.read_text())) or ""
    _, found, output = docstring.partition(INTRODUCTION)
    assert found, f"{example.name} does not say what it prints"
    return textwrap.dedent(output).strip()


def test_there_are_examples() -> None:
    assert {"hello", "tools", "resume_after_disconnect", "edit_and_retry", "plan", "notes"} <= {
        path.stem for path in EXAMPLES
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    done = run(example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if not matches(promised(example), done.stdout):
        assert done.stdout.strip() == promised(example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_leaves_nothing_behind_and_uses_the_database_it_is_told_to(example: Path, tmp_path: Path) -> None:
    database = tmp_path / "elsewhere" / "brain.sqlite"
    assert run(example, database, cwd=tmp_path).returncode == 0
    assert database.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]


def test_a_promise_is_compared_line_by_line() -> None:
    assert matches("turn_… ended\nwell", "turn_1 ended\nwell\n")
    assert not matches("turn_… well", "turn_1 ended\nwell")
    assert not matches("a.c", "abc")
