from __future__ import annotations

from pathlib import Path

import pytest

from september_engine.permissions import Write
from september_engine.tools.workspace import Workspace
from september_engine.tools.write_file import MOST_BYTES, write_file_tool

from .conftest import Call, calling, refused


@pytest.fixture
def write(workspace: Workspace) -> Call:
    return calling(write_file_tool(workspace))


def test_a_new_file_has_exactly_this_content(root: Path, write: Call) -> None:
    text = "\ufeffone\r\ntwo\n\0\x1b naïve 🦊"
    assert write(path="src/new.txt", content=text) == f"Created src/new.txt: {len(text.encode())} bytes, 3 lines."
    assert (root / "src/new.txt").read_bytes() == text.encode()


def test_a_file_that_exists_is_replaced_only_on_purpose(root: Path, write: Call) -> None:
    (root / "a.txt").write_text("old one")
    error = refused(write, path="a.txt", content="new")
    assert error.message == (
        "a.txt exists. Change a part of it with edit_file, or give overwrite=true to replace all of it."
    )
    assert (root / "a.txt").read_text() == "old one"
    assert write(path="a.txt", content="new", overwrite=True) == "Replaced a.txt: 3 bytes, 1 lines (it had 7 bytes)."
    assert (root / "a.txt").read_text() == "new"


@pytest.mark.parametrize("path", ["folder/", "folder/.", "folder/..", "/"])
def test_a_folders_path_is_no_files(root: Path, write: Call, path: str) -> None:
    assert refused(write, path=path, content="x").reason == "is_a_directory"
    assert list(root.iterdir()) == []


def test_a_folder_is_not_replaced(root: Path, write: Call) -> None:
    (root / "folder").mkdir()
    assert refused(write, path="folder", content="x", overwrite=True).reason == "is_a_directory"
    assert refused(write, path=".", content="x", overwrite=True).reason == "is_a_directory"


def test_what_utf_8_cannot_hold_is_refused(root: Path, write: Call) -> None:
    error = refused(write, path="a", content="ab\ud800")
    assert error.message == "The text has half of a surrogate pair at character 2, which UTF-8 cannot hold."
    assert list(root.iterdir()) == []


def test_too_much_is_refused(root: Path, write: Call) -> None:
    write(path="a", content="x" * MOST_BYTES)
    error = refused(write, path="b", content="x" * (MOST_BYTES + 1))
    assert (error.reason, (root / "b").exists()) == ("too_large", False)


def test_a_name_with_a_line_break_is_shown_on_one_line(root: Path, write: Call) -> None:
    assert write(path="a\nb", content="x").startswith("Created a␊b: ")
    assert (root / "a\nb").read_text() == "x"


def test_what_a_call_would_do(workspace: Workspace) -> None:
    tool = write_file_tool(workspace)
    assert not tool.safe_to_repeat
    assert tool.actions is not None
    assert tool.actions({"path": "a", "content": ""}) == (Write(path=f"{workspace.root}/a"),)
