from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from september_engine.errors import ConfigurationError
from september_engine.permissions import Read, Write
from september_engine.tools import ToolError
from september_engine.tools._beneath import Place
from september_engine.tools._roots import Roots
from september_engine.tools.edit_file import edit_file_tool
from september_engine.tools.find_files import find_files_tool
from september_engine.tools.grep import grep_tool
from september_engine.tools.read_file import read_file_tool
from september_engine.tools.workspace import Workspace
from september_engine.tools.write_file import write_file_tool

from .conftest import calling, refused


@pytest.fixture
def other(root: Path) -> Path:
    """A second folder, with links to the first and to the outside, and the first with links to it."""
    other = root.parent / "other"
    (other / "deep").mkdir(parents=True)
    (other / "deep/file").write_text("other\n")
    (other / "out").symlink_to("../outside")
    (other / "to_root").symlink_to(root)
    (root / "file").write_text("root\n")
    (root / "to_other").symlink_to("../other")
    return other


@pytest.fixture
def workspace(root: Path, other: Path) -> Workspace:
    return Workspace(root, also=(other,))


def read(workspace: Workspace, path: str) -> bytes:
    with workspace.reading(path) as file:
        return os.read(file.file, 10_000)


# ── which folders ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_counts_once_whatever_it_is_called(root: Path, other: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(root)
    roots = Roots([root, other, alias, f"{other}/", f"{other}/../root"])
    assert roots.all == roots.tops == (str(root), str(other))


def test_one_folder_may_be_inside_of_another(root: Path, other: Path) -> None:
    deep = other / "deep"
    for folders in ((deep, root, other), (other, root, deep)):
        roots = Roots(folders)
        assert roots.all == tuple(map(str, folders))
        assert sorted(roots.tops) == [str(other), str(root)]
        assert roots.place(f"{deep}/file") == Place(str(other), ("deep", "file"))


def test_every_root_must_be_a_folder(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"The workspace .*/nowhere cannot be used: No such file"):
        Workspace(root, also=(root / "nowhere",))
    (root / "file").touch()
    with pytest.raises(ConfigurationError, match=r"The workspace .*/file is not a folder"):
        Workspace(root, also=(root / "file",))
    with pytest.raises(ConfigurationError, match="takes several folders"):
        Workspace(root, also="/")


def test_a_path_is_absolute_by_the_real_path_of_its_root(root: Path, other: Path) -> None:
    alias = root.parent / "alias"
    alias.symlink_to(other)
    roots = Roots([root, alias, root / "to_other/deep"])
    assert roots.absolute("a/../b") == f"{root}/b"
    assert roots.absolute(f"{alias}/deep/x/..") == f"{other}/deep"
    assert roots.absolute(f"{root}/to_other/deep/x") == f"{other}/deep/x"
    assert roots.absolute(f"{root}/to_other/x") == f"{root}/to_other/x"
    assert roots.absolute("//etc/passwd") == "/etc/passwd"
    assert roots.place("/etc/passwd") is None
    assert roots.place(f"{root}x") is None


def test_a_path_is_shown_as_it_can_be_given_again(root: Path, other: Path) -> None:
    roots = Roots([root, other])
    for path in ("a/b", ".", f"{other}/deep", str(other)):
        place = roots.place(roots.absolute(path))
        assert place is not None
        assert roots.shown(place) == path
    inner = Roots([other / "deep", other])
    for path in ("file", ".", f"{other}/x", str(other)):
        place = inner.place(inner.absolute(path))
        assert place is not None
        assert inner.shown(place) == path


# ── tools over several folders ───────────────────────────────────────────────────────────────────────────────────


def test_every_tool_works_in_every_folder(way: str, workspace: Workspace, other: Path) -> None:
    (other / "deep/no").write_bytes(b"\xff\0")
    assert calling(read_file_tool(workspace))(path=f"{other}/deep/file") == "other"
    assert refused(calling(read_file_tool(workspace)), path=f"{other}/deep/no").message.startswith(f"{other}/deep/no ")
    assert calling(write_file_tool(workspace))(path=f"{other}/new/file", content="one\n").startswith(
        f"Created {other}/new/file: "
    )
    calling(edit_file_tool(workspace))(path=f"{other}/new/file", old_text="one", new_text="two")
    assert (other / "new/file").read_text() == "two\n"


def test_a_search_is_of_the_first_folder_unless_it_is_told_another(way: str, workspace: Workspace, other: Path) -> None:
    grep, find = calling(grep_tool(workspace)), calling(find_files_tool(workspace))
    assert grep(pattern="r") == "file:1:root"
    assert grep(pattern="r", path=str(other)) == f"{other}/deep/file:1:other"
    assert find(pattern="*") == "file\nto_other (a link)"
    assert find(pattern="deep/*", path=str(other)) == f"{other}/deep/file"
    assert find(pattern="*/", path=f"{other}/") == f"{other}/deep/"


