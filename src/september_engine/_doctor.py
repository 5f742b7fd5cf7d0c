"""The doctor: what this machine has of what the engine can use, and what would help where something is missing."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec

import attrs

from ._extras import EXTRAS
from .sandbox.choice import Availability, report

__all__ = ["Finding", "examine"]


@attrs.frozen
class Finding:
    """One line of the report; `advice` is what to do where it is not `good`."""

    name: str
    good: bool
    says: str
    advice: str = ""


def examine(
    *,
    sandboxes: Callable[[], Sequence[Availability]] = report,
    installed: Callable[[str], bool] = lambda module: find_spec(module) is not None,
) -> Iterator[Finding]:
    """Look at everything, one after the other. Trying the sandboxes takes some 100 ms."""
    yield Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("SQLite", True, sqlite3.sqlite_version)
    yield from _sandboxes(sandboxes())
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not installed(module)]
        if missing:
            yield Finding(extra, False, "not installed", f"pip install 'september-engine[{extra}]'")
        else:
            yield Finding(extra, True, "installed")


def _sandboxes(found: Sequence[Availability]) -> Iterator[Finding]:
    used = next((one.name for one in found if one.works), None)
    for one in found:
        if one.problem is None:
            yield Finding(one.name, True, "works; shell commands run in it" if one.name == used else "works")
        else:
            yield Finding(one.name, False, "does not work", one.problem)
    if used is None:
        yield Finding(
            "bash", False, "off, because there is no sandbox", "Install bubblewrap, or see what is said about each."
        )
