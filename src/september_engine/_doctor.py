"""The doctor: what an engine started here would use, what is missing, and what would help."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from ._extras import EXTRAS, is_installed
from ._machine import embedder_here
from .errors import ConfigurationError
from .memory.base import Embedder
from .memory.minilm import INSTALL
from .models.choice import chosen_name
from .sandbox.choice import Availability, report
from .settings import DOTENV, Settings, variables_in

__all__ = ["Finding", "examine"]

PROVIDER_KEYS = ("LLM_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
"""The variables with the provider's key, the first before the others."""


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
    installed: Callable[[str], bool] = is_installed,
    embedder: Callable[[], tuple[Embedder | None, str | None]] = embedder_here,
) -> Iterator[Finding]:
    """Look at everything, one after the other. Trying the sandboxes and the embedder takes half a second."""
    yield Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Finding("SQLite", True, sqlite3.sqlite_version)
    yield from _settings()
    yield from _sandboxes(sandboxes())
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if not installed(module)]
        if missing:
            yield Finding(extra, False, "not installed", f"pip install 'september-engine[{extra}]'")
        else:
            yield Finding(extra, True, "installed")
    yield _embedder(*embedder())


def _settings() -> Iterator[Finding]:
    """What the environment and `.env` say: the model, the keys (never their values), the database."""
    yield _dotenv()
    try:
        settings = Settings()
    except ConfigurationError as error:
        yield Finding("settings", False, "cannot be used", " · ".join(error.details["problems"]))
        return
    yield _model(settings)
    provider = next((name for name in PROVIDER_KEYS if getattr(settings, name.lower()) is not None), None)
    if provider is not None:
        yield Finding("model key", True, f"{provider} is set")
    else:
        yield Finding("model key", False, "none", "For Claude, set ANTHROPIC_API_KEY in the environment or in .env.")
    server = "set" if settings.key_hash is not None else "none: serve answers on this machine alone"
    yield Finding("server key", True, server)
    yield _database(settings)


def _model(settings: Settings) -> Finding:
    name, why = chosen_name(settings)
    if name != "offline" and settings.provider_key is None:
        return Finding("model", False, f"{name}, and no key", "Set ANTHROPIC_API_KEY, or LLM_PROVIDER=offline.")
    provider = "offline" if name == "offline" else "anthropic"
    return Finding("model", True, f"{name} ({why})" if name == provider else f"{name} ({why}), by {provider}")


def _dotenv() -> Finding:
    path = DOTENV.absolute()
    if not os.path.lexists(path):
        return Finding(".env", True, "none in this folder")
    if not path.is_file():
        return Finding(".env", True, "not a file, and left alone")
    if not os.access(path, os.R_OK):
        return Finding(".env", False, "cannot be read", f"Give this user the right to read {path}.")
    names = sorted(variables_in(DOTENV))
    return Finding(".env", True, f"sets {', '.join(names)}" if names else "sets nothing of ours")


def _database(settings: Settings) -> Finding:
    if settings.database_url is not None:
        advice = "This release has no PostgreSQL store. Unset SEPTEMBER_DATABASE_URL to use SQLite."
        return Finding("database", False, "SEPTEMBER_DATABASE_URL is set", advice)
    path = Path(os.path.abspath(settings.sqlite_db_path))
    folder = path.parent
    if path.is_dir() or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        return Finding("database", False, f"{path} cannot be written", "Set SQLITE_DB_PATH to a file that can.")
    there = next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):  # an engine makes folders that are missing
        return Finding("database", False, f"{there} cannot be written", "Set SQLITE_DB_PATH to a place that can.")
    return Finding("database", True, f"{path}" if path.exists() else f"{path}, which is not there yet")


def _embedder(found: Embedder | None, problem: str | None) -> Finding:
    if found is not None:
        return Finding("embedder", True, f"{found.name}; memory recalls by meaning, too")
    if problem is not None:
        return Finding("embedder", False, "cannot be used; memory recalls by words alone", problem)
    return Finding("embedder", False, "none; memory recalls by words alone", INSTALL)


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
