"""The demo's tools: real ones, in any folder, with or without git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from september_engine import ToolError
from september_engine._demo import DEMO_TOOLS, first_question, git_log, word_count

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

HASH = "8c44ab1" + "0" * 33


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, out of reach of any repository around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def without_git(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "bin").mkdir()
    monkeypatch.setenv("PATH", str(folder / "bin"))


def git(*arguments: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True, env=environment)


def write_reflog(git_folder: Path) -> None:
    (git_folder / "logs").mkdir(parents=True)
    (git_folder / "logs" / "HEAD").write_text(
        f"{'0' * 40} {'1' * 40} Ada Lovelace <ada@example.org> 1700000000 +0000\tcommit (initial): First\n"
        f"{'1' * 40} {HASH} Ada Lovelace <ada@example.org> 1700003600 +0100\tcommit: Second\n"
    )


@needs_git
def test_git_log_shows_hash_author_message_and_files(folder: Path) -> None:
    git("init")
    (folder / "notes.txt").write_text("hello")
    git("add", ".")
    git("commit", "-m", "Notes begin")
    said = git_log()
    assert "Ada, " in said
    assert "Notes begin" in said
    assert "notes.txt" in said


@needs_git
def test_git_log_shows_as_many_commits_as_it_is_asked_for(folder: Path) -> None:
    git("init")
    for number in (1, 2, 3):
        git("commit", "--allow-empty", "-m", f"Commit number {number}")
    said = git_log(2)
    assert "Commit number 3" in said
    assert "Commit number 2" in said
    assert "Commit number 1" not in said


def test_without_git_the_folders_own_record_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_reflog(folder / ".git")
    without_git(monkeypatch, folder)
    (folder / "deep" / "down").mkdir(parents=True)
    monkeypatch.chdir(folder / "deep" / "down")
    assert git_log() == f"{HASH}\nAda Lovelace, 2023-11-14T23:13:20+00:00\n\ncommit: Second"
    assert [line for line in git_log(5).splitlines() if line.startswith("commit")] == [
        "commit: Second",
        "commit (initial): First",
    ]


def test_without_git_a_worktree_is_a_repository_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_reflog(folder / "main" / ".git" / "worktrees" / "side")
    (folder / "side").mkdir()
    (folder / "side" / ".git").write_text("gitdir: ../main/.git/worktrees/side\n")
    without_git(monkeypatch, folder)
    monkeypatch.chdir(folder / "side")
    assert git_log().startswith(HASH)


@pytest.mark.parametrize("with_git", [pytest.param(True, marks=needs_git), False])
def test_a_folder_that_is_no_repository_is_told_to_the_model(
    with_git: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_git:
        without_git(monkeypatch, folder)
    with pytest.raises(ToolError, match="not in a git repository") as raised:
        git_log()
    assert raised.value.reason == "not_a_repository"


@needs_git
def test_a_repository_without_commits_is_told_as_one(folder: Path) -> None:
    git("init")
    with pytest.raises(ToolError, match="with commits"):
        git_log()


def test_words_are_counted() -> None:
    assert word_count("to be  or\nnot") == 4


def test_the_first_question_is_one_that_the_folder_can_answer(folder: Path) -> None:
    assert "words" in first_question()
    write_reflog(folder / ".git")
    assert "commit" in first_question()


def test_every_demo_tool_is_safe_to_repeat_because_it_only_reads() -> None:
    assert [tool.name for tool in DEMO_TOOLS if tool.safe_to_repeat] == ["git_log", "word_count"]
