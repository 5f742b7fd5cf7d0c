from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs
import pytest

from september_engine.errors import ConfigurationError
from september_engine.messages import JSON
from september_engine.permissions import Action, Network, Read, Run, Unknown, Write
from september_engine.sandbox.base import Job, Outcome, Sandbox, SandboxFailed
from september_engine.sandbox.unconfined import Unconfined
from september_engine.store.sqlite import SQLiteStore
from september_engine.tools import ToolError, ToolInputError
from september_engine.tools.bash import ENVIRONMENT, MOST_SECONDS, PROTECTED, bash_tool
from tests.sandbox.backends import sandbox_or_skip


def nothing(command: str) -> Sequence[Action]:
    return ()


@attrs.define
class Recorder:
    """A sandbox that runs nothing: it keeps the jobs, and ends them as it is told to."""

    name = "recorder"
    outcome: Outcome = attrs.field(factory=lambda: outcome())
    failure: SandboxFailed | None = None
    jobs: list[Job] = attrs.field(factory=list)
    scratch: tuple[str, ...] = ()
    confines: bool = True

    async def run(self, job: Job, /) -> Outcome:
        self.jobs.append(job)
        if self.failure is not None:
            raise self.failure
        return self.outcome


def outcome(
    head: bytes = b"",
    tail: bytes = b"",
    left_out: int = 0,
    *,
    exit_code: int = 0,
    signal: str | None = None,
    timed_out: bool = False,
    notes: tuple[str, ...] = (),
) -> Outcome:
    return Outcome(
        head=head,
        tail=tail,
        left_out=left_out,
        exit_code=exit_code,
        signal=signal,
        timed_out=timed_out,
        duration_ms=7,
        notes=notes,
    )


async def told(how: Outcome, folder: Path) -> dict[str, JSON]:
    """What the model is told of it."""
    return await bash_tool(Recorder(how), root=folder, judge=nothing)("true", 120)


# ── the job ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_command_becomes_a_job_in_the_workspace(tmp_path: Path) -> None:
    recorder = Recorder()
    await bash_tool(recorder, root=tmp_path, judge=nothing)("echo 'a b'", 5)
    (job,) = recorder.jobs
    assert job.argv == (shutil.which("bash", path=ENVIRONMENT["PATH"]), "--noprofile", "--norc", "-c", "echo 'a b'")
    assert (job.cwd, job.writable, job.seconds, job.network) == (str(tmp_path), (str(tmp_path),), 5, False)
    assert job.environment == {**ENVIRONMENT, "HOME": str(tmp_path)}
    assert job.protected == tuple(f"{tmp_path}/{name}" for name in PROTECTED)
    assert job.hidden == (f"{tmp_path}/.env",)


