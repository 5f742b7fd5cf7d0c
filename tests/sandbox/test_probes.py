"""Nothing gets out: every probe, in every sandbox, as root and as an ordinary user; and that the probes can bite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import september_engine
from september_engine.sandbox import choice

from .backends import NOBODY, python_of, sandbox_or_skip
from .probes import ALWAYS_HELD, NEEDS_ROOT, PROBES

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
AFTERWARDS = "the files of the host are as they were"
NOT_EVERYWHERE = 10
"""So many probes may find nothing to take even without a sandbox: a machine need not have what they look for."""


@pytest.fixture(scope="module", autouse=True)
def package() -> Iterator[Path]:
    """A copy of the package that every user can read."""
    with tempfile.TemporaryDirectory(prefix="september-package-", dir="/tmp") as folder:
        shutil.copytree(Path(september_engine.__file__).parent, Path(folder) / "september_engine")
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        os.environ["SEPTEMBER_TEST_PACKAGE"] = folder
        yield Path(folder)
        del os.environ["SEPTEMBER_TEST_PACKAGE"]


@cache
def got(name: str, user: str) -> dict[str, str]:
    """What each probe got in this sandbox, as this user."""
    python = python_of(None if user == "root" else NOBODY)
    if python is None:
        pytest.skip("this user can run no Python here")
    package = os.environ["SEPTEMBER_TEST_PACKAGE"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.world", name, user, python],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": package, "ANTHROPIC_API_KEY": "s3cret"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


def of_user(user: str) -> str:
    """The user to be, or skip: only root can be anybody; an ordinary user is one already."""
    if os.getuid() == 0:
        return user
    if user == "root":
        pytest.skip("needs root")
    return "root"  # that is: whoever we are


@pytest.mark.parametrize("probe", [*PROBES, AFTERWARDS])
@pytest.mark.parametrize("user", ["root", str(NOBODY)])
@pytest.mark.parametrize("name", choice.STRONGEST_FIRST)
def test_nothing_gets_out(name: str, user: str, probe: str) -> None:
    sandbox_or_skip(name)
    assert got(name, of_user(user))[probe] == ""


@pytest.mark.parametrize("user", ["root", str(NOBODY)])
def test_without_a_sandbox_the_probes_get_what_they_are_after(user: str) -> None:
    taken = got("off", of_user(user))
    may = set(PROBES) - ALWAYS_HELD - (NEEDS_ROOT if user != "root" else set())
    held = {probe for probe in may if not taken[probe]}
    print(f"without a sandbox, {len(may) - len(held)} probes of {len(PROBES)} get out as {user}; not: {sorted(held)}")
    assert len(held) <= NOT_EVERYWHERE
    assert taken[AFTERWARDS] != ""


def test_there_are_enough_of_them() -> None:
    assert len(PROBES) >= 40
    assert all(function.__doc__ for function in PROBES.values())
