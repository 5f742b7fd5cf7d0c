from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from september_engine.errors import ConfigurationError
from september_engine.tools import ToolError, _beneath
from september_engine.tools._glob import Glob
from september_engine.tools.workspace import Workspace

from ..programs import unicode_names
from .conftest import refused

AWKWARD = [
    "",
    ".",
    "..",
    "/",
    "//",
    "a",
    "b",
    "out",
    "in",
    "~",
    "~root",
    "a\nb",
    "a" * 256,
    "\0",
    "caf\udce9",
    "\ud800",
]


@pytest.fixture
def tree(root: Path) -> Path:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside\n")
    (root / "out").symlink_to("../outside")
    (root / "in").symlink_to("a/b")
    return root


def read(workspace: Workspace, path: str) -> bytes:
    with workspace.reading(path) as file:
        return os.read(file.file, 10_000)


def reason(workspace: Workspace, path: str) -> str:
    return refused(lambda: read(workspace, path)).reason


# ── paths ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_path_is_relative_to_the_root_or_absolute_inside(way: str, tree: Path) -> None:
    workspace = Workspace(tree)
    for path in ("a/b/file", f"{tree}/a/b/file", "./a//b/../b/file", "in/file", "a/b/file/"):
        assert read(workspace, path) == b"inside\n"


def test_the_root_may_be_given_by_a_link_and_paths_too(tree: Path) -> None:
    alias = tree.parent / "alias"
    alias.symlink_to(tree)
    workspace = Workspace(alias)
    assert workspace.root == str(tree)
    assert read(workspace, f"{alias}/a/b/file") == b"inside\n"
    assert workspace.paths(f"{alias}/a")[0] == f"{tree}/a"


@pytest.mark.parametrize(
    ("path", "reason_"),
    [
        ("../outside/secret.txt", "outside_root"),
        ("/etc/passwd", "outside_root"),
        ("//etc/passwd", "outside_root"),
        ("out/secret.txt", "outside_root"),
        ("a/../../outside/secret.txt", "outside_root"),
        ("~/secret.txt", "outside_root"),
        ("", "invalid_path"),
        ("a\0b", "invalid_path"),
        ("\ud800", "invalid_path"),
        ("x" * 300, "invalid_path"),
        ("/".join(["x" * 200] * 30), "not_found"),
        ("a/b/file/c", "not_a_directory"),
        ("a", "is_a_directory"),
        (".", "is_a_directory"),
        ("missing", "not_found"),
    ],
)
def test_a_path_that_cannot_be_read_says_why(way: str, tree: Path, path: str, reason_: str) -> None:
    assert reason(Workspace(tree), path) == reason_


def test_what_is_outside_is_told_with_what_is_inside(tree: Path) -> None:
    error = refused(lambda: read(Workspace(tree), "/etc/passwd"))
    assert error.message == (
        f"/etc/passwd is outside of the workspace. File tools work only below {tree}; symbolic links that lead out of "
        "it are not followed."
    )


def test_what_is_not_found_is_told_with_what_is_like_it(tree: Path) -> None:
    error = refused(lambda: read(Workspace(tree), "a/b/File.txt"))
    assert error.message == "There is no a/b/File.txt. In a/b there is: file."
    error = refused(lambda: read(Workspace(tree), "a/zzz/file"))
    assert error.message == "There is no a/zzz/file. a has no zzz; find_files shows what is there."


paths = st.lists(st.sampled_from(AWKWARD) | st.text(max_size=4), max_size=6).map("/".join) | st.text(max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths)
@example(path="out/secret.txt")
@example(path="../root/../outside/x")
def test_no_path_leads_out(no_sync: None, tree: Path, path: str) -> None:
    workspace = Workspace(tree)
    outside = tree.parent / "outside"
    for attempt in (
        lambda: read(workspace, path),
        lambda: workspace.write(path, b"written", replace=True),
        lambda: workspace.edit(path, lambda data: data + b"!", most=100),
        lambda: [entry.names for entry in workspace.walk(path)],
    ):
        try:
            result = attempt()
        except ToolError:
            continue
        assert result != b"outside\n"
    assert {each.name: each.read_text() for each in outside.iterdir()} == {"secret.txt": "outside\n"}
    assert {each.name for each in tree.parent.iterdir()} == {"outside", "root"}
    assert workspace.paths(path)[0].startswith("/")