async def test_the_host_says_what_else_there_is(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    os.symlink("more", tmp_path / "link")
    recorder = Recorder()
    bash = bash_tool(
        recorder,
        root=tmp_path / "link",
        judge=nothing,
        writable=[tmp_path],
        protected=[tmp_path / "settings.toml"],
        hidden=SQLiteStore(tmp_path / "link" / "brain.sqlite").files[:1],
        environment={"CI": "1", "TERM": "xterm"},
        shell="/opt/bash",
    )
    await bash("true", 120)
    (job,) = recorder.jobs
    assert (job.argv[0], job.cwd) == ("/opt/bash", f"{tmp_path}/more")
    assert job.writable == (f"{tmp_path}/more", str(tmp_path))
    assert job.protected[-1] == f"{tmp_path}/settings.toml"
    assert job.hidden == (f"{tmp_path}/more/.env", f"{tmp_path}/.env", f"{tmp_path}/more/brain.sqlite")
    assert job.environment == {**ENVIRONMENT, "HOME": f"{tmp_path}/more", "CI": "1", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("actions", "opened"),
    [
        ((), False),
        ((Read(path="/"), Run(argv=("ls",))), False),
        ((Unknown(why="it is odd"),), False),
        ((Network(host="example.org"),), True),
        ((Run(argv=("gh",), unknown="the program gh is not known"),), True),
        ((Run(argv=("ls",)), Run(argv=("curl",), effects=(Read(path="/"), Network(host="*")))), True),
    ],
)
async def test_the_network_is_open_for_what_talks_unless_the_host_says_off(
    tmp_path: Path, actions: tuple[Action, ...], opened: bool
) -> None:
    recorder = Recorder()
    await bash_tool(recorder, root=tmp_path, judge=lambda command: actions)("true", 120)
    await bash_tool(recorder, root=tmp_path, judge=lambda command: actions, network="off")("true", 120)
    assert [job.network for job in recorder.jobs] == [opened, False]


def test_the_policy_is_told_what_a_call_would_do(tmp_path: Path) -> None:
    bash = bash_tool(Recorder(), root=tmp_path, judge=lambda command: (Run(argv=(command,)),))
    assert bash.actions is not None
    assert bash.actions({"command": "ls"}) == (Run(argv=("ls",)),)
    assert bash.actions({"command": 1}) == (Unknown(why="there is no command"),)
    assert bash.actions({}) == (Unknown(why="there is no command"),)


def test_the_tool_is_described(tmp_path: Path) -> None:
    bash = bash_tool(Recorder(), root=tmp_path, judge=nothing)
    assert bash.name == "bash"
    assert bash.description.startswith("Run a bash command in the workspace")
    assert bash.timeout is not None
    assert bash.timeout >= MOST_SECONDS + 2
    assert bash.decode({"command": "ls", "timeout": 600}) == {"command": "ls", "timeout": 600}
    for wrong in (0, MOST_SECONDS + 1):
        with pytest.raises(ToolInputError):
            bash.decode({"command": "ls", "timeout": wrong})


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("a\0b", "holds a NUL character"),
        ("a\ud800b", "is not valid Unicode"),
        ("x" * 100_001, "has 100001 bytes; at most 100000 can be run. Write it to a file first"),
    ],
)
async def test_what_bash_cannot_take_is_refused(tmp_path: Path, command: str, says: str) -> None:
    recorder = Recorder()
    with pytest.raises(ToolError, match=says) as caught:
        await bash_tool(recorder, root=tmp_path, judge=nothing)(command, 120)
    assert caught.value.reason == "invalid_input"
    assert recorder.jobs == []


async def test_what_could_not_be_confined_is_an_error_that_says_so(tmp_path: Path) -> None:
    recorder = Recorder(failure=SandboxFailed(".git is a symbolic link."))
    with pytest.raises(ToolError, match=r"The command was not run\. \.git is a symbolic link\.") as caught:
        await bash_tool(recorder, root=tmp_path, judge=nothing)("true", 120)
    assert caught.value.reason == "sandbox_failed"


def test_a_workspace_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot work in .*/missing: it is no folder"):
        bash_tool(Recorder(), root=tmp_path / "missing", judge=nothing)


def test_without_bash_there_is_no_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(ConfigurationError, match="bash is not installed"):
        bash_tool(Recorder(), root=tmp_path, judge=nothing)


# ── the result ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_result_has_all_that_is_known(tmp_path: Path) -> None:
    assert await told(outcome(b"hello\n"), tmp_path) == {
        "output": "hello\n",
        "exit_code": 0,
        "signal": None,
        "timed_out": False,
        "duration_ms": 7,
    }


async def test_failing_is_a_result_too(tmp_path: Path) -> None:
    result = await told(outcome(exit_code=139, signal="SIGSEGV"), tmp_path)
    assert (result["exit_code"], result["signal"]) == (139, "SIGSEGV")


async def test_the_time_and_what_was_undone_are_told_in_words(tmp_path: Path) -> None:
    result = await told(outcome(timed_out=True, notes=("It was undone.",)), tmp_path)
    assert result["notes"] == ["It was undone.", "It was killed because it took longer than 120 s."]


@pytest.mark.parametrize(
    ("how", "output"),
    [
        (outcome(b"head", b"tail"), "headtail"),
        (outcome(b"head", b"tail", 5), "head\n[… 5 bytes left out …]\ntail"),
        (outcome("aä".encode(), "ä".encode(), 5), "aä\n[… 5 bytes left out …]\nä"),
        (outcome("aä".encode()[:-1], "äb".encode()[1:], 5), "a\n[… 7 bytes left out …]\nb"),
        (outcome("😀".encode()[:3], b"", 5), "\n[… 8 bytes left out …]\n"),
        (outcome("ä".encode()[:1], "ä".encode()[1:]), "ä"),
        (outcome(b"\x80\x80\x80\x80\x80", b"x", 1), "�����\n[… 1 bytes left out …]\nx"),
        (outcome(b"\x1b[31mred\x1b[0m\0\xff\r\n 1%\r 2%\n"), "red��\n 2%\n"),
    ],
)
async def test_the_output_can_be_read(tmp_path: Path, how: Outcome, output: str) -> None:
    assert (await told(how, tmp_path))["output"] == output


