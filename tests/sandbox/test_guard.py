from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from september_engine.sandbox import _guard
from september_engine.sandbox._guard import Guard, TooLarge


@pytest.fixture(autouse=True)
def stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard changes the current folder: it lives in a process of its own."""
    monkeypatch.chdir(os.getcwd())


def picture(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in sorted(folder.rglob("*"))
    }


def move_away(git: Path) -> None:
    git.rename(git.parent / "was")


def replace(git: Path) -> None:
    move_away(git)
    (git / "hooks").mkdir(parents=True)
    (git / "hooks" / "evil").write_text("evil")


def by_a_link(git: Path) -> None:
    move_away(git)
    os.symlink("was", git)


def by_a_file(git: Path) -> None:
    move_away(git)
    git.write_text("gitdir: was")


def with_a_file(git: Path) -> None:
    shutil.rmtree(git / "hooks")
    (git / "hooks").write_text("")


def with_another_link(git: Path) -> None:
    (git / "hooks" / "link").unlink()
    os.symlink("evil", git / "hooks" / "link")


def deep(git: Path) -> None:
    here = os.open(git / "hooks", os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("x", dir_fd=here)
        here, before = os.open("x", os.O_RDONLY, dir_fd=here), here
        os.close(before)
    os.close(here)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a new file": lambda git: (git / "hooks" / "evil").write_text("evil"),
    "a changed file": lambda git: (git / "hooks" / "update").write_text("evil"),
    "a file that is a program now": lambda git: (git / "hooks" / "update").chmod(0o755),
    "a removed file": lambda git: (git / "hooks" / "update").unlink(),
    "a removed folder": lambda git: shutil.rmtree(git / "hooks"),
    "a file in place of the folder": with_a_file,
    "a changed link": with_another_link,
    "a pipe": lambda git: os.mkfifo(git / "hooks" / "pipe"),
    "a folder that cannot be entered": lambda git: os.mkdir(git / "hooks" / "x", 0),
    "very deep folders": deep,
    "moved away": move_away,
    "replaced": replace,
    "replaced by a link": by_a_link,
    "replaced by a file": by_a_file,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_there_is_there_again(tmp_path: Path, change: Callable[[Path], object]) -> None:
    hooks = tmp_path / ".git" / "hooks"
    (hooks / "inner").mkdir(parents=True)
    (hooks / "update").write_text("good")
    (hooks / "inner" / "deep").write_text("too")
    os.symlink("update", hooks / "link")
    before = picture(hooks)
    guard = Guard(str(tmp_path), str(hooks))
    change(tmp_path / ".git")
    assert guard.put_back()
    assert picture(hooks) == before
    assert not (tmp_path / ".git").is_symlink()
    assert not guard.put_back()


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / ".git" / "hooks").mkdir(parents=True),
        lambda root: (root / ".git").write_text("gitdir: evil"),
        lambda root: os.symlink("evil", root / ".git"),
    ],
)
def test_what_was_not_there_is_gone_again(tmp_path: Path, change: Callable[[Path], object]) -> None:
    guard = Guard(str(tmp_path), f"{tmp_path}/.git/hooks")
    change(tmp_path)
    assert guard.put_back()
    assert not (tmp_path / ".git").is_symlink()
    assert not (tmp_path / ".git").is_file()
    assert not (tmp_path / ".git" / "hooks").exists()


def test_what_is_as_before_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("good")
    inode = (tmp_path / "config").stat().st_ino
    guard = Guard(str(tmp_path), f"{tmp_path}/config")
    assert not guard.put_back()
    assert (tmp_path / "config").stat().st_ino == inode


def test_a_link_to_outside_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "hooks").write_text("of somebody else")
    guard = Guard(str(tmp_path / "project"), f"{tmp_path}/project/.git/hooks")
    os.symlink(tmp_path / "outside", tmp_path / "project" / ".git")
    assert guard.put_back()
    assert (tmp_path / "outside" / "hooks").read_text() == "of somebody else"
    assert not (tmp_path / "project" / ".git").exists()


def test_too_much_to_remember_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_guard, "MOST_BYTES", 1 << 20)
    with open(tmp_path / "large", "wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(TooLarge):
        Guard(str(tmp_path), f"{tmp_path}/large")