# ── what is not for file tools ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def guarded(tree: Path) -> Workspace:
    (tree / ".git/hooks").mkdir(parents=True)
    (tree / ".git/config").write_text("[core]\n")
    (tree / ".env").write_text("KEY=1\n")
    (tree / "data").mkdir()
    (tree / "data/brain.sqlite").write_text("x")
    (tree / "data/brain.sqlite-wal").write_text("x")
    (tree / "to_git").symlink_to(".git")
    (tree / "a/env").symlink_to("../.env")
    return Workspace(tree, protected=("locked/", "*.lock"), hidden=(".env*", "data/brain.sqlite*"))


@unicode_names
@pytest.mark.parametrize(
    "path",
    [
        ".git",
        ".git/config",
        ".git/hooks/pre-commit",
        "a/.git/hooks/pre-commit",
        "vendor/.git",
        ".GIT/config",
        ".g\u200cit/config",
        "to_git/config",
        "to_git/new/folder/file",
        "a/../to_git/hooks/x",
        "locked/x",
        "a/b/uv.lock",
        ".env",
        "a/.env.local",
        "a/env",
        "data/brain.sqlite-journal",
    ],
)
def test_what_is_protected_or_hidden_is_not_written(way: str, guarded: Workspace, path: str) -> None:
    before = sorted(Path(guarded.root).rglob("*"))
    error = refused(lambda: guarded.write(path, b"x", replace=True))
    assert (error.reason, sorted(Path(guarded.root).rglob("*"))) == ("protected", before)
    assert "is protected: file tools may read it, not write it." in error.message or "is kept from" in error.message
    assert refused(lambda: guarded.edit(path, bytes.upper, most=100)).reason in ("protected", "not_found")


def test_what_is_protected_is_read_and_what_is_hidden_is_not(way: str, guarded: Workspace) -> None:
    assert read(guarded, ".git/config") == b"[core]\n"
    for path in (".env", "a/env", "data/brain.sqlite", "data/brain.sqlite-wal", ".ENV"):
        assert reason(guarded, path) == "protected"
    assert refused(lambda: read(guarded, ".env")).message == ".env is kept from file tools."


def test_what_is_hidden_is_neither_listed_nor_suggested(guarded: Workspace) -> None:
    listed = {"/".join(entry.names) for entry in guarded.walk(".")}
    assert "a/b/file" in listed
    assert not any(name.endswith(("env.local", ".env")) or "brain" in name for name in listed)
    assert ".env" not in refused(lambda: read(guarded, "en")).message


def test_git_is_walked_only_where_it_is_asked_for(guarded: Workspace) -> None:
    assert not any(entry.names[:2] == (".git", "config") for entry in guarded.walk("."))
    assert any(entry.names == (".git", "config") for entry in guarded.walk(".git"))


