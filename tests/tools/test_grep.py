from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from september_engine.permissions import Read
from september_engine.tools import ToolInputError, _matcher
from september_engine.tools.grep import FILE_BYTES, MATCHES, grep_tool
from september_engine.tools.workspace import Workspace

from .conftest import Call, calling, refused

ENDLESS = r"(a+)+$"


@pytest.fixture
def grep(workspace: Workspace) -> Call:
    return calling(grep_tool(workspace))


@pytest.fixture
def tree(root: Path) -> Path:
    (root / "src/deep").mkdir(parents=True)
    (root / "src/a.py").write_text("import os\n\nprint(os.name)\n")
    (root / "src/deep/b.js").write_text("// Print\r\nprint()\r\n")
    (root / "c.txt").write_text("nothing here\nprint")
    return root


def test_lines_are_given_with_path_and_number(way: str, tree: Path, grep: Call) -> None:
    assert grep(pattern=r"^print\b") == "c.txt:2:print\nsrc/a.py:3:print(os.name)\nsrc/deep/b.js:2:print()"
    assert grep(pattern=r"print$") == "c.txt:2:print"
    assert grep(pattern="print$", ignore_case=True) == "c.txt:2:print\nsrc/deep/b.js:1:// Print"
    assert grep(pattern="nowhere") == "No line matches 'nowhere'."


def test_a_search_may_be_of_one_folder_or_file_or_kind(tree: Path, grep: Call) -> None:
    assert grep(pattern="print", path="src/deep") == "src/deep/b.js:2:print()"
    assert grep(pattern="print", path="src/a.py") == "src/a.py:3:print(os.name)"
    assert grep(pattern="print", glob="*.{py,txt}") == "c.txt:2:print\nsrc/a.py:3:print(os.name)"
    assert grep(pattern="print", path="src", glob="/deep/*") == "src/deep/b.js:2:print()"


@pytest.mark.parametrize("over", [0, 1])
def test_so_many_matches_are_shown_and_the_rest_counted(root: Path, grep: Call, over: int) -> None:
    (root / "a").write_text("x\n" * (MATCHES + over))
    lines = grep(pattern="x").split("\n")
    assert lines[MATCHES - 1] == f"a:{MATCHES}:x"
    assert lines[MATCHES:] == [f"[the first 100 of {MATCHES + 1} matches; narrow the pattern, path or glob]"] * over


def test_of_a_long_line_the_part_around_the_match_is_shown(root: Path, grep: Call) -> None:
    (root / "a").write_text("x" * 1000 + "here" + "y" * 1000)
    assert grep(pattern="here") == f"a:1:…{'x' * 100}here{'y' * 196}…"


def test_lines_are_counted_through_pieces(root: Path, grep: Call) -> None:
    line = "x" * 99 + "\n"
    (root / "a").write_text(line * 10_000 + "z" * 600_000 + "\nneedle\n" + line * 10_000 + "needle")
    assert grep(pattern="needle") == "a:10002:needle\na:20003:needle"


def test_what_is_no_text_or_no_file_is_left_out(tree: Path, grep: Call) -> None:
    (tree / "binary").write_bytes(b"print\0")
    (tree / ".git").mkdir()
    (tree / ".git/x").write_text("print")
    (tree / "link").symlink_to("c.txt")
    os.mkfifo(tree / "pipe")
    assert grep(pattern="print", glob="{binary,x,link,pipe}") == "No line matches 'print'."


def test_bytes_that_are_not_utf_8_and_symbols_are_shown_as_such(root: Path, grep: Call) -> None:
    (root / "a").write_bytes(b"caf\xe9 \x1b[31m\n")
    assert grep(pattern="caf.") == "a:1:caf\ufffd ␛[31m"
    (root / "b\n\x1b").write_text("name")
    assert grep(pattern="name") == "b␊␛:1:name"


