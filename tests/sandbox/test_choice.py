from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from september_engine.errors import ConfigurationError
from september_engine.sandbox import _syscalls, bubblewrap, landlock
from september_engine.sandbox._system import namespaces_advice
from september_engine.sandbox.base import Sandbox
from september_engine.sandbox.bubblewrap import Bubblewrap
from september_engine.sandbox.choice import choose_sandbox, report
from september_engine.sandbox.landlock import Landlock
from september_engine.sandbox.unconfined import Unconfined

from .backends import sandbox_or_skip, shell

FINE = Unconfined()


def works(readable: Sequence[str]) -> Sandbox:
    return FINE


def fails(readable: Sequence[str]) -> Sandbox:
    raise ConfigurationError("It is broken.")


def test_auto_takes_the_first_that_works() -> None:
    assert choose_sandbox(among={"a": fails, "b": works, "c": fails}) is FINE


def test_a_named_one_is_that_one_or_nothing() -> None:
    sandbox_or_skip("landlock")
    assert choose_sandbox("landlock").name == "landlock"
    with pytest.raises(ConfigurationError, match="It is broken"):
        choose_sandbox("bubblewrap", among={"bubblewrap": fails, "landlock": works})


def test_off_is_none() -> None:
    assert choose_sandbox("off", among={}).name == "off"


def test_even_without_walls_commands_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfigurationError, match="only be watched over on Linux"):
        choose_sandbox("off")


def test_where_nothing_works_it_says_what_was_tried_and_what_to_install() -> None:
    with pytest.raises(ConfigurationError) as caught:
        choose_sandbox(among={"a": fails, "b": fails})
    assert caught.value.message == (
        "There is no sandbox to run shell commands in, so they are not run. It is broken. It is broken. Install "
        "bubblewrap (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap; Alpine: apk add "
        'bubblewrap), or pass sandbox="off" to give commands all the rights of this program.'
    )


def test_the_report_names_all_and_why_not() -> None:
    found = report(among={"a": fails, "b": works})
    assert [(one.name, one.works, one.problem) for one in found] == [("a", False, "It is broken."), ("b", True, None)]


def test_bubblewrap_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"not installed \(apt install bubblewrap\)"):
        Bubblewrap()


def fake_bwrap(folder: Path, monkeypatch: pytest.MonkeyPatch, *, last: str) -> None:
    program = folder / "bwrap"
    program.write_text(f'#!/bin/sh\n[ "$1" = --help ] && exit 0\n{last}\n')
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))


def test_bubblewrap_that_is_not_allowed_is_told_once_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bwrap(tmp_path, monkeypatch, last="echo 'bwrap: Creating new namespace failed: ENOSPC' >&2; exit 1")
    with pytest.raises(ConfigurationError) as caught:
        Bubblewrap()
    assert "bubblewrap does not work here: bwrap: Creating new namespace failed: ENOSPC. " in caught.value.message


def test_bubblewrap_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "PROBE_SECONDS", 1)
    fake_bwrap(tmp_path, monkeypatch, last="exec sleep 60")
    with pytest.raises(ConfigurationError, match=r"bubblewrap cannot be run: .*timed out"):
        Bubblewrap()


def test_landlock_of_an_older_kernel_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_syscalls, "landlock_version", lambda: 4)
    with pytest.raises(ConfigurationError, match=r"has version 4 and must have 6 \(Linux 6\.12 or newer"):
        Landlock()


def test_landlock_on_an_unknown_processor_is_not_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "known_machine", lambda: False)
    with pytest.raises(ConfigurationError, match="only supported on Linux on x86_64 and aarch64"):
        Landlock()


def test_landlock_whose_python_does_not_run_is_told() -> None:
    sandbox_or_skip("landlock")
    for python, why in (("/no/python", "No such file"), ("/bin/false", "exit code 1")):
        with pytest.raises(ConfigurationError, match=f"Landlock does not work here: .*{why}"):
            Landlock(python=python)


async def test_further_folders_can_be_made_readable(sandbox: Sandbox, tmp_path: Path) -> None:
    for name in ("tools", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "tools" / "tool").write_text("useful")
    command = f"cat {tmp_path}/tools/tool && ! touch {tmp_path}/tools/other"
    assert (await shell(sandbox, command, tmp_path / "work")).exit_code != 0
    able = choose_sandbox(sandbox.name, readable=[str(tmp_path / "tools")])  # type: ignore[arg-type]  # one of the names
    outcome = await shell(able, command, tmp_path / "work")
    assert (outcome.exit_code, outcome.head[:6]) == (0, b"useful")


def test_the_advice_names_the_switch_that_is_off(tmp_path: Path) -> None:
    assert namespaces_advice(tmp_path) == "This system does not let it make namespaces."
    (tmp_path / ".dockerenv").touch()
    assert "--security-opt" in namespaces_advice(tmp_path)
    switch = tmp_path / "proc/sys/kernel/apparmor_restrict_unprivileged_userns"
    switch.parent.mkdir(parents=True)
    switch.write_text("1\n")
    assert namespaces_advice(tmp_path) == (
        "Allow user namespaces: `sysctl kernel.apparmor_restrict_unprivileged_userns=0` (as root)."
    )
    switch.write_text("0\n")
    assert "--security-opt" in namespaces_advice(tmp_path)