@pytest.mark.parametrize("pattern", ["", "../x", "{a,b}" * 7])
def test_a_pattern_that_cannot_be_used_is_the_hosts_error(root: Path, pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be used"):
        Workspace(root, hidden=(pattern,))


def test_the_root_must_be_a_folder(root: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"The workspace .*/nowhere cannot be used: No such file"):
        Workspace(root / "nowhere")
    (root / "file").touch()
    with pytest.raises(ConfigurationError, match=r"The workspace .*/file is not a folder"):
        Workspace(root / "file")


# ── what is no file ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def odd(tree: Path) -> Iterator[Path]:
    os.mkfifo(tree / "pipe")
    here = os.getcwd()
    os.chdir(tree)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        os.chdir(here)
        yield tree


@pytest.mark.parametrize(("name", "kind"), [("pipe", "a pipe"), ("socket", "a socket")])
def test_what_is_no_file_is_refused_and_never_waited_for(way: str, odd: Path, name: str, kind: str) -> None:
    workspace = Workspace(odd)
    for attempt in (
        lambda: read(workspace, name),
        lambda: workspace.write(name, b"x", replace=True),
        lambda: workspace.edit(name, bytes.upper, most=10),
        lambda: list(workspace.walk(name)),
    ):
        error = refused(attempt)
        assert error.reason == "not_a_file"
        assert error.message == f"{name} is {kind}, not a file; only files can be read and written."


def test_a_device_is_refused() -> None:
    assert reason(Workspace("/dev"), "zero") == "not_a_file"


def test_a_pipe_that_takes_a_files_place_is_not_waited_for(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, seen = Workspace(odd), os.stat(odd / "a/b/file")
    monkeypatch.setattr(os, "stat", lambda *_, **__: seen)
    assert reason(workspace, "pipe") == "not_a_file"


def test_a_link_that_takes_a_files_place_is_not_followed(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "link").symlink_to("../outside/secret.txt")
    workspace, seen = Workspace(tree), os.stat(tree / "a/b/file")
    monkeypatch.setattr(_beneath, "_target", lambda *_: None)
    monkeypatch.setattr(os, "stat", lambda *_, **__: seen)
    assert reason(workspace, "link") == "link_loop"


@contextmanager
def nobody() -> Iterator[Path]:
    """A folder of root's, and the rights of nobody; where we are nobody in particular, simply a folder."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            shutil.chown(folder, 65534)
            os.seteuid(65534)
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        for each in folder.rglob("*"):
            each.chmod(0o700)
        shutil.rmtree(folder)


def test_what_the_system_does_not_permit_is_told(way: str) -> None:
    with nobody() as folder:
        (folder / "closed").mkdir()
        (folder / "closed/file").touch()
        (folder / "secret").touch(0o000)
        (folder / "closed").chmod(0o500)
        workspace = Workspace(folder)
        error = refused(lambda: read(workspace, "secret"))
        assert (error.reason, error.message) == ("permission_denied", "The system does not permit this for secret.")
        assert refused(lambda: workspace.write("closed/new", b"x", replace=False)).reason == "permission_denied"
        (folder / "closed").chmod(0o000)
        assert reason(workspace, "closed/file") == "permission_denied"
        assert [(entry.names, entry.kind) for entry in workspace.walk(".")] == [
            (("closed",), "folder"),
            (("secret",), "file"),
            (("closed",), "unreadable"),
        ]
        assert refused(lambda: list(workspace.walk("closed"))).reason == "permission_denied"


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_file_comes_with_its_folders(way: str, tree: Path) -> None:
    workspace = Workspace(tree)
    assert workspace.write("in/x/y/new", b"text", replace=False) is None
    assert (tree / "a/b/x/y/new").read_bytes() == b"text"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tree / "a/b/x/y/new").stat().st_mode) == 0o666 & ~umask


def test_what_exists_is_replaced_only_when_that_is_meant(way: str, tree: Path) -> None:
    workspace = Workspace(tree)
    error = refused(lambda: workspace.write("a/b/file", b"new", replace=False))
    assert error.reason == "exists"
    assert "edit_file" in error.message
    before = workspace.write("a/b/file", b"new", replace=True)
    assert before is not None
    assert before.st_size == len(b"inside\n")
    assert (tree / "a/b/file").read_bytes() == b"new"


def test_a_file_keeps_its_mode_and_a_link_stays_a_link(way: str, tree: Path) -> None:
    (tree / "a/b/file").chmod(0o4750)
    (tree / "link").symlink_to("a/b/file")
    Workspace(tree).write("link", b"new", replace=True)
    assert (tree / "link").is_symlink()
    assert (tree / "a/b/file").read_bytes() == b"new"
    assert stat.S_IMODE((tree / "a/b/file").stat().st_mode) == 0o750


def test_a_hard_link_to_another_place_is_not_written_through(tree: Path) -> None:
    os.link(tree.parent / "outside/secret.txt", tree / "hard")
    Workspace(tree).write("hard", b"new", replace=True)
    assert (tree.parent / "outside/secret.txt").read_text() == "outside\n"


def test_a_read_only_file_stays_as_it_is(tree: Path) -> None:
    (tree / "a/b/file").chmod(0o444)
    error = refused(lambda: Workspace(tree).write("a/b/file", b"new", replace=True))
    assert (error.reason, error.message) == ("protected", "a/b/file is read-only; nobody may write it.")


def test_a_file_that_changes_during_an_edit_is_left_alone(way: str, tree: Path) -> None:
    def change(data: bytes) -> bytes:
        (tree / "a/b/file").write_text("somebody else")
        return data.upper()

    error = refused(lambda: Workspace(tree).edit("a/b/file", change, most=100))
    assert error.reason == "changed"
    assert (tree / "a/b/file").read_text() == "somebody else"
    assert [each.name for each in (tree / "a/b").iterdir()] == ["file"]


def test_a_file_that_comes_up_during_a_write_is_left_alone(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (tree / "new").write_text("somebody else"))
    assert refused(lambda: Workspace(tree).write("new", b"x", replace=False)).reason == "exists"
    assert (tree / "new").read_text() == "somebody else"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_hard_links_will_do(tree: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(number, "no links")

    monkeypatch.setattr(os, "link", link)
    workspace = Workspace(tree)
    workspace.write("new", b"x", replace=False)
    assert (tree / "new").read_bytes() == b"x"
    monkeypatch.setattr(os, "fsync", lambda _: (tree / "other").write_text("somebody else"))
    assert refused(lambda: workspace.write("other", b"x", replace=False)).reason == "exists"


@pytest.mark.parametrize(
    ("number", "reason_"), [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "io_error")]
)
def test_a_disk_that_fails_leaves_the_old_file_whole(
    tree: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason_: str
) -> None:
    writes = 0

    def write(file: int, data: memoryview) -> int:
        nonlocal writes
        writes += 1
        if writes > 1:
            raise OSError(number, os.strerror(number))
        return 1

    monkeypatch.setattr(os, "write", write)
    assert refused(lambda: Workspace(tree).write("a/b/file", b"new", replace=True)).reason == reason_
    assert (tree / "a/b/file").read_text() == "inside\n"
    assert [each.name for each in (tree / "a/b").iterdir()] == ["file"]


def test_an_edit_of_too_much_is_refused(tree: Path) -> None:
    error = refused(lambda: Workspace(tree).edit("a/b/file", bytes.upper, most=6))
    assert (error.reason, error.message) == ("too_large", "a/b/file has 7 bytes; at most 6 can be edited.")


# ── walking ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_walk_goes_folder_by_folder_and_follows_no_link(way: str, tree: Path) -> None:
    (tree / "b.txt").touch()
    os.mkfifo(tree / "c")
    assert [(entry.shown, entry.kind) for entry in Workspace(tree).walk(".")] == [
        ("a", "folder"),
        ("b.txt", "file"),
        ("c", "other"),
        ("in", "link"),
        ("out", "link"),
        ("a/b", "folder"),
        ("a/b/file", "file"),
    ]


def test_a_walk_enters_only_what_may_match(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[object] = []
    scandir = os.scandir

    def listing(folder: int) -> object:
        listed.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", listing)
    entries = list(Workspace(tree).walk(".", only=Glob("/x/*")))
    assert ([entry.shown for entry in entries if entry.matches], len(listed)) == ([], 1)


def test_a_walk_starts_where_a_link_leads_and_names_what_is_there(way: str, tree: Path) -> None:
    assert [entry.shown for entry in Workspace(tree).walk("in")] == ["a/b/file"]
    assert [(entry.shown, entry.given) for entry in Workspace(tree).walk("in/file")] == [("a/b/file", True)]


def test_a_folder_that_becomes_a_link_during_a_walk_is_not_entered(way: str, tree: Path) -> None:
    entries = []
    for entry in Workspace(tree).walk("."):
        entries.append((entry.shown, entry.kind))
        if (entry.shown, entry.kind) == ("a", "folder"):
            shutil.rmtree(tree / "a")
            (tree / "a").symlink_to("../outside")
    assert entries == [("a", "folder"), ("in", "link"), ("out", "link"), ("a", "unreadable")]
