"""What a confined command can and cannot do with its folders, its network and its limits, as its user meets it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from september_engine.sandbox.base import Outcome, Sandbox, SandboxFailed
from september_engine.store.sqlite import SQLiteStore
from september_engine.tools.bash import ENVIRONMENT, PROTECTED

from .backends import NOBODY, sandbox_or_skip, shell
from .users import of_user, outcome_as

SECRET = "s3cret"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def protected(folder: Path) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in PROTECTED)


async def test_what_is_protected_is_as_before_and_the_rest_is_changed(sandbox: Sandbox, tmp_path: Path) -> None:
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "update").write_text("good")
    (tmp_path / ".git" / "config").write_text("good")
    command = "cd .git; echo evil >hooks/update; echo evil >config; echo evil >commondir; echo new >HEAD; cat config"
    outcome = await shell(sandbox, command, tmp_path, protected=protected(tmp_path))
    assert ((hooks / "update").read_text(), (tmp_path / ".git" / "config").read_text()) == ("good", "good")
    assert names(tmp_path / ".git") == ["HEAD", "config", "hooks"]
    assert told_of(outcome)


def told_of(outcome: Outcome) -> bool:
    """Whether the command met the wall, or we are told that it was undone."""
    return b"Read-only file system" in outcome.head or any("was undone" in note for note in outcome.notes)


async def test_a_repository_cannot_be_made_where_its_hooks_would_be_trusted(sandbox: Sandbox, tmp_path: Path) -> None:
    command = "mkdir -p .git/hooks && echo evil >.git/hooks/update; echo kept >file"
    await shell(sandbox, command, tmp_path, protected=protected(tmp_path))
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_git_works_but_for_what_is_protected(sandbox: Sandbox, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=30)
    commit = "git -c user.name=A -c user.email=a@example.org commit -q -m First"
    command = f"echo text >file && git add file && {commit} && git log --format=%s && git status --short"
    outcome = await shell(sandbox, command, tmp_path, protected=protected(tmp_path), environment=ENVIRONMENT)
    assert (outcome.head, outcome.exit_code) == (b"First\n", 0)
    subprocess.run(["git", "-C", str(tmp_path), "status", "--short"], check=True, timeout=30)


async def test_commands_that_run_at_once_do_not_undo_each_others_protection(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("good")
    command = "echo evil >>.git/config; mkdir .git/hooks; sleep 0.1; echo evil >>.git/config"
    await asyncio.gather(*(shell(sandbox, command, tmp_path, protected=protected(tmp_path)) for _ in range(4)))
    assert (tmp_path / ".git" / "config").read_text() == "good"
    assert names(tmp_path / ".git") == ["config"]


async def test_the_engines_database_can_be_in_the_workspace(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "free").mkdir()
    database = SQLiteStore(f"{tmp_path}/data/brain.sqlite").files
    for path in database[:3]:
        Path(path).write_text(SECRET)
    command = (
        "cat data/*; cp data/brain.sqlite free; echo x >data/brain.sqlite-journal; rm -rf data; echo new >free/new"
    )
    outcome = await shell(sandbox, command, tmp_path, hidden=database)
    assert SECRET.encode() not in outcome.head
    assert [Path(path).read_text() for path in database[:3]] == [SECRET] * 3
    assert names(tmp_path / "data") == [Path(path).name for path in sorted(database[:3])]
    assert (tmp_path / "free" / "new").read_text() == "new\n"


async def test_a_hidden_file_that_is_not_there_cannot_be_made(sandbox: Sandbox, tmp_path: Path) -> None:
    await shell(sandbox, "echo KEY=evil >.env; echo kept >file", tmp_path, hidden=(f"{tmp_path}/.env",))
    assert names(tmp_path) == ["file"]


async def test_beside_something_hidden_landlock_lets_nothing_be_made(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(SECRET)
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    command = "ls; echo new >file; echo new >folder/file; echo new >other"
    outcome = await shell(sandbox_or_skip("landlock"), command, tmp_path, hidden=(f"{tmp_path}/.env",))
    assert outcome.head.startswith(b"file\nfolder\n/bin/bash: line 1: other: Permission denied")
    assert ((tmp_path / "file").read_text(), (tmp_path / "folder" / "file").read_text()) == ("new\n", "new\n")


async def test_a_folder_within_another_is_no_way_around(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "inner" / ".git" / "hooks").mkdir(parents=True)
    folders = (f"{tmp_path}/inner", str(tmp_path))
    command = f"mv {tmp_path}/inner {tmp_path}/was; mkdir -p inner/.git/hooks; echo evil >inner/.git/hooks/update"
    await shell(sandbox, command, tmp_path, writable=folders, protected=protected(tmp_path / "inner"))
    assert not (tmp_path / "inner" / ".git" / "hooks" / "update").exists()


async def test_a_link_out_of_the_workspace_opens_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    for name in ("project", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "secret").write_text(SECRET)
    (tmp_path / "project" / ".env").write_text(SECRET)
    os.symlink(tmp_path / "outside", tmp_path / "project" / "link")
    hidden = (f"{tmp_path}/project/.env",)
    outcome = await shell(sandbox, "cat link/secret; echo x >link/secret", tmp_path / "project", hidden=hidden)
    assert SECRET.encode() not in outcome.head
    assert (tmp_path / "outside" / "secret").read_text() == SECRET


async def test_a_job_that_cannot_be_confined_is_not_run(sandbox: Sandbox, tmp_path: Path) -> None:
    os.symlink("elsewhere", tmp_path / ".git")
    with pytest.raises(SandboxFailed, match="symbolic link"):
        await shell(sandbox, "touch it-ran", tmp_path, protected=protected(tmp_path))
    assert names(tmp_path) == [".git"]


async def test_what_is_too_large_to_be_guarded_is_not_run(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(SandboxFailed, match="large is too large to be guarded"):
        await shell(sandbox_or_skip("landlock"), "touch it-ran", tmp_path, protected=(f"{tmp_path}/large",))
    assert names(tmp_path) == ["large"]


@pytest.mark.parametrize("network", [False, True])
async def test_the_network_is_there_only_where_it_was_opened(sandbox: Sandbox, tmp_path: Path, network: bool) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        outcome = await shell(sandbox, f"cat </dev/tcp/127.0.0.1/{port}", tmp_path, network=network)
    assert (outcome.head == b"hello\n") is network
    assert (outcome.exit_code == 0) is network


async def test_temporary_files_are_gone_afterwards(sandbox: Sandbox, tmp_path: Path) -> None:
    command = "f=$(mktemp -d); mkdir $f/x; touch $f/x/y; chmod 0 $f/x; echo ${TMPDIR:-/tmp}"
    outcome = await shell(sandbox, command, tmp_path)
    folder = Path(outcome.head.decode().strip())
    assert outcome.exit_code == 0
    assert not list(folder.glob("tmp.*/x")) if folder == Path("/tmp") else not folder.exists()


async def test_outside_of_its_folders_nothing_can_even_seem_to_be_written(sandbox: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(sandbox, 'for x in "" /etc /dev; do touch "$x/new" && echo wrote; done', tmp_path)
    assert b"wrote" not in outcome.head


async def test_in_bubblewrap_tmp_is_small_and_its_own(tmp_path: Path) -> None:
    outcome = await shell(
        sandbox_or_skip("bubblewrap"), "ls -A /tmp | grep -v pytest; df -k --output=size /tmp", tmp_path
    )
    assert outcome.head.split()[-1] == b"1048576"


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
def test_a_fork_bomb_of_an_ordinary_user_is_held(package: Path, name: str) -> None:
    sandbox_or_skip(name)
    command = "f() { f | f & }; f; for n in {1..100}; do sleep 60 & done; wait"
    outcome = outcome_as(package, name, of_user(str(NOBODY)), command, seconds=1, processes=50)
    assert b"Resource temporarily unavailable" in outcome.head
    assert outcome.duration_ms < 5_000


async def test_of_the_systems_certificates_the_private_keys_are_not_there(sandbox: Sandbox, tmp_path: Path) -> None:
    """Only root may read them, and an engine may run as root."""
    outcome = await shell(
        sandbox, "ls /etc/ssl/certs >/dev/null && echo certs; ls /etc/ssl/private /etc/pki/tls/private", tmp_path
    )
    assert outcome.head.startswith(b"certs\n")
    assert outcome.exit_code != 0
