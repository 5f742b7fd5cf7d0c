"""What every way of running a command promises: how it ends, what is kept of its output, and that nothing remains."""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import statistics
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest

import september_engine
from september_engine.sandbox.base import GRACE_SECONDS, Job, Sandbox, SandboxFailed

from .backends import bash_job, processes_with, shell

GIGABYTE = 1_000_000_000
LONG = 300
"""Seconds that nothing here really takes."""


@pytest.fixture
def mark() -> str:
    """A name that no other process has."""
    return f"september-{secrets.token_hex(8)}"


def sleeping(mark: str) -> str:
    """A command that is easily found."""
    return f'bash -c "exec -a {mark} sleep {LONG}"'


async def appeared(mark: str, count: int = 1) -> list[int]:
    """The processes of that name, as soon as there are so many."""
    with anyio.fail_after(30):
        while True:
            found = [pid for pid in processes_with(mark) if is_sleep(pid)]
            if len(found) >= count:
                return found
            await anyio.sleep(0.01)


def is_sleep(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    except OSError:
        return False


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_outcome_has_both_streams_in_order_and_the_exit_code(runner: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(runner, "echo out; echo err >&2; echo out again; exit 3", tmp_path)
    assert (outcome.head, outcome.tail, outcome.left_out) == (b"out\nerr\nout again\n", b"", 0)
    assert (outcome.exit_code, outcome.signal, outcome.timed_out, outcome.notes) == (3, None, False, ())
    assert 0 < outcome.duration_ms < 20_000


@pytest.mark.parametrize(("name", "code"), [("SEGV", 139), ("KILL", 137), ("TERM", 143), ("PIPE", 141)])
async def test_a_signal_is_told_by_name(runner: Sandbox, tmp_path: Path, name: str, code: int) -> None:
    outcome = await shell(runner, f"kill -{name} $$", tmp_path)
    assert (outcome.exit_code, outcome.signal) == (code, f"SIG{name}")


async def test_a_command_that_takes_too_long_is_killed_with_all_it_started(
    runner: Sandbox, tmp_path: Path, mark: str
) -> None:
    command = (
        f"trap '' TERM INT HUP; {sleeping(mark)} & (trap '' TERM; {sleeping(mark)}; {sleeping(mark)}) & echo a; wait"
    )
    began = time.monotonic()
    outcome = await shell(runner, command, tmp_path, seconds=1.0)
    assert time.monotonic() - began < 1.0 + GRACE_SECONDS
    assert (outcome.timed_out, outcome.signal, outcome.head) == (True, "SIGKILL", b"a\n")
    assert processes_with(mark) == []


async def test_a_call_ends_with_its_command_though_a_child_keeps_its_output(
    runner: Sandbox, tmp_path: Path, mark: str
) -> None:
    began = time.monotonic()
    outcome = await shell(runner, f"{sleeping(mark)} & echo done", tmp_path)
    assert time.monotonic() - began < 10
    assert (outcome.head, outcome.exit_code, outcome.timed_out) == (b"done\n", 0, False)
    assert processes_with(mark) == []


async def test_a_daemon_does_not_outlive_its_call(runner: Sandbox, tmp_path: Path, mark: str) -> None:
    daemon = f"setsid nohup setsid bash -c '{sleeping(mark)} & disown' </dev/null >/dev/null 2>&1 &"
    outcome = await shell(runner, f"{daemon} sleep 0.2; echo started", tmp_path)
    assert outcome.head == b"started\n"
    assert processes_with(mark) == []


async def test_cancelling_kills_everything_before_it_returns(runner: Sandbox, tmp_path: Path, mark: str) -> None:
    task = asyncio.create_task(shell(runner, f"trap '' TERM; setsid {sleeping(mark)} & {sleeping(mark)}", tmp_path))
    await appeared(mark)
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < GRACE_SECONDS
    assert processes_with(mark) == []


@pytest.mark.parametrize("turns", (0, 1, 2, 5, 12, 40))
async def test_cancelling_at_once_leaves_nothing(runner: Sandbox, tmp_path: Path, mark: str, turns: int) -> None:
    task = asyncio.create_task(shell(runner, sleeping(mark), tmp_path))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert processes_with(mark) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == []


ENGINE = """
import asyncio, sys
from pathlib import Path
from september_engine.sandbox.choice import choose_sandbox
from tests.sandbox.backends import shell
asyncio.run(shell(choose_sandbox(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), seconds=300))
"""


async def test_nothing_outlives_an_engine_that_is_killed(runner: Sandbox, tmp_path: Path, mark: str) -> None:
    root, source = Path(__file__).parents[2], Path(september_engine.__file__).parents[1]
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE, runner.name, f"setsid {sleeping(mark)} & {sleeping(mark)}", str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{source}:{root}"},
    )
    try:
        pids = [os.pidfd_open(pid) for pid in await appeared(mark, 2)]
    finally:
        engine.kill()
        engine.wait()
    for pid in pids:
        assert select.select([pid], [], [], 10)[0], "it lives on"
        os.close(pid)
    assert [pid for pid in processes_with(mark) if is_sleep(pid)] == []


async def test_many_run_at_once(runner: Sandbox, tmp_path: Path) -> None:
    outcomes = await asyncio.gather(*(shell(runner, f"echo {number}; exit {number}", tmp_path) for number in range(8)))
    assert [(outcome.head, outcome.exit_code) for outcome in outcomes] == [(b"%d\n" % n, n) for n in range(8)]


async def test_a_program_that_is_not_there_does_not_succeed(runner: Sandbox, tmp_path: Path) -> None:
    job = Job(argv=("no-such-program",), cwd=str(tmp_path), environment={"PATH": "/usr/bin"}, writable=(str(tmp_path),))
    try:
        outcome = await runner.run(job)
    except SandboxFailed as failed:
        assert "no-such-program" in failed.message
    else:
        assert (outcome.exit_code, outcome.head) == (127, b"no-such-program: not found\n")


# ── what it has ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_environment_is_what_the_job_says(
    runner: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_API_KEY", "s3cret")
    given = {"PATH": "/usr/bin:/bin", "ODD": "a=b\n'\"", "EMPTY": ""}
    job = Job(argv=("env", "-0"), cwd=str(tmp_path), environment=given, writable=(str(tmp_path),))
    head = (await runner.run(job)).head.decode()
    found = dict(variable.split("=", 1) for variable in head.split("\0") if variable)
    assert {name: value for name, value in found.items() if name not in ("PWD", "TMPDIR")} == given


async def test_there_is_no_input_and_no_open_file(runner: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(runner, "cat; ls /proc/self/fd | wc -l; readlink /proc/self/fd/0", tmp_path)
    assert outcome.head.split() == [b"4", b"/dev/null"]  # 0, 1, 2, and the folder that is listed


async def test_it_starts_in_its_folder_which_it_may_change(runner: Sandbox, tmp_path: Path) -> None:
    command = (
        "pwd; mkdir -p a/b; echo text >a/b/c; mv a d; ln -s b d/link; chmod 750 d/b/c; touch -d @5 d/b/c; rm -r d/link"
    )
    outcome = await shell(runner, command, tmp_path)
    assert (outcome.head, outcome.exit_code) == (f"{tmp_path}\n".encode(), 0)
    made = tmp_path / "d" / "b" / "c"
    assert made.read_text() == "text\n"
    assert (made.stat().st_mode & 0o7777, made.stat().st_mtime) == (0o750, 5.0)
    assert made.stat().st_uid == os.getuid()


async def test_what_shells_do_with_descriptors_works(runner: Sandbox, tmp_path: Path) -> None:
    into = "exec 5> >(cat >d); echo c >&5; exec 5>&-; wait $!; cat d"
    command = f"cat <(echo a) - <<<b; {into}; echo e >/dev/stdout; rm $(mktemp)"
    outcome = await shell(runner, command, tmp_path)
    assert (outcome.head, outcome.exit_code) == (b"a\nb\nc\ne\n", 0)


# ── output ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_long_output_keeps_its_head_and_tail_and_counts_the_rest(runner: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(runner, "seq 100000", tmp_path, head=12, tail=14)
    whole = b"".join(b"%d\n" % number for number in range(1, 100_001))
    assert (outcome.head, outcome.tail) == (whole[:12], whole[-14:])
    assert outcome.left_out == len(whole) - 26


def peak_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def test_a_gigabyte_of_output_leaves_the_memory_flat(sandbox: Sandbox, tmp_path: Path) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before, began = peak_kb(), time.monotonic()
    outcome = await shell(sandbox, f"head -c {GIGABYTE} /dev/zero; echo end", tmp_path, seconds=60)
    print(
        f"{sandbox.name}: 1 GB in {time.monotonic() - began:.1f} s, {(peak_kb() - before) / 1024:.0f} MB more at most"
    )
    assert outcome.left_out == GIGABYTE + 4 - len(outcome.head) - len(outcome.tail)
    assert outcome.tail.endswith(b"end\n")
    assert peak_kb() - before < 32 * 1024


async def test_bytes_come_as_they_are(runner: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(runner, r"printf '\0\377\303(\033[31m\r\n'", tmp_path)
    assert outcome.head == b"\0\xff\xc3(\x1b[31m\r\n"


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_memory_is_limited(runner: Sandbox, tmp_path: Path) -> None:
    command = "x=$(head -c 400000000 /dev/zero | tr '\\0' x) && echo ${#x}"
    outcome = await shell(runner, command, tmp_path, memory=100 << 20)
    assert outcome.exit_code != 0
    assert b"cannot allocate" in outcome.head


async def test_the_size_of_a_file_is_limited(runner: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(runner, "exec head -c 3000000 /dev/zero >large", tmp_path, file_size=1 << 20)
    assert outcome.signal == "SIGXFSZ"
    assert (tmp_path / "large").stat().st_size == 1 << 20


async def test_no_core_is_dumped_and_it_goes_first_when_memory_runs_out(runner: Sandbox, tmp_path: Path) -> None:
    outcome = await shell(runner, "ulimit -c; cat /proc/self/oom_score_adj", tmp_path)
    assert outcome.head == b"0\n1000\n"


async def test_hundreds_of_processes_are_gone_with_their_call(runner: Sandbox, tmp_path: Path, mark: str) -> None:
    command = f"for n in {{1..300}}; do (exec -a {mark} sleep {LONG}) & done; echo all; wait"
    outcome = await shell(runner, command, tmp_path, seconds=1.5, processes=4000)
    assert outcome.timed_out
    assert processes_with(mark) == []


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def milliseconds(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:.1f} ms median, {min(times) * 1000:.1f} ms least"


async def test_what_a_sandbox_costs_is_told(runner: Sandbox, tmp_path: Path) -> None:
    job = bash_job("true", tmp_path)
    bare: list[float] = []
    confined: list[float] = []
    for _ in range(15):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(*job.argv)
        await process.wait()
        bare.append(time.perf_counter() - began)
        began = time.perf_counter()
        await runner.run(job)
        confined.append(time.perf_counter() - began)
    print(f"bash -c true: {milliseconds(bare)}; with {runner.name}: {milliseconds(confined)}")
