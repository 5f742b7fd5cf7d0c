"""Running our own programs as other users, who may read neither this checkout nor this Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

import september_engine
from september_engine.sandbox.base import Outcome

from .backends import NOBODY, python_of

__all__ = ["USERS", "of_user", "outcome_as", "output_as", "package_for_all"]

ROOT = Path(__file__).parents[2]
SECONDS = 120.0
USERS = ("root", str(NOBODY))


@contextmanager
def package_for_all() -> Iterator[Path]:
    """A copy of the package that every user can read."""
    with tempfile.TemporaryDirectory(prefix="september-package-", dir="/tmp") as folder:
        shutil.copytree(Path(september_engine.__file__).parent, Path(folder) / "september_engine")
        subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
        yield Path(folder)


def of_user(user: str) -> str:
    """The user to be, or skip: only root can be anybody; an ordinary user is one already."""
    if os.getuid() == 0:
        return user
    if user == "root":
        pytest.skip("needs root")
    return "root"  # that is: whoever we are


def output_as(package: Path, program: str, sandbox: str, user: str, *arguments: str) -> bytes:
    """What one of the programs beside this file says that run something in a sandbox, as a user."""
    python = python_of(None if user == "root" else int(user))
    if python is None:
        pytest.skip("this user can run no Python here")
    done = subprocess.run(
        [sys.executable, "-m", f"tests.sandbox.{program}", sandbox, user, python, *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package), "ANTHROPIC_API_KEY": "s3cret"},
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def outcome_as(package: Path, sandbox: str, user: str, command: str, **limits: int) -> Outcome:
    """How a command ends in this sandbox, as this user."""
    numbers = (f"{name}={number}" for name, number in limits.items())
    return msgspec.json.decode(output_as(package, "run_as", sandbox, user, command, *numbers), type=Outcome)
