"""Without an extra: every module imports, or says which extra to install."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import september_engine
from september_engine import Engine, Settings, builtin_tools
from september_engine._bash import tree
from september_engine._extras import EXTRAS, extra, load
from september_engine.errors import BrokenExtra, ConfigurationError, MissingExtra
from september_engine.memory._vectors import VectorIndex
from september_engine.memory.minilm import MiniLMEmbedder
from september_engine.models.anthropic import AnthropicModel

SOURCE = Path(september_engine.__file__).parents[1]

IMPORT_ALL = """
import importlib, json, pkgutil, sys

blocked = set(json.loads(sys.argv[1]))

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
import september_engine

said = {}
for module in pkgutil.walk_packages(september_engine.__path__, "september_engine.", onerror=lambda name: None):
    if module.name.endswith(("__main__", "sandbox._broker", "sandbox._confined")):
        continue  # programs of their own
    try:
        importlib.import_module(module.name)
    except Exception as error:
        said[module.name] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""


def run(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_any_extra_each_module_imports_or_names_the_extra_it_needs() -> None:
    blocked = [package for packages in EXTRAS.values() for package in packages] + ["anthropic", "pydantic", "pytest"]
    said: dict[str, list[str]] = json.loads(run(IMPORT_ALL, json.dumps(blocked)))
    assert {name.split(".")[1] for name in said} == {"http", "testing"}
    for name, (kind, text) in said.items():
        wanted = "server" if name.startswith("september_engine.http") else "dev"
        assert kind == "MissingExtra"
        assert f"pip install 'september-engine[{wanted}]'" in text


def test_the_server_without_hypercorn_alone_names_its_extra_and_the_app_works() -> None:
    said = json.loads(run(IMPORT_ALL, '["hypercorn"]'))
    assert list(said) == ["september_engine.http.serve"]
    assert "needs the package hypercorn" in said["september_engine.http.serve"][1]


def _needs_media(*, resize: bool = False, look: bool = False) -> object:
    settings = Settings(media_image_resize_enabled=resize, media_presend_validation_enabled=look)
    return Engine(":memory:", settings=settings)


@pytest.mark.parametrize(
    ("package", "name", "use"),
    [
        ("tree_sitter", "[sandbox]", lambda: builtin_tools(".")),
        ("tree_sitter_bash", "[sandbox]", lambda: builtin_tools(".")),
        ("numpy", "[embeddings]", MiniLMEmbedder),
        ("tokenizers", "[embeddings]", MiniLMEmbedder),
        ("numpy", "[embeddings]", lambda: VectorIndex(3)),
        ("pypdf", "[media]", lambda: _needs_media(look=True)),
        ("PIL", "[media]", lambda: _needs_media(resize=True)),
        ("anthropic", "", lambda: AnthropicModel("claude-x", api_key="x")),
    ],
)
def test_what_is_used_without_its_extra_names_it(
    package: str, name: str, use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree._parser.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as caught:
        use()
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ModuleNotFoundError)
    assert f"{package}, which is not installed: pip install 'september-engine{name}'" in str(caught.value)


def test_the_command_line_says_it() -> None:
    program = "import sys; sys.modules['starlette'] = None\nfrom september_engine.__main__ import main\nmain(['serve'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "pip install 'september-engine[server]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import a_dependency_of_it", "No module named 'a_dependency_of_it'"),
        ("from os import nothing_of_this_name", "cannot import name 'nothing_of_this_name'"),
    ],
)
def test_a_package_that_does_not_load_is_not_called_missing(
    source: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pypdf").mkdir()
    (tmp_path / "pypdf" / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pypdf", raising=False)
    with pytest.raises(BrokenExtra, match=rf"installed but do not load .*{why}.*--force-reinstall") as caught:
        load("media", "Looking into a PDF", ["pypdf"])
    assert isinstance(caught.value, ConfigurationError)
    assert not isinstance(caught.value, MissingExtra)
    importlib.invalidate_caches()


def test_an_old_release_that_lacks_a_module_is_not_called_missing() -> None:
    with pytest.raises(BrokenExtra, match=r"No module named 'starlette\.of_the_future'"):
        with extra("server", "This"):
            importlib.import_module("starlette.of_the_future")


def test_what_a_package_raises_of_its_own_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="its own"):
        with extra("server", "This"):
            raise RuntimeError("its own")


def test_each_extra_is_one_that_the_package_declares() -> None:
    metadata = importlib.import_module("importlib.metadata").metadata("september-engine")
    assert set(EXTRAS) <= set(metadata.get_all("Provides-Extra"))
