from __future__ import annotations

import os
from pathlib import Path

import pytest

from september_engine.sandbox._placeholders import placeholders
from september_engine.sandbox._view import Held, outermost, view_of
from september_engine.sandbox.base import Job, SandboxFailed


def job(root: Path, *, protected: tuple[str, ...] = (), hidden: tuple[str, ...] = ()) -> Job:
    return Job(
        argv=("true",),
        cwd=str(root),
        writable=(str(root),),
        protected=tuple(f"{root}/{name}" for name in protected),
        hidden=tuple(f"{root}/{name}" for name in hidden),
    )


def seen(job: Job, *readable: str) -> list[Held]:
    return view_of(job, readable=readable)


def test_what_is_there_comes_with_the_folders_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "a" / "b" / "hooks").mkdir(parents=True)
    assert seen(job(tmp_path, protected=("a/b/hooks",))) == [
        Held(str(tmp_path), f"{tmp_path}/a/b/hooks", (f"{tmp_path}/a", f"{tmp_path}/a/b"), "here", True, False)
    ]


def test_of_what_is_missing_the_first_missing_part_is_held(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    root = str(tmp_path)
    assert seen(job(tmp_path, protected=("a/b/hooks", "a/b/config"), hidden=(".env",))) == [
        Held(root, f"{root}/.env", (), "missing", False, True),
        Held(root, f"{root}/a/b", (f"{root}/a",), "missing", True, False),
    ]


def test_a_file_in_the_place_of_a_folder_is_held_itself(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    (held,) = seen(job(tmp_path, protected=(".git/hooks", ".git/config")))
    assert (held.path, held.state, held.folder) == (f"{tmp_path}/.git", "here", False)


def test_a_placeholder_is_nothing_that_is_there(tmp_path: Path) -> None:
    with placeholders([(f"{tmp_path}/.git", True)]):
        (held,) = seen(job(tmp_path, protected=(".git/hooks",)))
    assert (held.path, held.state, held.folder) == (f"{tmp_path}/.git", "missing", True)


def test_what_is_both_hidden_and_protected_is_hidden(tmp_path: Path) -> None:
    (held,) = seen(job(tmp_path, protected=("key",), hidden=("key",)))
    assert held.hidden


def test_what_is_in_no_writable_folder_needs_nothing(tmp_path: Path) -> None:
    outside = Job(argv=("true",), cwd=str(tmp_path), writable=(str(tmp_path),), hidden=("/etc/shadow", f"{tmp_path}x"))
    assert seen(outside) == []


@pytest.mark.parametrize("link", [".git", ".git/hooks"])
def test_a_link_in_the_way_is_refused(tmp_path: Path, link: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / link).parent.mkdir(exist_ok=True)
    os.symlink(tmp_path / "real", tmp_path / link)
    with pytest.raises(SandboxFailed, match=r"\.git.* is a symbolic link"):
        seen(job(tmp_path, protected=(".git/hooks/pre-commit" if link == ".git/hooks" else ".git/hooks",)))


def test_a_writable_folder_must_be_what_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    with pytest.raises(SandboxFailed, match="is not where it seems"):
        seen(job(tmp_path / "link"))


def test_a_folder_cannot_be_writable_and_hidden(tmp_path: Path) -> None:
    for hidden in (str(tmp_path), str(tmp_path.parent)):
        with pytest.raises(SandboxFailed, match="cannot be writable"):
            seen(Job(argv=("true",), cwd=str(tmp_path), writable=(str(tmp_path),), hidden=(hidden,)))


def test_of_folders_in_each_other_the_outer_one_counts(tmp_path: Path) -> None:
    (tmp_path / "inner" / ".git").mkdir(parents=True)
    path = f"{tmp_path}/inner/.git/hooks"
    both = Job(argv=("true",), cwd=str(tmp_path), writable=(f"{tmp_path}/inner", str(tmp_path)), protected=(path,))
    (held,) = seen(both)
    assert (held.root, held.way) == (str(tmp_path), (f"{tmp_path}/inner", f"{tmp_path}/inner/.git"))
    assert outermost(["/a/b", "/a", "/ab", "/a"]) == ["/a", "/ab"]


def test_what_everybody_may_read_cannot_be_hidden(tmp_path: Path) -> None:
    hiding = Job(argv=("true",), cwd=str(tmp_path), writable=(str(tmp_path),), hidden=("/opt/tools/key",))
    assert seen(hiding, "/usr") == []
    with pytest.raises(SandboxFailed, match="/opt/tools/key cannot be hidden"):
        seen(hiding, "/opt/tools")


def test_the_whole_machine_cannot_be_writable() -> None:
    with pytest.raises(SandboxFailed, match="whole machine"):
        seen(Job(argv=("true",), cwd="/", writable=("/",)))


@pytest.mark.parametrize("path", [".env", "{root}/./.env", "{root}//.env", "{root}/a/../.env", "{root}/.git/"])
def test_a_path_that_could_be_misread_is_refused(tmp_path: Path, path: str) -> None:
    odd = Job(argv=("true",), cwd=str(tmp_path), writable=(str(tmp_path),), hidden=(path.format(root=tmp_path),))
    with pytest.raises(SandboxFailed, match="absolute and normalised"):
        seen(odd)