def test_a_huge_file_is_searched_only_by_its_name(root: Path, grep: Call) -> None:
    with (root / "huge").open("w") as file:
        file.write("text\n" * 2000)
        file.truncate(FILE_BYTES)
        file.seek(FILE_BYTES)
        file.write("\nneedle\n")
    assert grep(pattern="needle") == (
        "No line matches 'needle'.\n[1 files of more than 10 MB left out; give the path of one to search it]"
    )
    assert grep(pattern="needle", path="huge") == "huge:2002:needle"


@pytest.mark.parametrize("pattern", ["(", "(?P<x", "*", "(?<=a+)b", "a{99999999999}", "[[:alpha:"])
def test_what_is_no_pattern_is_refused(root: Path, grep: Call, pattern: str) -> None:
    error = refused(grep, pattern=pattern)
    assert error.reason == "invalid_pattern"
    assert error.message.startswith("The pattern is no regular expression of Python's: ")


def test_a_pattern_has_a_length(grep: Call) -> None:
    for pattern in ("", "x" * 2001):
        with pytest.raises(ToolInputError):
            grep(pattern=pattern)
    assert refused(grep, pattern="x", glob="../*").reason == "invalid_pattern"
    assert refused(grep, pattern="x", glob="x" * 1001).reason == "invalid_pattern"


def test_a_place_that_is_not_there_is_told(tree: Path, grep: Call) -> None:
    assert refused(grep, pattern="x", path="sr").message == "There is no sr. In . there is: src."
    assert refused(grep, pattern="x", path="../outside").reason == "outside_root"


def test_a_pattern_without_end_is_stopped(root: Path, workspace: Workspace) -> None:
    (root / "b").write_text("a" * 40 + "b\n")
    grep = calling(grep_tool(workspace, seconds=0.5))
    begin = time.perf_counter()
    error = refused(grep, pattern=ENDLESS)
    assert time.perf_counter() - begin < 2.5
    assert error.reason == "timeout"
    assert error.message.startswith("Nothing was found within 0.5 seconds, and the search was stopped.")


def test_what_was_found_before_a_stop_is_shown(root: Path, workspace: Workspace) -> None:
    (root / "a").write_text("aaa\n" * 3 + "c\n" * 200_000)  # more than is searched at once
    (root / "b").write_text("a" * 40 + "b\n")
    grep = calling(grep_tool(workspace, seconds=0.5))
    assert grep(pattern=ENDLESS).split("\n") == [
        "a:1:aaa",
        "a:2:aaa",
        "a:3:aaa",
        "[stopped after 0.5 seconds, there may be more]",
    ]


def test_a_walk_ends_with_the_time_too(tree: Path, workspace: Workspace) -> None:
    assert refused(calling(grep_tool(workspace, seconds=1e-6)), pattern="print").reason == "timeout"


def test_a_pattern_that_needs_all_memory_fails_alone(root: Path, grep: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a").write_text("x\n")
    monkeypatch.setattr(_matcher, "_CHILD", "/nowhere.py")  # as a child that is killed by its limit
    error = refused(grep, pattern="x")
    assert error.reason == "pattern_failed"


def test_without_an_interpreter_there_is_no_search(grep: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", None)
    assert refused(grep, pattern="x").reason == "unavailable"


def test_the_child_gets_nothing_of_the_environment(
    root: Path, grep: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    spy = tmp_path / "spy.py"
    spy.write_text(f"import os\nopen({str(seen)!r}, 'w').write(repr(sorted(os.environ)))")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setattr(_matcher, "_CHILD", str(spy))
    refused(grep, pattern="x")
    assert "ANTHROPIC" not in seen.read_text()


def test_what_a_call_would_do(workspace: Workspace) -> None:
    tool = grep_tool(workspace)
    assert tool.safe_to_repeat
    assert tool.actions is not None
    assert tool.actions({"pattern": "x"}) == (Read(path=workspace.root),)
    assert tool.actions({"pattern": "x", "path": "a"}) == (Read(path=f"{workspace.root}/a"),)
