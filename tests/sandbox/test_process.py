from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from september_engine.sandbox import _process
from september_engine.sandbox._process import Kept, memory_file
from september_engine.sandbox.base import SandboxFailed
from september_engine.sandbox.unconfined import Unconfined

from .backends import shell


@given(st.lists(st.binary(max_size=12), max_size=12), st.integers(0, 20), st.integers(0, 20))
def test_a_head_and_a_tail_are_kept_however_it_comes(pieces: list[bytes], head: int, tail: int) -> None:
    kept = Kept(head=head, tail=tail)
    for piece in pieces:
        kept.feed(piece)
    whole = b"".join(pieces)
    rest = whole[head:]
    assert kept.parts() == (whole[:head], rest[max(len(rest) - tail, 0) :], max(len(rest) - tail, 0))


def test_what_is_held_is_little_more_than_what_is_kept() -> None:
    kept = Kept(head=100, tail=100)
    for _ in range(10_000):
        kept.feed(b"x" * 64)
    assert kept._held < 200
    assert kept.parts()[2] == 10_000 * 64 - 200


def test_a_memory_file_is_read_from_its_beginning() -> None:
    file = memory_file(b"content")
    try:
        assert os.read(file, 100) == b"content"
    finally:
        os.close(file)


async def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match="/no/such/python cannot be started: No such file or directory"):
        await shell(Unconfined(python="/no/such/python"), "true", tmp_path)


async def test_a_watcher_that_fails_by_itself_is_told(tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match=r"The watcher of the command ended by itself \(code 1\)"):
        await shell(Unconfined(python="/bin/false"), "true", tmp_path)


async def test_systems_without_pidfds_wait_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    outcome = await shell(Unconfined(), "echo done; sleep 60 & exit 3", tmp_path)
    assert (outcome.head, outcome.exit_code) == (b"done\n", 3)
    assert (await shell(Unconfined(), "sleep 60", tmp_path, seconds=0.5)).timed_out


async def test_one_that_does_not_obey_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_process, "OBEY_SECONDS", 0.2)
    stubborn = tmp_path / "python"
    stubborn.write_text(
        f"#!{sys.executable}\nimport signal\nsignal.signal(15, signal.SIG_IGN)\nwhile True: signal.pause()\n"
    )
    stubborn.chmod(0o755)
    outcome = await shell(Unconfined(python=str(stubborn)), "true", tmp_path, seconds=1.0)
    assert (outcome.timed_out, outcome.signal) == (True, "SIGKILL")
