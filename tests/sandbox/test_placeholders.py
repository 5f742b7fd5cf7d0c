from __future__ import annotations

import os
from pathlib import Path

from september_engine.sandbox._placeholders import is_placeholder, placeholders


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_they_are_there_for_as_long_as_they_are_needed(tmp_path: Path) -> None:
    with placeholders([(f"{tmp_path}/file", False), (f"{tmp_path}/folder", True)]):
        assert names(tmp_path) == ["file", "folder"]
        assert (tmp_path / "file").read_bytes() == b""
        assert all(is_placeholder(path.lstat()) for path in tmp_path.iterdir())
    assert names(tmp_path) == []


def test_the_last_one_out_removes_them(tmp_path: Path) -> None:
    wanted = [(f"{tmp_path}/file", False), (f"{tmp_path}/folder", True)]
    with placeholders(wanted):
        with placeholders(wanted):
            pass
        assert names(tmp_path) == ["file", "folder"]
    assert names(tmp_path) == []


def test_the_first_one_in_may_leave_first(tmp_path: Path) -> None:
    first, second = placeholders([(f"{tmp_path}/file", False)]), placeholders([(f"{tmp_path}/file", False)])
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert names(tmp_path) == ["file"]
    second.__exit__(None, None, None)
    assert names(tmp_path) == []


def test_one_that_a_crash_left_is_used_and_removed(tmp_path: Path) -> None:
    os.mkdir(tmp_path / ".git", 0o1500)
    with placeholders([(f"{tmp_path}/.git", True)]):
        assert names(tmp_path) == [".git"]
    assert names(tmp_path) == []


def test_what_has_come_there_meanwhile_stays(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("text")
    with placeholders([(f"{tmp_path}/real", False), (f"{tmp_path}/folder", True)]):
        folder = tmp_path / "folder"
        folder.chmod(0o1700)  # only root writes into a placeholder as it is
        (folder / "inside").write_text("made by the host")
        folder.chmod(0o1500)
    assert names(tmp_path) == ["folder", "real"]
    assert (tmp_path / "real").read_text() == "text"


def test_for_git_a_common_folder_is_the_folder_itself(tmp_path: Path) -> None:
    with placeholders([(f"{tmp_path}/commondir", False)]):
        assert (tmp_path / "commondir").read_bytes() == b".\n"
    assert names(tmp_path) == []