def test_a_link_leads_from_one_folder_to_another(way: str, workspace: Workspace, root: Path, other: Path) -> None:
    assert read(workspace, "to_other/deep/file") == b"other\n"
    assert read(workspace, f"{other}/to_root/file") == b"root\n"
    workspace.write("to_other/new/file", b"new", replace=False)
    assert (other / "new/file").read_bytes() == b"new"
    assert [entry.shown for entry in workspace.walk("to_other/deep")] == [f"{other}/deep/file"]
    assert refused(lambda: read(Workspace(root), "to_other/deep/file")).reason == "outside_root"


def test_what_is_outside_is_told_with_all_that_is_inside(workspace: Workspace, root: Path, other: Path) -> None:
    for path in ("/etc/passwd", f"{other}/out/secret.txt", f"{other}x"):
        error = refused(partial(read, workspace, path))
        assert error.reason == "outside_root"
        assert error.message == (
            f"{path} is outside of the workspace. File tools work only below {root} and {other}; symbolic links that "
            "lead out of it are not followed."
        )
    workspace = Workspace(root, also=(other, root.parent / "outside"))
    assert f"only below {root}, {other} and {root.parent}/outside;" in refused(lambda: read(workspace, "/")).message


def test_what_is_not_found_is_told_with_what_is_like_it(workspace: Workspace, other: Path) -> None:
    error = refused(lambda: read(workspace, f"{other}/deep/File"))
    assert error.message == f"There is no {other}/deep/File. In {other}/deep there is: file."


def test_git_and_patterns_hold_in_every_folder(way: str, root: Path, other: Path) -> None:
    (other / ".git").mkdir()
    (other / ".env").touch()
    workspace = Workspace(root, also=(other,), protected=("/deep",), hidden=(".env",))
    for path in (f"{other}/.git/config", "to_other/.git/config", f"{other}/deep/file", "to_other/deep/file"):
        assert "may read it, not write it" in refused(partial(workspace.write, path, b"", replace=True)).message
    for path in (f"{other}/.env", "to_other/.env"):
        assert refused(partial(read, workspace, path)).message == f"{path} is kept from file tools."


@pytest.mark.parametrize("first", ["outer", "inner"])
def test_of_nested_folders_the_protection_of_both_holds(way: str, root: Path, first: str) -> None:
    inner = root / "a/inner"
    (inner / "a").mkdir(parents=True)
    (inner / "a/file").write_text("text")
    (inner / "up").symlink_to("..")
    folders = (root, inner) if first == "outer" else (inner, root)
    base = "a/inner/" if first == "outer" else ""
    for pattern in ("/a/file", "/a/inner/a"):  # from the inner one, and from the outer one
        workspace = Workspace(folders[0], also=folders[1:], protected=(pattern,))
        assert read(workspace, f"{base}a/file") == b"text"
        for path in (f"{base}a/file", f"{inner}/a/file", f"{inner}/up/inner/a/file"):
            assert refused(partial(workspace.write, path, b"", replace=True)).reason == "protected"
    assert [entry.shown for entry in workspace.walk(str(inner)) if entry.kind == "file"] == [f"{base}a/file"]
    listed = [entry.shown for entry in workspace.walk(str(root)) if entry.kind != "link"]
    outside_of_first = ["a", "a/inner"] if first == "outer" else [f"{root}/a", "."]
    assert listed == [*outside_of_first, f"{base}a", f"{base}a/file"]


def test_a_nested_folder_that_becomes_a_link_leads_nowhere_else(way: str, root: Path) -> None:
    (root / "inner").mkdir()
    workspace = Workspace(root, also=(root / "inner",))
    (root / "inner").rmdir()
    (root / "inner").symlink_to("../outside")
    assert refused(lambda: read(workspace, f"{root}/inner/secret.txt")).reason == "outside_root"
    assert refused(lambda: workspace.write("inner/x", b"", replace=True)).reason == "outside_root"


AWKWARD = ["", ".", "..", "a", "out", "to_root", "to_other", "deep", "file", "other", "root", "outside", "~", "\0"]
paths = st.lists(st.sampled_from(AWKWARD), max_size=7).map("/".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths, absolute=st.booleans())
@example(path="to_other/out/secret.txt", absolute=False)
@example(path="to_root/to_other/out/x", absolute=True)
def test_no_path_leads_out_of_both(no_sync: None, workspace: Workspace, other: Path, path: str, absolute: bool) -> None:
    path = f"{other}/{path}" if absolute else path
    for attempt in (
        lambda: read(workspace, path),
        lambda: workspace.write(path, b"written", replace=True),
        lambda: workspace.edit(path, lambda data: data + b"!", most=100),
        lambda: [entry.shown for entry in workspace.walk(path)],
    ):
        try:
            result = attempt()
        except ToolError:
            continue
        assert result != b"outside\n"
    outside = other.parent / "outside"
    assert {each.name: each.read_text() for each in outside.iterdir()} == {"secret.txt": "outside\n"}
    assert {each.name for each in other.parent.iterdir()} == {"outside", "root", "other"}


def test_what_a_call_would_do(workspace: Workspace, other: Path) -> None:
    write, grep = write_file_tool(workspace), grep_tool(workspace)
    assert write.actions is not None
    assert write.actions({"path": f"{other}/x/../y"}) == (Write(path=f"{other}/y"),)
    assert grep.actions is not None
    assert grep.actions({"pattern": "x", "path": str(other)}) == (Read(path=str(other)),)
