from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from september_engine.permissions import Read
from september_engine.tools.find_files import FILES, find_files_tool
from september_engine.tools.workspace import Workspace

from .conftest import Call, calling, refused

MEMORY = "/dev/shm"


@pytest.fixture
def find(workspace: Workspace) -> Call:
    return calling(find_files_tool(workspace))


@pytest.fixture
def tree(root: Path) -> Path:
    for age, name in enumerate(("src/a.py", "src/deep/b.py", "c.py", ".git/d.py", "e.txt")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
        os.utime(root / name, (age, age))
    return root


def test_the_newest_comes_first(way: str, tree: Path, find: Call) -> None:
    assert find(pattern="*.py") == "c.py\nsrc/deep/b.py\nsrc/a.py"
    assert find(pattern="*.py", sort="name") == "c.py\nsrc/a.py\nsrc/deep/b.py"
    assert find(pattern="*.rs") == "Nothing matches '*.rs'."


def test_a_pattern_is_about_the_way_from_the_path(tree: Path, find: Call) -> None:
    assert find(pattern="src/*.py") == "src/a.py"
    assert find(pattern="/*.py") == "c.py"
    assert find(pattern="deep/*", path="src") == "src/deep/b.py"
    assert find(pattern="*", path="src/a.py") == "src/a.py"


def test_folders_are_found_by_a_slash_at_the_end(tree: Path, find: Call) -> None:
    assert find(pattern="*/", sort="name") == ".git/\nsrc/\nsrc/deep/"
    assert find(pattern="src/**/", sort="name") == "src/\nsrc/deep/"


def test_what_is_no_plain_file_is_marked(root: Path, find: Call) -> None:
    (root / "link").symlink_to("/etc")
    os.mkfifo(root / "pipe")
    assert find(pattern="*", sort="name") == "link (a link)\npipe (not a file)"


def test_a_name_is_shown_on_one_line(root: Path, find: Call) -> None:
    (root / "a\nb\x1b").touch()
    Path(os.fsdecode(bytes(root) + b"/caf\xe9")).touch()
    assert find(pattern="*", sort="name") == "a␊b␛\ncaf\ufffd"


@pytest.mark.parametrize("over", [0, 1])
def test_so_many_are_shown_and_the_rest_counted(root: Path, find: Call, over: int) -> None:
    for number in range(FILES + over):
        (root / f"{number:03}").touch()
    lines = find(pattern="*", sort="name").split("\n")
    assert lines[:FILES] == [f"{number:03}" for number in range(FILES)]
    assert lines[FILES:] == ["[the 200 first by name of 201; narrow the pattern or the path]"] * over


@pytest.mark.parametrize("pattern", ["../*", "/", "{a,b}" * 7])
def test_what_is_no_pattern_is_refused(root: Path, find: Call, pattern: str) -> None:
    assert refused(find, pattern=pattern).reason == "invalid_pattern"


def test_a_place_that_is_not_there_is_told(root: Path, find: Call) -> None:
    assert refused(find, pattern="*", path="src").reason == "not_found"
    assert refused(find, pattern="*", path="/etc").reason == "outside_root"


def test_the_time_ends_it_with_what_was_found(tree: Path, workspace: Workspace) -> None:
    ticks = count()
    find = calling(find_files_tool(workspace, seconds=2, clock=lambda: next(ticks)))
    assert find(pattern="*", sort="name") == "c.py\n[stopped after 2 seconds, there may be more]"


@pytest.fixture
def many() -> Iterator[Path]:
    """100,000 names of 100 files, in memory where that can be had."""
    root = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
    for folder in range(100):
        (root / f"{folder}").mkdir()
        first = root / f"{folder}/0.txt"
        first.touch()
        for number in range(1, 1000):
            os.link(first, root / f"{folder}/{number}.txt")
    yield root
    shutil.rmtree(root)


def test_a_hundred_thousand_files_are_found(many: Path) -> None:
    find = calling(find_files_tool(Workspace(many)))
    assert find(pattern="**/*.txt").endswith("[the 200 newest of 100,000; narrow the pattern or the path]")
    assert find(pattern="99/7?7.txt", sort="name").split("\n") == [f"99/7{digit}7.txt" for digit in range(10)]


def test_what_a_call_would_do(workspace: Workspace) -> None:
    tool = find_files_tool(workspace)
    assert tool.safe_to_repeat
    assert tool.actions is not None
    assert tool.actions({"pattern": "*"}) == (Read(path=workspace.root),)
