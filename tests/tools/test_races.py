"""A swapper beside the tools: folders and files become links to the outside and back, as fast as they can."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from september_engine.tools import ToolError
from september_engine.tools.edit_file import edit_file_tool
from september_engine.tools.find_files import find_files_tool
from september_engine.tools.grep import grep_tool
from september_engine.tools.read_file import read_file_tool
from september_engine.tools.workspace import Workspace
from september_engine.tools.write_file import write_file_tool

from .conftest import calling

ROUNDS = 400

SWAPPER = """
import os, shutil, sys

def out(name, target):
    try:
        os.rename(name, name + ".aside")
        os.symlink(target, name)
    except OSError:
        pass

def back(name):
    try:
        if not os.path.islink(name):  # a write has made another one meanwhile
            os.rename(name, "junk")
        else:
            os.unlink(name)
    except OSError:
        pass
    try:
        os.rename(name + ".aside", name)
    except OSError:
        pass
    if os.path.lexists("junk"):
        shutil.rmtree("junk", ignore_errors=True)
        if os.path.isfile("junk"):
            os.unlink("junk")

print("ready", flush=True)
while True:
    out("folder", sys.argv[1])
    out("file", sys.argv[1] + "/file")
    back("folder")
    back("file")
"""


FILES = ("file", "folder/file", "folder/deep/file")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two roots and what is outside of them; every file says where it is."""
    for path in (
        *(f"{root}/{file}" for root in ("root", "other") for file in FILES),
        "outside/file",
        "outside/deep/file",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{path.partition('/')[0]}\n")
    return tmp_path


@pytest.fixture
def swapping(place: Path) -> Iterator[Path]:
    with swapper(place / "root", "../outside"):
        yield place / "root"
    untouched(place)


@pytest.fixture
def swapping_other(place: Path) -> Iterator[Path]:
    """The second root is swapped with the outside, and folders of the first with those of the second."""
    with swapper(place / "other", "../outside"), swapper(place / "root", "../other"):
        yield place / "root"
    untouched(place)


def untouched(place: Path) -> None:
    outside = {each for each in (place / "outside").rglob("*") if each.is_file()}
    assert {each.read_text() for each in outside} == {"outside\n"}
    assert len(outside) == 2


@contextmanager
def swapper(root: Path, target: str) -> Iterator[None]:
    """A process, since a thread would stop where our own code runs."""
    command = [sys.executable, "-I", "-S", "-c", SWAPPER, target]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            died = process.poll()
            process.kill()
    assert died is None


def naive(root: Path, path: str) -> str:
    """What everybody writes first: check the path, then use it."""
    real = os.path.realpath(root / path)
    if not real.startswith(f"{root}/"):
        raise PermissionError
    return (root / path).read_text()


def test_the_swapper_has_teeth(swapping: Path) -> None:
    for _ in range(200_000):
        with suppress(OSError):
            if naive(swapping, "folder/file") == "outside\n":
                return
    pytest.fail("checking the path and then using it was never caught")


@pytest.mark.campaign
@pytest.mark.usefixtures("way", "no_sync")
def test_no_read_and_no_write_ends_outside(swapping: Path) -> None:
    workspace = Workspace(swapping)
    read, write = calling(read_file_tool(workspace)), calling(write_file_tool(workspace))
    edit, find = calling(edit_file_tool(workspace)), calling(find_files_tool(workspace))
    worked = {"read": 0, "write": 0, "edit": 0, "walk": 0}
    for number in range(ROUNDS):
        for path in ("folder/file", "folder/deep/file", "file"):
            with suppress(ToolError):
                assert read(path=path).lower() == "root"
                worked["read"] += 1
            with suppress(ToolError):
                edit(path=path, old_text="root", new_text="ROOT")
                worked["edit"] += 1
            with suppress(ToolError):
                write(path=path, content="root\n", overwrite=True)
                worked["write"] += 1
        with suppress(ToolError):
            write(path=f"folder/new/{number % 5}", content="new\n", overwrite=True)
        for entry in workspace.walk("."):
            if entry.kind == "file":
                with suppress(OSError), entry.open() as file:
                    assert not os.read(file.file, 100).startswith(b"outside")
                    worked["walk"] += 1
        if number % 100 == 0:
            assert "outside" not in find(pattern="**/*")
    assert min(worked.values()) > ROUNDS // 20, worked


@pytest.mark.campaign
@pytest.mark.usefixtures("way")
def test_no_search_finds_what_is_outside(swapping: Path) -> None:
    grep = calling(grep_tool(Workspace(swapping)))
    for _ in range(8):
        assert "outside" not in grep(pattern=".")
    for path in ("folder", "file") * 3:
        with suppress(ToolError):
            assert "outside" not in grep(pattern=".", path=path)


@pytest.mark.campaign
@pytest.mark.usefixtures("way", "no_sync")
def test_nothing_ends_outside_by_way_of_another_root(swapping_other: Path) -> None:
    other = swapping_other.parent / "other"
    workspace = Workspace(swapping_other, also=(other,))
    read, write, edit = (calling(make(workspace)) for make in (read_file_tool, write_file_tool, edit_file_tool))
    find = calling(find_files_tool(workspace))
    paths = [f"{root}{file}" for root in ("", f"{other}/") for file in FILES]
    worked = {"read": 0, "write": 0, "edit": 0, "walk": 0}
    for number in range(ROUNDS // 2):
        for path in paths:
            with suppress(ToolError):
                assert read(path=path).lower() in ("root", "other")
                worked["read"] += 1
            with suppress(ToolError):
                edit(path=path, old_text="r", new_text="R")
                worked["edit"] += 1
            with suppress(ToolError):
                write(path=path, content="other\n", overwrite=True)
                worked["write"] += 1
        with suppress(ToolError):
            write(path=f"{other}/folder/new/{number % 5}", content="other\n", overwrite=True)
        for root in (".", str(other)):
            for entry in workspace.walk(root):
                if entry.kind == "file":
                    with suppress(OSError), entry.open() as file:
                        assert not os.read(file.file, 100).startswith(b"outside")
                        worked["walk"] += 1
        if number % 50 == 0:
            assert "outside" not in find(pattern="**/*", path=str(other)).replace(str(other), "")
    assert min(worked.values()) > ROUNDS // 40, worked


@pytest.mark.campaign
@pytest.mark.usefixtures("way", "no_sync")
def test_no_swap_shows_what_is_hidden(place: Path) -> None:
    """Links lead to the hidden file and its folder, under names that nobody has hidden."""
    hidden = place / "other/deep/file", place / "other/file"
    hidden[0].parent.mkdir()
    for path in hidden:
        path.write_text("secret\n")
    workspace = Workspace(place / "root", also=(place / "other",))
    workspace.hide([hidden[0].parent, hidden[1]])
    read, write = calling(read_file_tool(workspace)), calling(write_file_tool(workspace))
    worked = 0
    with swapper(place / "root", "../other"):
        for _ in range(ROUNDS):
            for file in FILES:
                with suppress(ToolError):
                    assert "secret" not in read(path=file)
                    worked += 1
                with suppress(ToolError):
                    write(path=file, content="root\n", overwrite=True)
    assert worked > ROUNDS // 20
    assert [path.read_text() for path in hidden] == ["secret\n"] * 2