# ── for real ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["bubblewrap", "landlock", "off"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return sandbox_or_skip(request.param)


async def test_a_command_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    bash = bash_tool(sandbox, root=tmp_path, judge=nothing)
    result = await bash("echo $HOME; cd /; echo made >~/file; false", 30)
    assert (result["output"], result["exit_code"], result["timed_out"]) == (f"{tmp_path}\n", 1, False)
    assert (await bash("cat file; pwd", 30))["output"] == f"made\n{tmp_path}\n"


async def test_binary_output_is_text_that_can_be_stored(sandbox: Sandbox, tmp_path: Path) -> None:
    bash = bash_tool(sandbox, root=tmp_path, judge=nothing)
    result = await bash("head -c 300000 /dev/urandom; echo; head -c 1000 /dev/zero", 30)
    output = str(result["output"])
    output.encode()
    assert "bytes left out …]" in output
    assert output.endswith("\n[… 1000 unreadable characters …]")
    assert not set(output) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}


async def test_time_is_up_for_a_command_that_does_not_end(sandbox: Sandbox, tmp_path: Path) -> None:
    result = await bash_tool(sandbox, root=tmp_path, judge=nothing)("echo begun; while :; do :; done", 1)
    assert (result["output"], result["timed_out"], result["signal"]) == ("begun\n", True, "SIGKILL")
    assert 1_000 <= int(str(result["duration_ms"])) < 3_000


async def test_cancelling_a_call_ends_its_command(sandbox: Sandbox, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(reader, begun.set)
    command = "exec 9<>pipe; echo begun >&9; trap '' TERM; sleep 300 & sleep 300"
    call = asyncio.create_task(bash_tool(sandbox, root=tmp_path, judge=nothing)(command, 120))
    await begun.wait()
    loop.remove_reader(reader)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    os.set_blocking(reader, True)
    assert os.read(reader, 100) == b"begun\n"
    assert os.read(reader, 100) == b"", "somebody still has the pipe open"
    os.close(reader)


async def test_keys_and_database_are_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "s3cret")
    (tmp_path / ".env").write_text("ANTHROPIC_API_KEY=s3cret")
    (tmp_path / "brain.sqlite").write_text("s3cret")
    for name in ("bubblewrap", "landlock"):
        hidden = SQLiteStore(tmp_path / "brain.sqlite").files
        bash = bash_tool(sandbox_or_skip(name), root=tmp_path, judge=nothing, hidden=hidden)
        result = await bash("env; cat .env brain.sqlite; grep -r s3cret . ; cat /proc/$PPID/environ", 30)
        assert "s3cret" not in str(result["output"]).replace("grep", "")


