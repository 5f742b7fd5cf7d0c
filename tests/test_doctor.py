from __future__ import annotations

import platform
import sqlite3

import pytest

from september_engine._doctor import Finding, examine
from september_engine.sandbox.choice import Availability

BROKEN, FINE = Availability("bubblewrap", "It is not installed."), Availability("landlock", None)


def test_what_is_there_is_named_with_its_version() -> None:
    python, sqlite, *_ = examine(sandboxes=lambda: [], installed=lambda module: True)
    assert python == Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    assert sqlite == Finding("SQLite", True, sqlite3.sqlite_version)


def test_the_first_sandbox_that_works_is_the_one() -> None:
    found = list(examine(sandboxes=lambda: [BROKEN, FINE, Availability("other", None)], installed=lambda module: True))
    assert found[2:5] == [
        Finding("bubblewrap", False, "does not work", "It is not installed."),
        Finding("landlock", True, "works; shell commands run in it"),
        Finding("other", True, "works"),
    ]


def test_without_any_sandbox_bash_is_off() -> None:
    found = [one for one in examine(sandboxes=lambda: [BROKEN], installed=lambda module: True) if one.name == "bash"]
    advice = "Install bubblewrap, or see what is said about each."
    assert found == [Finding("bash", False, "off, because there is no sandbox", advice)]


@pytest.mark.parametrize(
    ("extra", "module"),
    [("server", "starlette"), ("sandbox", "tree_sitter_bash"), ("prices", "genai_prices"), ("media", "pypdf")],
)
def test_an_extra_that_is_missing_comes_with_its_command(extra: str, module: str) -> None:
    def told(missing: str) -> Finding:
        found = examine(sandboxes=lambda: [FINE], installed=lambda module: module != missing)
        return next(one for one in found if one.name == extra)

    assert told(module) == Finding(extra, False, "not installed", f"pip install 'september-engine[{extra}]'")
    assert told("nothing") == Finding(extra, True, "installed")
