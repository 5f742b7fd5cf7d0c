from __future__ import annotations

import platform
import sqlite3

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


def test_an_extra_that_is_missing_comes_with_its_command() -> None:
    *_, server, media = examine(sandboxes=lambda: [FINE], installed=lambda module: module != "starlette")
    assert server == Finding("server", False, "not installed", "pip install 'september-engine[server]'")
    assert media == Finding("media", True, "installed")
    *_, server, media = examine(sandboxes=lambda: [FINE], installed=lambda module: module != "pypdf")
    assert server == Finding("server", True, "installed")
    assert media == Finding("media", False, "not installed", "pip install 'september-engine[media]'")
