from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from september_engine import _doctor
from september_engine._doctor import Finding
from september_engine.memory.minilm import INSTALL
from september_engine.sandbox.choice import Availability


def examine(**given: Any) -> Iterator[Finding]:
    """The doctor, without trying what takes long."""
    lets: dict[str, Any] = {"sandboxes": lambda: [FINE], "installed": lambda module: True}
    return _doctor.examine(**{"embedder": lambda: (None, None), **lets, **given})


def found(name: str, **given: Any) -> Finding:
    return next(one for one in examine(**given) if one.name == name)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


BROKEN, FINE = Availability("bubblewrap", "It is not installed."), Availability("landlock", None)


def test_what_is_there_is_named_with_its_version() -> None:
    python, sqlite, *_ = examine(sandboxes=lambda: [], installed=lambda module: True)
    assert python == Finding("Python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    assert sqlite == Finding("SQLite", True, sqlite3.sqlite_version)


def test_the_first_sandbox_that_works_is_the_one() -> None:
    all_of_them = list(examine(sandboxes=lambda: [BROKEN, FINE, Availability("other", None)]))
    names = {"bubblewrap", "landlock", "other"}
    assert [one for one in all_of_them if one.name in names] == [
        Finding("bubblewrap", False, "does not work", "It is not installed."),
        Finding("landlock", True, "works; shell commands run in it"),
        Finding("other", True, "works"),
    ]


def test_without_any_sandbox_bash_is_off() -> None:
    advice = "Install bubblewrap, or see what is said about each."
    bash = Finding("bash", False, "off, because there is no sandbox", advice)
    assert found("bash", sandboxes=lambda: [BROKEN]) == bash


@pytest.mark.parametrize(
    ("extra", "module"),
    [
        ("server", "starlette"),
        ("sandbox", "tree_sitter_bash"),
        ("prices", "genai_prices"),
        ("media", "pypdf"),
        ("embeddings", "tokenizers"),
    ],
)
def test_an_extra_that_is_missing_comes_with_its_command(extra: str, module: str) -> None:
    def told(missing: str) -> Finding:
        return found(extra, installed=lambda module: module != missing)

    assert told(module) == Finding(extra, False, "not installed", f"pip install 'september-engine[{extra}]'")
    assert told("nothing") == Finding(extra, True, "installed")


@pytest.mark.parametrize(
    ("environ", "model", "key"),
    [
        ({}, "offline (there is no key)", False),
        ({"LLM_PROVIDER": "offline", "LLM_API_KEY": "s3cret"}, "offline (LLM_PROVIDER says so)", True),
        ({"ANTHROPIC_API_KEY": "s3cret"}, "claude-opus-5-5 (the default), by anthropic", True),
        ({"LLM_API_KEY": "s3cret", "LLM_MODEL": "claude-x"}, "claude-x (LLM_MODEL says so), by anthropic", True),
        ({"LLM_PROVIDER": "anthropic"}, "claude-opus-5-5, and no key", False),
    ],
)
def test_the_model_and_its_key_are_named_but_never_shown(
    environ: dict[str, str], model: str, key: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert found("model").says == model
    assert found("model").good is ("no key" not in model or "there is" in model)
    assert found("model key").good is key
    assert "s3cret" not in repr(list(examine()))


def test_what_dotenv_sets_is_named(folder: Path) -> None:
    assert found(".env").says == "none in this folder"
    (folder / ".env").write_text("OTHER=1\nMAX_TOKENS=5\nLLM_API_KEY=s3cret\n")
    assert found(".env") == Finding(".env", True, "sets LLM_API_KEY, MAX_TOKENS")
    (folder / ".env").write_text("OTHER=1\n")
    assert found(".env").says == "sets nothing of ours"
    (folder / ".env").unlink()
    (folder / ".env").mkdir()
    assert found(".env").says == "not a file, and left alone"


def test_settings_that_cannot_be_used_are_told_and_the_rest_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_TOKENS", "many")
    problem = "MAX_TOKENS: 'many' must be a whole number from 1 to 1000000"
    assert found("settings") == Finding("settings", False, "cannot be used", problem)
    assert found("server").good


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("brain.sqlite", "{folder}/brain.sqlite, which is not there yet"),
        ("there.sqlite", "{folder}/there.sqlite"),
        ("a-folder", "{folder}/a-folder cannot be written"),
        ("no/such/place.sqlite", "{folder}/no/such/place.sqlite, which is not there yet"),
        ("there.sqlite/x.sqlite", "{folder}/there.sqlite cannot be written"),
    ],
)
def test_the_database_is_named(path: str, says: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "there.sqlite").touch()
    (folder / "a-folder").mkdir()
    monkeypatch.setenv("SQLITE_DB_PATH", path)
    assert found("database").says == says.format(folder=folder)
    assert found("database").good is ("cannot" not in says)


def test_a_database_url_is_of_no_use_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEPTEMBER_DATABASE_URL", "postgresql://u:s3cret@h/d")
    assert not found("database").good
    assert "s3cret" not in repr(list(examine()))


def test_the_embedder_is_named() -> None:
    class Words:
        name = "words-3"

    assert found("embedder").advice == INSTALL
    assert found("embedder", embedder=lambda: (Words(), None)).says == "words-3; memory recalls by meaning, too"
    assert found("embedder", embedder=lambda: (None, "Install it again.")).advice == "Install it again."


def test_the_server_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none" in found("server key").says
    monkeypatch.setenv("ENGINE_API_KEY", "s3cret")
    assert found("server key").says == "set"