async def test_without_a_sandbox_it_is_the_hosts_word(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("visible")
    result = await bash_tool(Unconfined(), root=tmp_path, judge=nothing)("cat .env", 30)
    assert result["output"] == "visible"


async def test_files_that_the_engine_names_later_are_hidden_too(tmp_path: Path) -> None:
    recorder = Recorder()
    bash = bash_tool(recorder, root=tmp_path, judge=nothing)
    assert bash.hide is not None
    bash.hide([f"{tmp_path}/brain.sqlite", "/elsewhere/brain.sqlite", str(tmp_path)])
    bash.hide([f"{tmp_path}/brain.sqlite"])
    await bash("true", 1)
    assert recorder.jobs[0].hidden == (f"{tmp_path}/.env", f"{tmp_path}/brain.sqlite")


def test_what_is_gone_with_the_command_is_nobodys_question(tmp_path: Path) -> None:
    # the workspace is itself below /tmp here
    here, there, around = Write(path=f"{tmp_path}/x"), Write(path="/tmp/x"), Write(path=str(tmp_path.parent))
    judged = (Run(argv=("tee",), effects=(there, here)), there, here, around, Write(path="/tmp"), Read(path="/tmp/x"))
    private = bash_tool(Recorder(scratch=("/tmp",)), root=tmp_path, judge=lambda command: judged)
    shared = bash_tool(Recorder(), root=tmp_path, judge=lambda command: judged)
    assert private.actions is not None
    assert shared.actions is not None
    assert private.actions({"command": "x"}) == (Run(argv=("tee",), effects=(here,)), here, around, *judged[-2:])
    assert shared.actions({"command": "x"}) == judged


def test_the_tool_says_where_it_works_and_whether_it_is_held(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    held = bash_tool(Recorder(), root=tmp_path, judge=nothing, writable=[tmp_path / "more"])
    assert (held.roots, held.confined) == ((str(tmp_path), f"{tmp_path}/more"), True)
    assert not bash_tool(Unconfined(), root=tmp_path, judge=nothing).confined


async def test_keys_stay_hidden_when_the_link_to_them_is_moved_away(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.mkdir()
    for name in (".env", ".env.local", "more", "later"):
        (root / f"{name}-keys").write_text("K=s3cret")
        os.symlink(f"{name}-keys", root / name)
    bash = bash_tool(sandbox_or_skip("bubblewrap"), root=root, judge=nothing, hidden=[root / "more"])
    assert bash.hide is not None
    bash.hide([str(root / "later")])
    await bash("rm .env .env.local more later", 9)
    assert not (root / ".env").is_symlink()
    assert "s3cret" not in str((await bash("cat *-keys .env-keys .env.local-keys", 9))["output"])


async def test_keys_under_other_names_are_hidden_where_they_are_and_a_link_is_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (root / ".env.local").write_text("s3cret")
    (root / "real").write_text("s3cret")
    os.symlink("real", root / ".env")
    os.symlink(outside / "keys", root / ".env.test")
    recorder = Recorder()
    await bash_tool(recorder, root=root, judge=nothing)("true", 1)
    assert recorder.jobs[0].hidden == (f"{root}/real", f"{root}/.env.local")
    bash = bash_tool(sandbox_or_skip("bubblewrap"), root=root, judge=nothing)
    assert "s3cret" not in str((await bash("cat .env .env.local real; echo end", 30))["output"])


async def test_python_does_not_run_what_it_compiled_before_an_edit(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import it; print(it.X)")
    bash = bash_tool(sandbox_or_skip("bubblewrap"), root=tmp_path, judge=nothing)
    for value in ("1", "2"):
        (tmp_path / "it.py").write_text(f"X = {value}")
        os.utime(tmp_path / "it.py", (1_000_000_000, 1_000_000_000))
        assert (await bash("python3 run.py", 30))["output"] == f"{value}\n"


@attrs.define
class Builder(Recorder):
    """Each command makes of its folder a repository by itself."""

    async def run(self, job: Job, /) -> Outcome:
        for name in ("objects", "refs"):
            os.makedirs(f"{job.cwd}/{name}", exist_ok=True)
        with open(f"{job.cwd}/HEAD", "w", encoding="utf-8"):
            pass
        return await super().run(job)


async def test_also_a_command_that_failed_leaves_no_repository_by_itself(tmp_path: Path) -> None:
    with pytest.raises(ToolError):
        await bash_tool(Builder(failure=SandboxFailed("It broke.")), root=tmp_path, judge=nothing)("true", 9)
    assert not (tmp_path / "HEAD").exists()


async def test_without_walls_the_folder_may_become_what_it_likes(tmp_path: Path) -> None:
    builder = Builder()
    builder.confines = False
    assert "notes" not in await bash_tool(builder, root=tmp_path, judge=nothing)("true", 9)
    assert (tmp_path / "HEAD").exists()


async def test_every_folder_has_its_git_protected_and_its_keys_hidden(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    recorder = Recorder()
    await bash_tool(recorder, root=folders[0], writable=folders[1:], judge=nothing)("true", 9)
    (job,) = recorder.jobs
    assert {f"{folder}/{name}" for folder in folders for name in PROTECTED} <= set(job.protected)
    assert {f"{folder}/.env" for folder in folders} <= set(job.hidden)


async def test_what_a_person_allowed_outside_of_the_workspace_and_the_sandbox_did_not_is_told(tmp_path: Path) -> None:
    def judge(command: str) -> Sequence[Action]:
        return (Run(argv=("rm",), effects=(Write(path="/etc/motd"), Write(path=f"{tmp_path}/x"))), Write(path="/etc"))

    held = await bash_tool(Recorder(), root=tmp_path, judge=judge)("rm -f x", 5)
    (note,) = cast("list[str]", held["notes"])
    assert note.startswith("Outside of the workspace, and not open to this command: /etc/motd, /etc. A person is asked")
    free = await bash_tool(Unconfined(), root=tmp_path, judge=judge)("true", 5)
    assert "notes" not in free
