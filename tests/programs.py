"""Running our own programs as people do: in a process, a folder and an environment of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import september_engine
from september_engine.settings import setting_fields

__all__ = ["ROOT", "environment", "matches", "run", "unicode_names"]

unicode_names = pytest.mark.skipif(
    sys.getfilesystemencoding() != "utf-8", reason="this process cannot write all names of files and all arguments"
)

ROOT = Path(__file__).parent.parent
SECONDS = 60.0

_OURS = re.compile(r"(ANTHROPIC|LLM|ENGINE|SEPTEMBER|CHANNEL_STATE|SQLITE|NO_COLOR|PYTHON)")
_SETTINGS = {field.metadata["variable"] for field in setting_fields()}


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment without what would change ours; this source, wherever the program runs.

    What the program prints is UTF-8, whatever the locale.
    """
    kept = {name: value for name, value in os.environ.items() if not _OURS.match(name) and name not in _SETTINGS}
    ours = {"PYTHONPATH": str(Path(september_engine.__file__).parent.parent), "PYTHONUTF8": "1"}
    return {**kept, **ours, **(extra or {})}


def run(*arguments: str | Path, cwd: Path, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments to its end; warnings are errors in it, as in the tests."""
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=cwd,
        env=environment(extra),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def matches(expected: str, said: str) -> bool:
    """Whether this was said, where `…` in what is expected stands for anything within a line."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, said.strip()) is not None
